/* Offsets: the committed offsets of one group in one topic. */
#include "offsets.h"
#include "py_core.h"

typedef struct {
    PyObject_HEAD
    struct shmq_offsets offsets;
    struct shmq_fail fail;
} OffsetsObject;

PyObject *shmq_py_create_offsets(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *path;
    unsigned long long topic_id;
    unsigned int partitions;
    struct shmq_fail fail = {0};
    if (!PyArg_ParseTuple(args, "sKI:create_offsets", &path, &topic_id, &partitions))
        return NULL;
    int result = shmq_offsets_create(path, topic_id, partitions, &fail);
    if (result < 0)
        return shmq_raise(result, &fail, NULL, 0);
    Py_RETURN_NONE;
}

static PyObject *offsets_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"path", "topic_id", NULL};
    const char *path;
    unsigned long long topic_id;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sK:Offsets", names, &path, &topic_id))
        return NULL;
    OffsetsObject *self = (OffsetsObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    int result = shmq_offsets_open(&self->offsets, path, topic_id, &self->fail);
    if (result == SHMQ_OK)
        return (PyObject *)self;
    if (result == SHMQ_NOTHING)
        PyErr_Format(PyExc_FileNotFoundError, "%s", path);
    else
        shmq_raise(result, &self->fail, NULL, 0);
    Py_DECREF((PyObject *)self);
    return NULL;
}

