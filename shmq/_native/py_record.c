/* ConsumerRecord: kafka-python's named tuple of 13 fields as a C object that makes a field's Python value when asked.
 *
 * It equals, unpacks, hashes, pickles and prints as the tuple does. It is known to the garbage collector only once it
 * holds something that could refer back to it. */

#include "py_core.h"

static const char *const FIELDS[] = {"topic",    "partition", "leader_epoch", "offset", "timestamp", "timestamp_type", "key",
                                     "value",    "headers",   "checksum",     "serialized_key_size",
                                     "serialized_value_size", "serialized_header_size"};
#define FIELD_COUNT 13
#define VALUE 7

RecordObject *shmq_record_new(PyObject *topic, int partition, const struct shmq_view *view) {
    RecordObject *self = PyObject_GC_New(RecordObject, &RecordType);
    if (!self)
        return NULL;
    self->topic = Py_NewRef(topic);
    self->key = self->value = self->headers = NULL;
    self->offset = (int64_t)view->offset;
    self->timestamp_ms = view->timestamp_ms;
    self->partition = partition;
    self->leader_epoch = 0; /* there are no elections yet */
    self->timestamp_type = view->attributes & SHMQ_ATTRIBUTE_LOG_APPEND_TIME;
    self->key_bytes = view->key_bytes;
    self->value_bytes = view->value_bytes;
    self->headers_bytes = view->headers_bytes ? (int)view->headers_bytes : -1;
    self->delivery_count = -1;
    return self;
}

static PyObject *or_none(PyObject *object) {
    return Py_NewRef(object ? object : Py_None);
}

static PyObject *field(RecordObject *self, Py_ssize_t index) {
    switch (index) {
    case 0:
        return Py_NewRef(self->topic);
    case 1:
        return PyLong_FromLong(self->partition);
    case 2:
        return PyLong_FromLong(self->leader_epoch);
    case 3:
        return PyLong_FromLongLong(self->offset);
    case 4:
        return PyLong_FromLongLong(self->timestamp_ms);
    case 5:
        return PyLong_FromLong(self->timestamp_type);
    case 6:
        return or_none(self->key);
    case 7:
        return or_none(self->value);
    case 8:
        if (!self->headers && !(self->headers = PyList_New(0)))
            return NULL;
        if (!PyObject_GC_IsTracked((PyObject *)self))
            PyObject_GC_Track(self); /* whoever has the list may put anything into it */
        return Py_NewRef(self->headers);
    case 9:
        return Py_NewRef(Py_None); /* checksum: as in Kafka's format v2 */
    case 10:
        return PyLong_FromLong(self->key_bytes);
    case 11:
        return PyLong_FromLong(self->value_bytes);
    case 12:
        return PyLong_FromLong(self->headers_bytes);
    default:
        PyErr_SetString(PyExc_IndexError, "tuple index out of range");
        return NULL;
    }
}

static PyObject *get_field(RecordObject *self, void *index) {
    return field(self, (Py_ssize_t)(intptr_t)index);
}

/* No field of the tuple: Kafka's Java ConsumerRecord has it beside them. */
static PyObject *get_delivery_count(RecordObject *self, void *Py_UNUSED(closure)) {
    if (self->delivery_count < 0)
        Py_RETURN_NONE;
    return PyLong_FromLong(self->delivery_count);
}

static PyObject *as_tuple(PyObject *object) {
    PyObject *tuple = PyTuple_New(FIELD_COUNT);
    for (Py_ssize_t index = 0; tuple && index < FIELD_COUNT; index++) {
        PyObject *value = field((RecordObject *)object, index);
        if (!value)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, index, value);
    }
    return tuple;
}

static int take_small(PyObject *value, int *place) {
    long number = PyLong_AsLong(value);
    if (number == -1 && PyErr_Occurred())
        return -1;
    if (number < INT_MIN || number > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "a field of a ConsumerRecord is out of range");
        return -1;
    }
    *place = (int)number;
    return 0;
}

static PyObject *none_to_null(PyObject *value) {
    return value == Py_None ? NULL : Py_NewRef(value);
}

