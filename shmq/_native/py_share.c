/* Reader's methods about its window. */
#include "files.h"
#include "py_reader.h"

void shmq_py_end_share(ReaderObject *self) {
    if (self->share)
        shmq_share_close(self->share);
    PyMem_Free(self->share);
    self->share = NULL;
    Py_CLEAR(self->window);
}

PyObject *shmq_py_share(ReaderObject *self, PyObject *args) {
    WindowObject *window;
    unsigned long number;
    if (!PyArg_ParseTuple(args, "O!k:share", &WindowType, &window, &number))
        return NULL;
    if (number > SHMQ_MAX_GROUP)
        return PyErr_Format(PyExc_OverflowError, "a group's number is at most %u, not %lu", SHMQ_MAX_GROUP, number);
    if (!self->partition)
        return shmq_raise_closed("reader");
    if (self->share)
        return PyErr_Format(PyExc_ValueError, "this reader has a window already");
    if (window->window.partition != self->partition->partition->number ||
        window->window.topic_id != self->partition->partition->topic_id)
        return PyErr_Format(PyExc_ValueError, "the window is of another partition");
    self->share = PyMem_Calloc(1, sizeof *self->share);
    if (!self->share)
        return PyErr_NoMemory();
    self->window = (WindowObject *)Py_NewRef((PyObject *)window);
    int result = shmq_share_init(self->share, &self->reader, &self->window->window, (uint32_t)number);
    if (result < 0) {
        shmq_py_reader_raise(self, result);
        shmq_py_end_share(self);
        return NULL;
    }
    Py_RETURN_NONE;
}

static int check(ReaderObject *self) {
    if (!self->partition)
        return shmq_raise_closed("reader"), -1;
    return self->share ? 0 : (PyErr_SetString(PyExc_ValueError, "this reader has no window"), -1);
}

PyObject *shmq_py_settle(ReaderObject *self, PyObject *const *args, Py_ssize_t count) {
    if (count < 3 || count > 4)
        return PyErr_Format(PyExc_TypeError, "settle() takes 3 or 4 arguments (%zd given)", count);
    unsigned long long offset = PyLong_AsUnsignedLongLong(args[0]);
    unsigned long deliveries = PyErr_Occurred() ? 0 : PyLong_AsUnsignedLong(args[1]);
    long what = PyErr_Occurred() ? 0 : PyLong_AsLong(args[2]);
    unsigned long long delay_ms = PyErr_Occurred() || count < 4 ? 0 : PyLong_AsUnsignedLongLong(args[3]);
    if (PyErr_Occurred() || check(self) < 0)
        return NULL;
    if (what < SHMQ_ACCEPT || what > SHMQ_RENEW || deliveries > SHMQ_MAX_DELIVERIES || offset > SHMQ_MAX_HOLD)
        return PyErr_Format(PyExc_ValueError, "settle(%llu, %lu, %ld): no such record or kind", offset, deliveries, what);
    int result = shmq_share_acknowledge(self->share, offset, (uint32_t)deliveries, (enum shmq_acknowledge)what, delay_ms);
    return result < 0 ? shmq_py_reader_raise(self, result) : PyBool_FromLong(result == SHMQ_OK);
}

PyObject *shmq_py_counts(ReaderObject *self, PyObject *Py_UNUSED(ignored)) {
    struct shmq_counts counts;
    if (check(self) < 0)
        return NULL;
    int result = shmq_share_count(self->share, &counts);
    if (result < 0)
        return shmq_py_reader_raise(self, result);
    const struct shmq_tallies *census = &counts.census;
    uint64_t settled = census->start - self->window->window.first + census->settled;
    uint64_t others = census->rejected + census->skipped;
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K,s:K}", "start", (unsigned long long)census->start, "ready",
                         (unsigned long long)counts.ready, "in_flight", (unsigned long long)census->held, "delayed",
                         (unsigned long long)census->delayed, "accepted",
                         (unsigned long long)(settled > others ? settled - others : 0), "rejected",
                         (unsigned long long)census->rejected, "skipped", (unsigned long long)census->skipped);
}

/* ---- How a record stands ---- */

struct standing {
    const struct shmq_window *window;
    uint64_t offset, word;
    enum shmq_standing standing;
    bool delayed;
};

