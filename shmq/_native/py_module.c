/* The module: functions of the store and of tests, and the types. */
#include "py_core.h"

#include <signal.h>

#include "crc32c.h"
#include "fault.h"

int shmq_record_prepare(void);
int shmq_producer_prepare(void);

static PyObject *py_create_procs(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs) {
    static char *names[] = {"path", "instance", "slots", NULL};
    PyObject *path;
    unsigned long long instance;
    unsigned slots = SHMQ_MAX_SLOTS;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&K|I:create_procs", names, PyUnicode_FSConverter, &path, &instance,
                                     &slots))
        return NULL;
    struct shmq_fail fail = {0};
    int result = shmq_procs_create(PyBytes_AS_STRING(path), instance, slots, &fail);
    Py_DECREF(path);
    if (result != SHMQ_OK)
        return shmq_raise(result, &fail, NULL, 0);
    Py_RETURN_NONE;
}

/* create_control(path, topic_id, partition, ring_slots, **options) */
static PyObject *py_create_control(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs) {
    static const char *const places[] = {"topic_id", "partition", "ring_slots"};
    unsigned long long numbers[3];
    PyObject *path, *options = PyDict_New();
    struct shmq_options parsed;
    struct shmq_fail fail = {0};
    if (!options || !PyArg_ParseTuple(args, "O&:create_control", PyUnicode_FSConverter, &path)) {
        Py_XDECREF(options);
        return NULL;
    }
    int result = kwargs && PyDict_Update(options, kwargs) < 0 ? -1 : 0;
    for (int place = 0; result == 0 && place < 3; place++) {
        PyObject *value = PyDict_GetItemString(options, places[place]);
        numbers[place] = value ? PyLong_AsUnsignedLongLong(value) : 0;
        if (!value)
            PyErr_Format(PyExc_TypeError, "create_control() needs %s", places[place]);
        result = PyErr_Occurred() ? -1 : PyDict_DelItemString(options, places[place]);
    }
    if (result == 0 && shmq_parse_options(options, &parsed) == 0) {
        result = shmq_control_create(PyBytes_AS_STRING(path), numbers[0], (uint32_t)numbers[1], (uint32_t)numbers[2],
                                     &parsed, &fail);
        if (result != SHMQ_OK)
            shmq_raise(result, &fail, NULL, 0);
    }
    Py_DECREF(path);
    Py_DECREF(options);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *py_doorbell_name(PyObject *Py_UNUSED(module), PyObject *args) {
    unsigned long long instance, epoch;
    unsigned slot;
    char name[SHMQ_DOORBELL_NAME_BYTES];
    if (!PyArg_ParseTuple(args, "KIK:doorbell_name", &instance, &slot, &epoch))
        return NULL;
    shmq_doorbell_name(name, instance, slot, epoch);
    return PyUnicode_FromString(name);
}

static PyObject *py_murmur2(PyObject *Py_UNUSED(module), PyObject *data) {
    Py_buffer buffer;
    if (PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE) < 0)
        return NULL;
    uint32_t hash = shmq_murmur2(buffer.buf, (size_t)buffer.len);
    PyBuffer_Release(&buffer);
    return PyLong_FromUnsignedLong(hash);
}

static PyObject *py_encode_headers(PyObject *Py_UNUSED(module), PyObject *headers) {
    return shmq_headers_encode(headers);
}

static PyObject *py_crc32c(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs) {
    static char *names[] = {"data", "crc", "portable", NULL};
    Py_buffer buffer;
    unsigned crc = 0;
    int portable = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|Ip:crc32c", names, &buffer, &crc, &portable))
        return NULL;
    crc = (portable ? shmq_crc32c_portable : shmq_crc32c)(crc, buffer.buf, (size_t)buffer.len);
    PyBuffer_Release(&buffer);
    return PyLong_FromUnsignedLong(crc);
}

static PyObject *py_fault_arm(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name", "nth", "signal", NULL};
    const char *name;
    unsigned long long nth;
    int number = SIGKILL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "zK|i:fault_arm", names, &name, &nth, &number))
        return NULL;
    shmq_fault_arm(name, nth, number);
    Py_RETURN_NONE;
}

static PyObject *py_fault_point(PyObject *Py_UNUSED(module), PyObject *name) {
    const char *text = PyUnicode_AsUTF8(name);
    if (!text)
        return NULL;
    SHMQ_FAULT(text);
    Py_RETURN_NONE;
}

static PyObject *py_fault_passed(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
    return PyLong_FromUnsignedLongLong(shmq_fault_passed());
}

