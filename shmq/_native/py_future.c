/* RecordFuture: what send() returns for a record that is in the log already. kafka-python's FutureRecordMetadata, resolved
 * from the start; its RecordMetadata is made when asked for. */
#include "py_core.h"

typedef struct {
    PyObject_HEAD
    PyObject *topic;
    int64_t offset, timestamp_ms;
    int partition, key_bytes, value_bytes, headers_bytes;
} FutureObject;

/* Most callers drop the future at once: one is kept for the next send. Under the GIL. */
static FutureObject *spare;

PyObject *shmq_future_new(PyObject *topic, int partition, uint64_t offset, int64_t timestamp_ms,
                          const struct shmq_row *row) {
    FutureObject *self = spare;
    spare = NULL;
    if (self)
        PyObject_Init((PyObject *)self, &FutureType);
    else if (!(self = PyObject_New(FutureObject, &FutureType)))
        return NULL;
    self->topic = Py_NewRef(topic);
    self->partition = partition;
    self->offset = (int64_t)offset;
    self->timestamp_ms = timestamp_ms;
    self->key_bytes = (int)row->key_bytes;
    self->value_bytes = (int)row->value_bytes;
    self->headers_bytes = shmq_headers_size(row->headers, row->headers_bytes);
    return (PyObject *)self;
}

static void future_dealloc(FutureObject *self) {
    Py_DECREF(self->topic);
    if (spare)
        PyObject_Free(self);
    else
        spare = self;
}

static PyObject *future_metadata(FutureObject *self, void *Py_UNUSED(closure)) {
    if (!shmq_record_metadata || !shmq_topic_partition) {
        PyErr_SetString(PyExc_RuntimeError, "shmq._native.set_hooks() was not called");
        return NULL;
    }
    PyObject *place = PyObject_CallFunction(shmq_topic_partition, "Oi", self->topic, self->partition);
    if (!place)
        return NULL;
    return PyObject_CallFunction(shmq_record_metadata, "OiNLLOiii", self->topic, self->partition, place,
                                 (long long)self->offset, (long long)self->timestamp_ms, Py_None, self->key_bytes,
                                 self->value_bytes, self->headers_bytes);
}

static PyObject *future_get(FutureObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"timeout", NULL};
    PyObject *timeout = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:get", names, &timeout))
        return NULL;
    if (timeout != Py_None) {
        double seconds = PyFloat_AsDouble(timeout);
        if (PyErr_Occurred())
            return NULL;
        if (!(seconds >= 0)) /* NaN is refused too */
            return PyErr_Format(PyExc_ValueError, "timeout is a number of seconds of at least 0, not %R", timeout);
    }
    return future_metadata(self, NULL);
}

/* f(*args, metadata, **kwargs), at once: as functools.partial() would. */
static PyObject *future_add_callback(FutureObject *self, PyObject *args, PyObject *kwargs) {
    Py_ssize_t count = PyTuple_GET_SIZE(args);
    if (count < 1 || !PyCallable_Check(PyTuple_GET_ITEM(args, 0))) {
        PyErr_SetString(PyExc_TypeError, "add_callback() takes a callable");
        return NULL;
    }
    PyObject *metadata = future_metadata(self, NULL);
    PyObject *rest = metadata ? PyTuple_New(count) : NULL;
    if (!rest) {
        Py_XDECREF(metadata);
        return NULL;
    }
    for (Py_ssize_t index = 1; index < count; index++)
        PyTuple_SET_ITEM(rest, index - 1, Py_NewRef(PyTuple_GET_ITEM(args, index)));
    PyTuple_SET_ITEM(rest, count - 1, metadata);
    PyObject *result = PyObject_Call(PyTuple_GET_ITEM(args, 0), rest, kwargs);
    Py_DECREF(rest);
    if (!result && !PyErr_ExceptionMatches(PyExc_Exception))
        return NULL; /* Ctrl-C came during the callback */
    if (!result)
        PyErr_WriteUnraisable(PyTuple_GET_ITEM(args, 0)); /* a callback's error is not the sender's */
    Py_XDECREF(result);
    return Py_NewRef((PyObject *)self);
}

static PyObject *future_add_errback(FutureObject *self, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    if (PyTuple_GET_SIZE(args) < 1 || !PyCallable_Check(PyTuple_GET_ITEM(args, 0))) {
        PyErr_SetString(PyExc_TypeError, "add_errback() takes a callable");
        return NULL;
    }
    return Py_NewRef((PyObject *)self);
}

static PyObject *future_true(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored)) {
    Py_RETURN_TRUE;
}

static PyObject *future_false(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored)) {
    Py_RETURN_FALSE;
}

static PyObject *get_true(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure)) {
    Py_RETURN_TRUE;
}

static PyObject *get_none(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure)) {
    Py_RETURN_NONE;
}

static PyObject *future_repr(FutureObject *self) {
    return PyUnicode_FromFormat("<RecordFuture %U-%d offset %lld>", self->topic, self->partition,
                                (long long)self->offset);
}

/* `await future` yields nothing and returns the metadata. */
static PyObject *future_next(FutureObject *self) {
    PyObject *metadata = future_metadata(self, NULL);
    /* Made by hand: PyErr_SetObject() would unpack the tuple into the exception's arguments. */
    PyObject *stop = metadata ? PyObject_CallOneArg(PyExc_StopIteration, metadata) : NULL;
    if (stop)
        PyErr_SetObject(PyExc_StopIteration, stop);
    Py_XDECREF(metadata);
    Py_XDECREF(stop);
    return NULL;
}

static PyMethodDef future_methods[] = {
    {"get", (PyCFunction)(void (*)(void))future_get, METH_VARARGS | METH_KEYWORDS,
     "get(timeout=None) -> RecordMetadata, at once: the record is in the log."},
    {"add_callback", (PyCFunction)(void (*)(void))future_add_callback, METH_VARARGS | METH_KEYWORDS,
     "add_callback(f, *args, **kwargs): call f(*args, metadata, **kwargs), at once. Returns the future."},
    {"add_errback", (PyCFunction)(void (*)(void))future_add_errback, METH_VARARGS | METH_KEYWORDS,
     "add_errback(f): never called; the append has succeeded. Returns the future."},
    {"succeeded", future_true, METH_NOARGS, "True"},
    {"failed", future_false, METH_NOARGS, "False"},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef future_getset[] = {
    {"is_done", get_true, NULL, "True", NULL},
    {"value", (getter)future_metadata, NULL, "The RecordMetadata.", NULL},
    {"exception", get_none, NULL, "None", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyAsyncMethods future_async = {.am_await = PyObject_SelfIter};

PyTypeObject FutureType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.RecordFuture",
    .tp_basicsize = sizeof(FutureObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "The result of a send that is done: the record is in the log.",
    .tp_dealloc = (destructor)future_dealloc,
    .tp_repr = (reprfunc)future_repr,
    .tp_as_async = &future_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = (iternextfunc)future_next,
    .tp_methods = future_methods,
    .tp_getset = future_getset,
};