static PyObject *record_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *fields[FIELD_COUNT] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "UOOOOOOOOOOOO:ConsumerRecord", (char **)(char *[]){
                                         "topic", "partition", "leader_epoch", "offset", "timestamp", "timestamp_type",
                                         "key", "value", "headers", "checksum", "serialized_key_size",
                                         "serialized_value_size", "serialized_header_size", NULL},
                                     &fields[0], &fields[1], &fields[2], &fields[3], &fields[4], &fields[5], &fields[6],
                                     &fields[7], &fields[8], &fields[9], &fields[10], &fields[11], &fields[12]))
        return NULL;
    struct shmq_view view = {0};
    RecordObject *self = shmq_record_new(fields[0], 0, &view);
    (void)type;
    if (!self)
        return NULL;
    self->offset = PyLong_AsLongLong(fields[3]);
    self->timestamp_ms = PyErr_Occurred() ? -1 : PyLong_AsLongLong(fields[4]);
    if (fields[9] != Py_None)
        PyErr_Format(PyExc_ValueError, "checksum is always None, not %R", fields[9]);
    if (PyErr_Occurred() || take_small(fields[1], &self->partition) < 0 ||
        take_small(fields[2], &self->leader_epoch) < 0 || take_small(fields[5], &self->timestamp_type) < 0 ||
        take_small(fields[10], &self->key_bytes) < 0 || take_small(fields[11], &self->value_bytes) < 0 ||
        take_small(fields[12], &self->headers_bytes) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->key = none_to_null(fields[6]);
    self->value = none_to_null(fields[7]);
    self->headers = none_to_null(fields[8]);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static int record_traverse(RecordObject *self, visitproc visit, void *arg) {
    Py_VISIT(self->key);
    Py_VISIT(self->value);
    Py_VISIT(self->headers);
    return 0;
}

static int record_clear(RecordObject *self) {
    Py_CLEAR(self->key);
    Py_CLEAR(self->value);
    Py_CLEAR(self->headers);
    return 0;
}

static void record_dealloc(RecordObject *self) {
    PyObject_GC_UnTrack(self);
    record_clear(self);
    Py_DECREF(self->topic);
    PyObject_GC_Del(self);
}

static Py_ssize_t record_length(PyObject *Py_UNUSED(self)) {
    return FIELD_COUNT;
}

static PyObject *record_subscript(PyObject *self, PyObject *key) {
    PyObject *tuple = as_tuple(self);
    PyObject *result = tuple ? PyObject_GetItem(tuple, key) : NULL;
    Py_XDECREF(tuple);
    return result;
}

static PyObject *record_iter(PyObject *self) {
    PyObject *tuple = as_tuple(self);
    PyObject *result = tuple ? PyObject_GetIter(tuple) : NULL;
    Py_XDECREF(tuple);
    return result;
}

static PyObject *record_compare(PyObject *left, PyObject *right, int operation) {
    PyObject *first = Py_TYPE(left) == &RecordType ? as_tuple(left) : Py_NewRef(left);
    PyObject *second = Py_TYPE(right) == &RecordType ? as_tuple(right) : Py_NewRef(right);
    PyObject *result = NULL;
    if (first && second)
        result = PyTuple_Check(first) && PyTuple_Check(second) ? PyObject_RichCompare(first, second, operation)
                                                               : Py_NewRef(Py_NotImplemented);
    Py_XDECREF(first);
    Py_XDECREF(second);
    return result;
}

static Py_hash_t record_hash(PyObject *self) {
    PyObject *tuple = as_tuple(self);
    Py_hash_t hash = tuple ? PyObject_Hash(tuple) : -1;
    Py_XDECREF(tuple);
    return hash;
}

static PyObject *record_repr(PyObject *self) {
    PyObject *tuple = as_tuple(self);
    PyObject *format = tuple ? PyUnicode_FromString("ConsumerRecord(topic=%r, partition=%r, leader_epoch=%r, offset=%r, "
                                                    "timestamp=%r, timestamp_type=%r, key=%r, value=%r, headers=%r, "
                                                    "checksum=%r, serialized_key_size=%r, serialized_value_size=%r, "
                                                    "serialized_header_size=%r)")
                             : NULL;
    PyObject *result = format ? PyUnicode_Format(format, tuple) : NULL;
    Py_XDECREF(tuple);
    Py_XDECREF(format);
    return result;
}

static PyObject *record_reduce(PyObject *self, PyObject *Py_UNUSED(ignored)) {
    PyObject *tuple = as_tuple(self), *bytes;
    if (tuple && PyMemoryView_Check(PyTuple_GET_ITEM(tuple, VALUE))) { /* a view does not leave its process */
        if ((bytes = PyBytes_FromObject(PyTuple_GET_ITEM(tuple, VALUE)))) {
            Py_DECREF(PyTuple_GET_ITEM(tuple, VALUE));
            PyTuple_SET_ITEM(tuple, VALUE, bytes);
        } else {
            Py_CLEAR(tuple);
        }
    }
    return tuple ? Py_BuildValue("(ON)", (PyObject *)&RecordType, tuple) : NULL;
}

static PyObject *record_asdict(PyObject *self, PyObject *Py_UNUSED(ignored)) {
    PyObject *dict = PyDict_New();
    for (Py_ssize_t index = 0; dict && index < FIELD_COUNT; index++) {
        PyObject *value = field((RecordObject *)self, index);
        if (!value || PyDict_SetItemString(dict, FIELDS[index], value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *record_replace(PyObject *self, PyObject *args, PyObject *kwargs) {
    PyObject *dict = PyArg_ParseTuple(args, ":_replace") ? record_asdict(self, NULL) : NULL;
    PyObject *empty = dict ? PyTuple_New(0) : NULL;
    PyObject *result = NULL;
    if (empty && (!kwargs || PyDict_Update(dict, kwargs) == 0))
        result = PyObject_Call((PyObject *)&RecordType, empty, dict);
    if (result)
        ((RecordObject *)result)->delivery_count = ((RecordObject *)self)->delivery_count;
    Py_XDECREF(empty);
    Py_XDECREF(dict);
    return result;
}

static PyObject *record_make(PyObject *type, PyObject *fields) {
    PyObject *tuple = PySequence_Tuple(fields);
    PyObject *result = tuple ? PyObject_Call(type, tuple, NULL) : NULL;
    Py_XDECREF(tuple);
    return result;
}

/* index() and count(), as of the tuple. */
static PyObject *call_on_tuple(PyObject *self, const char *method, PyObject *args) {
    PyObject *tuple = as_tuple(self);
    PyObject *bound = tuple ? PyObject_GetAttrString(tuple, method) : NULL;
    PyObject *result = bound ? PyObject_Call(bound, args, NULL) : NULL;
    Py_XDECREF(bound);
    Py_XDECREF(tuple);
    return result;
}

static PyObject *record_index(PyObject *self, PyObject *args) {
    return call_on_tuple(self, "index", args);
}

static PyObject *record_count(PyObject *self, PyObject *args) {
    return call_on_tuple(self, "count", args);
}

static PyMethodDef record_methods[] = {
    {"_make", record_make, METH_O | METH_CLASS, "_make(iterable): a record of 13 fields."},
    {"index", record_index, METH_VARARGS, "index(value[, start[, stop]]): where the value is first."},
    {"count", record_count, METH_VARARGS, "count(value): how many fields equal it."},
    {"_asdict", record_asdict, METH_NOARGS, "The fields as a dict."},
    {"_replace", (PyCFunction)(void (*)(void))record_replace, METH_VARARGS | METH_KEYWORDS, "A copy with other fields."},
    {"__reduce__", record_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL}};

#define GETTER(index, text) {NULL, (getter)get_field, NULL, text, (void *)(intptr_t)(index)}
static PyGetSetDef record_getset[FIELD_COUNT + 2] = {
    GETTER(0, "Topic it was read from."),
    GETTER(1, "Partition it was read from."),
    GETTER(2, "0 in what was read: there are no elections yet."),
    GETTER(3, "Number of the record in its partition."),
    GETTER(4, "Milliseconds since the epoch."),
    GETTER(5, "0: set by the producer; 1: by the log when it was appended."),
    GETTER(6, "Key, deserialized; bytes by default; None if there is none."),
    GETTER(7, "Value, deserialized; bytes by default; None if there is none."),
    GETTER(8, "List of (str, bytes)."),
    GETTER(9, "Always None, as in Kafka since its format v2."),
    GETTER(10, "Bytes of the key, -1 if there is none."),
    GETTER(11, "Bytes of the value, -1 if there is none."),
    GETTER(12, "Bytes of the headers, -1 if there are none."),
    {"delivery_count", (getter)get_delivery_count, NULL,
     "How often it was delivered, this time included; None if it was not read by a share group.", NULL},
};

static PySequenceMethods record_sequence = {.sq_length = record_length, .sq_item = (ssizeargfunc)field};
static PyMappingMethods record_mapping = {.mp_length = record_length, .mp_subscript = record_subscript};

PyTypeObject RecordType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.ConsumerRecord",
    .tp_basicsize = sizeof(RecordObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_SEQUENCE,
    .tp_doc = "A record read from a topic, with the fields of kafka-python's ConsumerRecord.",
    .tp_new = record_new,
    .tp_dealloc = (destructor)record_dealloc,
    .tp_traverse = (traverseproc)record_traverse,
    .tp_clear = (inquiry)record_clear,
    .tp_as_sequence = &record_sequence,
    .tp_as_mapping = &record_mapping,
    .tp_iter = record_iter,
    .tp_richcompare = record_compare,
    .tp_hash = record_hash,
    .tp_repr = record_repr,
    .tp_methods = record_methods,
    .tp_getset = record_getset,
};

/* Names of the fields: into the getters, and as the class attributes that named tuples have. */
int shmq_record_prepare(void) {
    for (int index = 0; index < FIELD_COUNT; index++)
        record_getset[index].name = FIELDS[index];
    if (PyType_Ready(&RecordType) < 0)
        return -1;
    PyObject *fields = PyTuple_New(FIELD_COUNT);
    for (Py_ssize_t index = 0; fields && index < FIELD_COUNT; index++)
        PyTuple_SET_ITEM(fields, index, PyUnicode_InternFromString(FIELDS[index]));
    int result = fields ? PyDict_SetItemString(RecordType.tp_dict, "_fields", fields) : -1;
    if (result == 0)
        result = PyDict_SetItemString(RecordType.tp_dict, "__match_args__", fields);
    Py_XDECREF(fields);
    PyType_Modified(&RecordType);
    return result;
}