static PyMethodDef functions[] = {
    {"set_hooks", (PyCFunction)(void (*)(void))shmq_py_set_hooks, METH_VARARGS | METH_KEYWORDS,
     "set_hooks(error=, record_metadata=, topic_partition=, create_doorbell=, unlink_doorbell=)"},
    {"create_procs", (PyCFunction)(void (*)(void))py_create_procs, METH_VARARGS | METH_KEYWORDS,
     "create_procs(path, instance, slots=1024): write a fresh table of process slots."},
    {"create_control", (PyCFunction)(void (*)(void))py_create_control, METH_VARARGS | METH_KEYWORDS,
     "create_control(path, *, topic_id, partition, ring_slots, segment_bytes, ...): write an empty partition."},
    {"create_offsets", shmq_py_create_offsets, METH_VARARGS,
     "create_offsets(path, topic_id, partitions): make a file of committed offsets, unless it is there."},
    {"create_window", (PyCFunction)(void (*)(void))shmq_py_create_window, METH_VARARGS | METH_KEYWORDS,
     "create_window(path, topic_id, partition, start_offset, kind, max_items=0, words=16384): unless it is there."},
    {"cell_load", (PyCFunction)(void (*)(void))shmq_py_cell_load, METH_FASTCALL,
     "cell_load(buffer, pos) -> int: an 8-byte word, with acquire."},
    {"cell_store", (PyCFunction)(void (*)(void))shmq_py_cell_store, METH_FASTCALL,
     "cell_store(buffer, pos, value): with release."},
    {"cell_cas", (PyCFunction)(void (*)(void))shmq_py_cell_cas, METH_FASTCALL,
     "cell_cas(buffer, pos, old, new) -> bool: whether it held `old` and holds `new` now; a full barrier."},
    {"copy_in", (PyCFunction)(void (*)(void))shmq_py_copy_in, METH_FASTCALL, "copy_in(buffer, pos, data)"},
    {"copy_out", (PyCFunction)(void (*)(void))shmq_py_cells_out, METH_FASTCALL, "copy_out(buffer, pos, bytes) -> bytearray"},
    {"blank", shmq_py_blank, METH_O, "blank(bytes) -> bytearray, not zeroed."},
    {"pickle_plain", shmq_py_pickle_plain, METH_O,
     "pickle_plain(object) -> a pickle of a number, text, bytes, or a small container of them, quickly; None: not plain."},
    {"set_kept_limit", shmq_py_set_kept_limit, METH_O,
     "set_kept_limit(bytes): most bytes of segments that views of this process may keep; beyond that, copies are made."},
    {"kept", shmq_py_kept, METH_NOARGS, "kept() -> (segments, their bytes) that views of this process keep now."},
    {"fault_point", py_fault_point, METH_O, "fault_point(name): die here, if the crash tests have armed it."},
    {"doorbell_name", py_doorbell_name, METH_VARARGS, "doorbell_name(instance, slot, epoch) -> semaphore name"},
    {"murmur2", py_murmur2, METH_O, "Java's murmur2 of bytes, as an unsigned 32-bit number."},
    {"encode_headers", py_encode_headers, METH_O, "encode_headers([(str, bytes or None)]) -> bytes"},
    {"crc32c", (PyCFunction)(void (*)(void))py_crc32c, METH_VARARGS | METH_KEYWORDS,
     "crc32c(data, crc=0, portable=False) -> int"},
    {"fault_arm", (PyCFunction)(void (*)(void))py_fault_arm, METH_VARARGS | METH_KEYWORDS,
     "fault_arm(name or None, nth, signal=SIGKILL): signal this process at a fault point; for crash tests."},
    {"fault_passed", py_fault_passed, METH_NOARGS, "How many fault points matched since arming."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "shmq._native",
                                    .m_doc = "The C core of shmq. Not for use from outside the package.",
                                    .m_size = -1, .m_methods = functions};

static int add_type(PyObject *target, const char *name, PyTypeObject *type) {
    return PyType_Ready(type) < 0 ? -1 : PyModule_AddObjectRef(target, name, (PyObject *)type);
}

PyMODINIT_FUNC PyInit__native(void) {
    if (shmq_record_prepare() < 0 || shmq_producer_prepare() < 0 || PyType_Ready(&FutureType) < 0)
        return NULL;
    PyObject *self = PyModule_Create(&module);
    if (!self || add_type(self, "Process", &ProcessType) < 0 || add_type(self, "Partition", &PartitionType) < 0 ||
        add_type(self, "Appender", &AppenderType) < 0 || add_type(self, "Reader", &ReaderType) < 0 ||
        add_type(self, "ConsumerRecord", &RecordType) < 0 || add_type(self, "RecordFuture", &FutureType) < 0 ||
        add_type(self, "Topic", &TopicType) < 0 || add_type(self, "ProducerCore", &ProducerCoreType) < 0 ||
        add_type(self, "ConsumerCore", &ConsumerCoreType) < 0 || add_type(self, "Offsets", &OffsetsType) < 0 ||
        add_type(self, "Items", &ItemsType) < 0 || add_type(self, "Reservation", &ReservationType) < 0 ||
        add_type(self, "Window", &WindowType) < 0 || add_type(self, "QueueCore", &QueueCoreType) < 0 ||
        PyModule_AddStringConstant(self, "CRC32C_WAY", shmq_crc32c_way()) < 0 ||
        PyModule_AddIntConstant(self, "LAYOUT_VERSION", SHMQ_LAYOUT_VERSION) < 0 ||
        PyModule_AddIntConstant(self, "MAX_BATCH_RECORDS", SHMQ_MAX_COUNT) < 0) {
        Py_XDECREF(self);
        return NULL;
    }
    return self;
}