static void offsets_dealloc(OffsetsObject *self) {
    shmq_offsets_close(&self->offsets);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *offsets_close(OffsetsObject *self, PyObject *Py_UNUSED(ignored)) {
    shmq_offsets_close(&self->offsets);
    Py_RETURN_NONE;
}

/* The number of a partition that is mapped; -1 with an exception set. */
static int64_t partition_of(OffsetsObject *self, PyObject *number) {
    if (!self->offsets.header)
        return shmq_raise_closed("offsets"), -1;
    long value = PyLong_AsLong(number);
    if (value == -1 && PyErr_Occurred())
        return -1;
    if (value < 0 || value >= (long)self->offsets.partitions)
        return PyErr_Format(PyExc_IndexError, "partition %ld of %u", value, self->offsets.partitions), -1;
    return value;
}

static PyObject *offset_of(const struct shmq_committed *word) {
    return word->is_set ? PyLong_FromUnsignedLongLong(word->offset) : PyLong_FromLong(-1);
}

static PyObject *fenced(OffsetsObject *self, int64_t partition, const struct shmq_committed *before) {
    return shmq_raise_code("fenced", "{s:s,s:L,s:I}", "path", self->offsets.path, "partition", (long long)partition,
                           "epoch", (unsigned int)before->epoch);
}

static PyObject *offsets_get(OffsetsObject *self, PyObject *number) {
    struct shmq_committed found;
    int64_t partition = partition_of(self, number);
    if (partition < 0)
        return NULL;
    int result = shmq_offsets_get(&self->offsets, (uint32_t)partition, &found, &self->fail);
    if (result < 0)
        return shmq_raise(result, &self->fail, NULL, 0);
    return Py_BuildValue("(INNK)", (unsigned int)found.epoch, offset_of(&found), PyBool_FromLong(found.has_note),
                         (unsigned long long)found.commit_ms);
}

static int parse_offset(PyObject *offset, uint64_t *out) {
    *out = PyLong_AsUnsignedLongLong(offset);
    if (*out == (uint64_t)-1 && PyErr_Occurred())
        return -1;
    if (*out >= SHMQ_COMMITTED_MASK)
        return PyErr_Format(PyExc_OverflowError, "offset %llu: the largest that can be committed is %llu",
                            (unsigned long long)*out, (unsigned long long)SHMQ_COMMITTED_MASK - 1),
               -1;
    return 0;
}

static PyObject *offsets_commit(OffsetsObject *self, PyObject *const *args, Py_ssize_t count) {
    struct shmq_committed before;
    uint64_t offset;
    if (count < 3 || count > 4)
        return PyErr_Format(PyExc_TypeError, "commit() takes 3 or 4 arguments (%zd given)", count);
    int64_t partition = partition_of(self, args[0]);
    unsigned long epoch = partition < 0 ? 0 : PyLong_AsUnsignedLong(args[1]);
    int has_note = count == 4 ? PyObject_IsTrue(args[3]) : 0;
    if (partition < 0 || PyErr_Occurred() || parse_offset(args[2], &offset) < 0)
        return NULL;
    int result = shmq_offsets_commit(&self->offsets, (uint32_t)partition, (uint32_t)epoch, offset, has_note, &before,
                                     &self->fail);
    if (result == SHMQ_LOST)
        return fenced(self, partition, &before);
    if (result < 0)
        return shmq_raise(result, &self->fail, NULL, 0);
    return Py_NewRef(before.has_note ? Py_True : Py_False);
}

static PyObject *offsets_fence(OffsetsObject *self, PyObject *number) {
    struct shmq_committed found;
    int64_t partition = partition_of(self, number);
    if (partition < 0)
        return NULL;
    int result = shmq_offsets_fence(&self->offsets, (uint32_t)partition, &found, &self->fail);
    return result < 0 ? shmq_raise(result, &self->fail, NULL, 0) : PyLong_FromUnsignedLong(found.epoch);
}

static PyObject *offsets_reset(OffsetsObject *self, PyObject *args) {
    PyObject *number, *wanted;
    struct shmq_committed before;
    uint64_t offset = 0;
    if (!PyArg_ParseTuple(args, "OO:reset", &number, &wanted))
        return NULL;
    int64_t partition = partition_of(self, number);
    if (partition < 0 || (wanted != Py_None && parse_offset(wanted, &offset) < 0))
        return NULL;
    int result = shmq_offsets_reset(&self->offsets, (uint32_t)partition, wanted != Py_None, offset, &before, &self->fail);
    if (result < 0)
        return shmq_raise(result, &self->fail, NULL, 0);
    return Py_NewRef(before.has_note ? Py_True : Py_False);
}

static PyObject *offsets_grow(OffsetsObject *self, PyObject *partitions) {
    unsigned long count = PyLong_AsUnsignedLong(partitions);
    if (PyErr_Occurred())
        return NULL;
    if (!self->offsets.header)
        return shmq_raise_closed("offsets");
    int result = shmq_offsets_grow(&self->offsets, (uint32_t)count, &self->fail);
    if (result < 0)
        return shmq_raise(result, &self->fail, NULL, 0);
    Py_RETURN_NONE;
}

static PyObject *offsets_partitions(OffsetsObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLong(self->offsets.header ? self->offsets.partitions : 0);
}

static PyMethodDef offsets_methods[] = {
    {"get", (PyCFunction)offsets_get, METH_O, "get(partition) -> (epoch, offset or -1, has note, when, in ms since 1970)"},
    {"commit", (PyCFunction)(void (*)(void))offsets_commit, METH_FASTCALL,
     "commit(partition, epoch, offset, has_note=False): was there a note before? CommitFailedError: another epoch."},
    {"fence", (PyCFunction)offsets_fence, METH_O, "fence(partition) -> the next epoch, which is in force now."},
    {"reset", (PyCFunction)offsets_reset, METH_VARARGS,
     "reset(partition, offset or None): for administrators; raises the epoch. Was there a note before?"},
    {"grow", (PyCFunction)offsets_grow, METH_O, "grow(partitions): let it hold so many."},
    {"close", (PyCFunction)offsets_close, METH_NOARGS, "Unmap it."},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef offsets_getset[] = {
    {"partitions", (getter)offsets_partitions, NULL, "How many partitions fit what is mapped.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

PyTypeObject OffsetsType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.Offsets",
    .tp_basicsize = sizeof(OffsetsObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Offsets(path, topic_id): a file of committed offsets, mapped. FileNotFoundError: there is none.",
    .tp_new = offsets_new,
    .tp_dealloc = (destructor)offsets_dealloc,
    .tp_methods = offsets_methods,
    .tp_getset = offsets_getset,
};
