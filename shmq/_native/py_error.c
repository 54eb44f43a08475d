#include "py_core.h"

PyObject *shmq_record_metadata, *shmq_topic_partition, *shmq_create_doorbell, *shmq_unlink_doorbell;
static PyObject *error_hook;

/* set_hooks(error=, record_metadata=, topic_partition=, create_doorbell=, unlink_doorbell=): what the core takes from
 * Python, so that it imports nothing. */
PyObject *shmq_py_set_hooks(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs) {
    static char *names[] = {"error", "record_metadata", "topic_partition", "create_doorbell", "unlink_doorbell", NULL};
    PyObject *hooks[5] = {NULL};
    PyObject **places[5] = {&error_hook, &shmq_record_metadata, &shmq_topic_partition, &shmq_create_doorbell,
                            &shmq_unlink_doorbell};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOOO:set_hooks", names, &hooks[0], &hooks[1], &hooks[2],
                                     &hooks[3], &hooks[4]))
        return NULL;
    for (int hook = 0; hook < 5; hook++)
        if (hooks[hook]) {
            Py_INCREF(hooks[hook]);
            Py_XSETREF(*places[hook], hooks[hook]);
        }
    Py_RETURN_NONE;
}

static PyObject *raise_with(const char *code, PyObject *info) {
    if (!info)
        return NULL;
    if (!error_hook) {
        PyErr_Format(PyExc_RuntimeError, "%s: %R", code, info);
        Py_DECREF(info);
        return NULL;
    }
    PyObject *error = PyObject_CallFunction(error_hook, "sN", code, info);
    if (error) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
    return NULL;
}

PyObject *shmq_raise_code(const char *code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    PyObject *info = Py_VaBuildValue(format, arguments);
    va_end(arguments);
    return raise_with(code, info);
}

PyObject *shmq_raise_closed(const char *what) {
    return shmq_raise_code("closed", "{s:s}", "what", what);
}

PyObject *shmq_raise(int result, const struct shmq_fail *fail, PyObject *topic, int partition) {
    PyObject *name = topic ? topic : Py_None;
    unsigned long long wanted = fail->wanted, limit = fail->limit, limit2 = fail->limit2, pos = fail->pos;
    switch (result) {
    case SHMQ_E_TOO_LARGE:
        return shmq_raise_code("too_large", "{s:O,s:i,s:K,s:K,s:s}", "topic", name, "partition", partition,
                               "record_bytes", wanted, "limit_bytes", limit, "limit", fail->what);
    case SHMQ_E_STORAGE_FULL:
        return shmq_raise_code("storage_full", "{s:s,s:K,s:K}", "path", fail->path, "wanted_bytes", wanted,
                               "free_bytes", limit);
    case SHMQ_E_STORAGE:
        return shmq_raise_code("storage", "{s:s,s:s,s:i}", "path", fail->path, "what", fail->what, "errno",
                               fail->error_number);
    case SHMQ_E_CORRUPT:
        return shmq_raise_code("corrupt", "{s:s,s:s,s:K}", "path", fail->path, "what", fail->what, "pos", pos);
    case SHMQ_E_OUT_OF_RANGE:
        return shmq_raise_code("out_of_range", "{s:O,s:i,s:K,s:K,s:K}", "topic", name, "partition", partition, "offset",
                               wanted, "begin", limit, "end", limit2);
    case SHMQ_E_DELETED:
        return shmq_raise_code("deleted", "{s:O,s:i}", "topic", name, "partition", partition);
    case SHMQ_E_ABORTED:
        return shmq_raise_code("aborted", "{s:O,s:i,s:K}", "topic", name, "partition", partition, "attempts", limit);
    case SHMQ_E_VERSION:
        return shmq_raise_code("version", "{s:s,s:K,s:K}", "path", fail->path, "found", limit, "supported", wanted);
    case SHMQ_E_SLOTS:
        return shmq_raise_code("slots", "{s:s,s:K}", "path", fail->path, "slots", limit);
    case SHMQ_E_READERS:
        return shmq_raise_code("readers", "{s:O,s:i,s:K}", "topic", name, "partition", partition, "readers", limit);
    default:
        return shmq_raise_code("internal", "{s:s}", "what", fail->what);
    }
}