static int look_at(void *argument) {
    struct standing *look = argument;
    const struct shmq_window *window = look->window;
    uint64_t start = shmq_window_start(window);
    look->standing = look->offset < start ? SHMQ_STANDS_SETTLED : SHMQ_STANDS_FRESH;
    if (window->kind == SHMQ_WINDOW_RECORDS)
        look->standing = shmq_window_look(window, look->offset, start, &look->word);
    look->delayed = look->standing == SHMQ_STANDS_BACK && shmq_taken_state(look->word) == SHMQ_DELAYED;
    return SHMQ_OK;
}

PyObject *shmq_py_standing(ReaderObject *self, PyObject *offset) {
    struct standing look = {.offset = PyLong_AsUnsignedLongLong(offset)};
    if (PyErr_Occurred() || check(self) < 0)
        return NULL;
    look.window = &self->window->window;
    int result = shmq_guarded(look_at, &look, &self->reader.fail, look.window->path);
    if (result != SHMQ_OK)
        return shmq_py_reader_raise(self, result);
    const char *state = look.standing == SHMQ_STANDS_SETTLED ? "done"
                        : look.standing == SHMQ_STANDS_HELD  ? "in_flight"
                        : look.delayed                       ? "delayed"
                                                             : "ready";
    bool taken = look.standing == SHMQ_STANDS_HELD || look.standing == SHMQ_STANDS_BACK;
    return Py_BuildValue("(sI)", state, taken ? shmq_taken_deliveries(look.word) : 0);
}

/* ---- Who holds what ---- */

struct held {
    uint64_t offset, left_ms;
    uint32_t deliveries, slot;
    bool alive;
};

struct listing {
    ReaderObject *reader;
    struct held *held;
    uint32_t count;
};

static int list_held(void *argument) {
    struct listing *list = argument;
    const struct shmq_window *window = &list->reader->window->window;
    uint64_t start = shmq_window_start(window), fresh = shmq_window_fresh(window), now = shmq_now_ms(), word;
    for (uint64_t offset = start; offset < fresh && list->count < window->length; offset++) {
        if (shmq_window_look(window, offset, start, &word) != SHMQ_STANDS_HELD)
            continue;
        uint64_t due = shmq_window_due_ms(window, offset, word, now, 0);
        uint32_t holder = shmq_taken_holder(word);
        list->held[list->count++] = (struct held){
            .offset = offset,
            .left_ms = due == UINT64_MAX ? due : due > now ? due - now : 0,
            .deliveries = shmq_taken_deliveries(word),
            .slot = holder & (SHMQ_MAX_SLOTS - 1),
            .alive = shmq_holder_life(list->reader->partition->partition->process, holder) == SHMQ_LIFE_ALIVE,
        };
    }
    return SHMQ_OK;
}

static PyObject *as_tuple(const struct held *held) {
    PyObject *left = held->left_ms == UINT64_MAX ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(held->left_ms);
    return left ? Py_BuildValue("(KIION)", (unsigned long long)held->offset, held->deliveries, held->slot,
                                held->alive ? Py_True : Py_False, left)
                : NULL;
}

PyObject *shmq_py_in_flight(ReaderObject *self, PyObject *Py_UNUSED(ignored)) {
    if (check(self) < 0)
        return NULL;
    struct listing list = {.reader = self};
    PyObject *result = PyList_New(0);
    list.held = PyMem_Calloc(self->window->window.length, sizeof *list.held);
    if (!list.held)
        PyErr_NoMemory();
    if (list.held && self->window->window.kind == SHMQ_WINDOW_RECORDS &&
        shmq_guarded(list_held, &list, &self->reader.fail, self->window->window.path) != SHMQ_OK)
        shmq_py_reader_raise(self, SHMQ_E_STORAGE);
    for (uint32_t index = 0; result && !PyErr_Occurred() && index < list.count; index++) {
        PyObject *tuple = as_tuple(&list.held[index]);
        if (tuple)
            PyList_Append(result, tuple);
        Py_XDECREF(tuple);
    }
    PyMem_Free(list.held);
    if (PyErr_Occurred())
        Py_CLEAR(result);
    return result;
}
