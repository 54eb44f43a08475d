/* Window: which records of one partition a share group, or the users of a queue, have taken. */
#include "py_core.h"
#include "window.h"

#include "guard.h"

PyObject *shmq_py_create_window(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs) {
    static char *names[] = {"path", "topic_id", "partition", "start_offset", "kind", "max_items", "words", NULL};
    const char *path;
    unsigned long long topic_id, start_offset, max_items = 0;
    unsigned partition, words = 16384;
    int kind;
    struct shmq_fail fail = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sKIKi|KI:create_window", names, &path, &topic_id, &partition,
                                     &start_offset, &kind, &max_items, &words))
        return NULL;
    if (kind != SHMQ_WINDOW_RECORDS && kind != SHMQ_WINDOW_CURSOR)
        return PyErr_Format(PyExc_ValueError, "kind is 0 (records) or 1 (cursor), not %d", kind);
    if (words < SHMQ_MIN_WINDOW_WORDS || words > SHMQ_MAX_WINDOW_WORDS || (words & (words - 1)))
        return PyErr_Format(PyExc_ValueError, "words is a power of two, %u to %u, not %u", SHMQ_MIN_WINDOW_WORDS,
                            SHMQ_MAX_WINDOW_WORDS, words);
    if (start_offset > SHMQ_MAX_HOLD || max_items > SHMQ_MAX_HOLD)
        return PyErr_Format(PyExc_OverflowError, "start_offset and max_items are at most %llu",
                            (unsigned long long)SHMQ_MAX_HOLD);
    struct shmq_window *like = PyMem_Calloc(1, sizeof *like);
    if (!like)
        return PyErr_NoMemory();
    like->topic_id = topic_id;
    like->partition = partition;
    like->kind = (enum shmq_window_kind)kind;
    like->first = start_offset;
    like->max_items = max_items;
    like->length = words;
    int result = shmq_window_create(path, like, &fail);
    PyMem_Free(like);
    if (result < 0)
        return shmq_raise(result, &fail, NULL, 0);
    Py_RETURN_NONE;
}

static PyObject *window_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"path", "topic_id", "partition", NULL};
    const char *path;
    unsigned long long topic_id;
    unsigned partition;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sKI:Window", names, &path, &topic_id, &partition))
        return NULL;
    WindowObject *self = (WindowObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    int result = shmq_window_open(&self->window, path, topic_id, partition, &self->fail);
    if (result == SHMQ_OK)
        return (PyObject *)self;
    if (result == SHMQ_NOTHING)
        PyErr_Format(PyExc_FileNotFoundError, "%s", path);
    else
        shmq_raise(result, &self->fail, NULL, 0);
    Py_DECREF((PyObject *)self);
    return NULL;
}

static void window_dealloc(WindowObject *self) {
    shmq_window_close(&self->window);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

struct look {
    struct shmq_window *window;
    struct shmq_tallies census;
};

static int look(void *argument) {
    struct look *look = argument;
    if (look->window->kind == SHMQ_WINDOW_RECORDS)
        shmq_window_census(look->window, 0, &look->census);
    else
        shmq_window_cursor_census(look->window, &look->census);
    return SHMQ_OK;
}

static int take_census(WindowObject *self, struct shmq_tallies *census) {
    struct look call = {.window = &self->window};
    if (!self->window.header)
        return shmq_raise_closed("window"), -1;
    int result = shmq_guarded(look, &call, &self->fail, self->window.path);
    *census = call.census;
    return result == SHMQ_OK ? 0 : (shmq_raise(result, &self->fail, NULL, 0), -1);
}

static PyObject *window_totals(WindowObject *self, PyObject *Py_UNUSED(ignored)) {
    struct shmq_tallies census;
    if (take_census(self, &census) < 0)
        return NULL;
    return Py_BuildValue("(KKK)", (unsigned long long)census.start, (unsigned long long)census.rejected,
                         (unsigned long long)census.skipped);
}

static PyObject *window_get_start(WindowObject *self, void *Py_UNUSED(closure)) {
    struct shmq_tallies census;
    return take_census(self, &census) < 0 ? NULL : PyLong_FromUnsignedLongLong(census.start);
}

static PyObject *window_get_number(WindowObject *self, void *place) {
    return PyLong_FromUnsignedLongLong(place ? self->window.max_items : self->window.first);
}

static PyObject *window_get_kind(WindowObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromLong((long)self->window.kind);
}

static PyMethodDef window_methods[] = {
    {"totals", (PyCFunction)window_totals, METH_NOARGS, "(first offset that is not settled, rejected so far, skipped so far)"},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef window_getset[] = {
    {"start", (getter)window_get_start, NULL, "Every record before this offset is settled.", NULL},
    {"first", (getter)window_get_number, NULL, "Offset at which the group began.", NULL},
    {"max_items", (getter)window_get_number, NULL, "Most records that producers leave untaken; 0: no limit.", (void *)1},
    {"kind", (getter)window_get_kind, NULL, "0: records are settled one by one; 1: a record that is taken is settled.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

PyTypeObject WindowType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.Window",
    .tp_basicsize = sizeof(WindowObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Window(path, topic_id, partition): a window, mapped as long as this object lives. FileNotFoundError: none.",
    .tp_new = window_new,
    .tp_dealloc = (destructor)window_dealloc,
    .tp_methods = window_methods,
    .tp_getset = window_getset,
};
