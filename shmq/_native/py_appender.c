/* Appender: one partition to append to. Waiting for space and the GIL are dealt with here. */
#include "files.h"
#include "guard.h"
#include "py_core.h"
#include "retention.h"

/* A producer that waits for space looks again at least this often: a dead reader rings nobody. */
#define SPACE_LOOK_NS UINT64_C(10000000)

static PyObject *appender_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"partition", "attempts", NULL};
    PartitionObject *partition;
    int attempts = SHMQ_APPEND_ATTEMPTS;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|i:Appender", names, &PartitionType, &partition, &attempts))
        return NULL;
    if (attempts < 1 || attempts > SHMQ_APPEND_ATTEMPTS)
        return PyErr_Format(PyExc_ValueError, "attempts is 1 to %d, not %d", SHMQ_APPEND_ATTEMPTS, attempts);
    AppenderObject *self = (AppenderObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->partition = (PartitionObject *)Py_NewRef((PyObject *)partition);
    self->appender.partition = partition->partition;
    self->appender.attempts = (uint8_t)attempts;
    pthread_mutex_init(&self->mutex, NULL);
    return (PyObject *)self;
}

static void appender_dealloc(AppenderObject *self) {
    shmq_appender_close(&self->appender);
    Py_XDECREF((PyObject *)self->window);
    pthread_mutex_destroy(&self->mutex);
    Py_XDECREF((PyObject *)self->partition);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* What an append came to, taken while the appender was ours: another thread may use it right afterwards. */
struct outcome {
    bool only_self, beyond;
    uint64_t wanted_bytes, free_bytes;
    struct shmq_fail fail; /* filled if the result is negative */
};

static int find_free(void *argument) {
    struct shmq_segment *segment = argument;
    uint32_t used = shmq_word_pos(shmq_journal_before(&segment->journal, shmq_journal_end(&segment->journal)));
    return used < segment->journal.data_units ? (int)(segment->journal.data_units - used) : 0;
}

static uint64_t free_bytes(struct shmq_appender *appender) {
    if (!appender->segment.header)
        return 0;
    int units = shmq_guarded(find_free, &appender->segment, &appender->fail, appender->partition->directory);
    return units > 0 ? (uint64_t)units * SHMQ_UNIT_BYTES : 0;
}

enum act { APPEND, ROLL, LIMIT };

/* Does the window leave more room than was thought, since claims were aborted? OK: look again. */
static int find_limit(struct shmq_appender *appender, struct outcome *outcome) {
    uint64_t limit;
    int result = shmq_window_limit(appender->window, appender->partition, &limit, &outcome->fail);
    if (result != SHMQ_OK)
        return result;
    if (limit <= appender->limit)
        return SHMQ_FULL;
    appender->limit = limit;
    return SHMQ_OK;
}

static int do_work(struct shmq_appender *appender, const struct shmq_work *work, struct shmq_appended *appended) {
    if (__builtin_expect(work->reservation != NULL, 0))
        return shmq_reserve(appender, work->count, work->item_bytes, work->reservation);
    return shmq_append(appender, work->rows, work->items, work->count, appended);
}

static int act(AppenderObject *self, enum act what, const struct shmq_work *work, struct shmq_appended *appended,
               struct outcome *outcome) {
    struct shmq_appender *appender = &self->appender;
    if (what == LIMIT)
        return find_limit(appender, outcome);
    int result = what == ROLL ? shmq_appender_roll(appender) : do_work(appender, work, appended);
    if (result == SHMQ_OK)
        return result;
    outcome->only_self = appender->only_self;
    outcome->beyond = what == APPEND && appender->beyond;
    if (what == APPEND)
        outcome->wanted_bytes = appender->wanted_bytes;
    if (result == SHMQ_FULL)
        outcome->free_bytes = free_bytes(appender);
    if (result == SHMQ_E_ABORTED)
        appender->fail.limit = appender->attempts;
    if (result < 0)
        outcome->fail = appender->fail;
    return result;
}

/* Without the GIL, alone in the appender. */
static int act_long(AppenderObject *self, enum act what, const struct shmq_work *work, struct shmq_appended *appended,
                    struct outcome *outcome) {
    int result;
    self->busy++;
    Py_BEGIN_ALLOW_THREADS;
    pthread_mutex_lock(&self->mutex);
    result = act(self, what, work, appended, outcome);
    pthread_mutex_unlock(&self->mutex);
    Py_END_ALLOW_THREADS;
    self->busy--;
    return result;
}

/* A producer that waits. */
struct patience {
    uint64_t began_ns, ticket;
    bool announced; /* it has said so, and must look once more before it sleeps */
};

static int raise_full(AppenderObject *self, const struct outcome *outcome, uint64_t waited_ms) {
    PartitionObject *partition = self->partition;
    if (outcome->beyond) {
        shmq_raise_code("crowded", "{s:O,s:i,s:K,s:K}", "topic", partition->topic, "partition", partition->number,
                        "max_items", (unsigned long long)self->appender.window->max_items, "waited_ms",
                        (unsigned long long)waited_ms);
        return -1;
    }
    shmq_raise_code("full", "{s:O,s:i,s:K,s:K,s:K,s:O}", "topic", partition->topic, "partition", partition->number,
                    "wanted_bytes", (unsigned long long)outcome->wanted_bytes, "free_bytes",
                    (unsigned long long)outcome->free_bytes, "waited_ms", (unsigned long long)waited_ms, "self_wait",
                    outcome->only_self ? Py_True : Py_False);
    return -1;
}

static int raise_failed(AppenderObject *self, int result, const struct outcome *outcome) {
    shmq_raise(result, &outcome->fail, self->partition->topic, self->partition->number);
    return result == SHMQ_E_DELETED ? result : -1;
}

static uint64_t sleep_ns(uint64_t left_ms) {
    return left_ms * 1000000 < SPACE_LOOK_NS || left_ms < 10 ? left_ms * 1000000 : SPACE_LOOK_NS;
}

/* One bounded sleep of a producer that found the window full: first it says that it waits, then it looks once more. 0: look
 * again; negative: an exception is set. */
static int wait_for_takers(AppenderObject *self, struct outcome *outcome, struct patience *patience, uint64_t max_block_ms) {
    struct shmq_partition *partition = self->appender.partition;
    uint64_t now = shmq_now_ns(), waited_ms = (now - patience->began_ns) / 1000000;
    int result = SHMQ_FULL;
    if (!patience->announced) {
        result = act_long(self, LIMIT, NULL, NULL, outcome);
        if (result < 0)
            return raise_failed(self, result, outcome);
        if (result == SHMQ_OK)
            return 0;
        if (waited_ms >= max_block_ms)
            return raise_full(self, outcome, waited_ms);
        if (shmq_py_ensure_doorbell(self->partition->process) < 0)
            return -1;
        patience->ticket = shmq_doorbell_ticket(partition->process);
        result = shmq_partition_await(partition, SHMQ_WAIT_FOR_SPACE, &outcome->fail);
        patience->announced = result == SHMQ_OK;
        return result < 0 ? raise_failed(self, result, outcome) : 0;
    }
    patience->announced = false;
    uint64_t left_ms = max_block_ms > waited_ms ? max_block_ms - waited_ms : 0;
    Py_BEGIN_ALLOW_THREADS;
    shmq_doorbell_wait(partition->process, patience->ticket, now + sleep_ns(left_ms));
    Py_END_ALLOW_THREADS;
    return PyErr_CheckSignals();
}

/* One bounded sleep of a producer that found the ring full. 0: look again; negative: an exception is set. */
static int wait_for_space(AppenderObject *self, struct outcome *outcome, uint64_t began_ns, uint64_t max_block_ms) {
    struct shmq_partition *partition = self->appender.partition;
    uint64_t now = shmq_now_ns(), waited_ms = (now - began_ns) / 1000000;
    if (outcome->only_self || waited_ms >= max_block_ms)
        return raise_full(self, outcome, waited_ms);
    if (shmq_py_ensure_doorbell(self->partition->process) < 0)
        return -1;
    uint64_t ticket = shmq_doorbell_ticket(partition->process);
    int result = shmq_partition_await(partition, SHMQ_WAIT_FOR_SPACE, &outcome->fail);
    if (result == SHMQ_OK)
        result = act_long(self, ROLL, NULL, NULL, outcome);
    if (result == SHMQ_FULL) {
        Py_BEGIN_ALLOW_THREADS;
        shmq_doorbell_wait(partition->process, ticket, now + sleep_ns(max_block_ms - waited_ms));
        Py_END_ALLOW_THREADS;
        /* Always: a signal may have come just before the sleep, or in another thread, and so not have ended it. */
        return PyErr_CheckSignals();
    }
    return result < 0 ? raise_failed(self, result, outcome) : 0;
}

/* Items in place are not copied, but for their checksum they are read. Only while nobody is busy with the appender. */
static bool is_long(const AppenderObject *self, const struct shmq_work *work) {
    const struct shmq_segment *segment = &self->appender.segment;
    if (work->bytes <= SHMQ_LONG_COPY_BYTES)
        return false;
    return work->rows || !work->items || !segment->header || segment->crc ||
           work->items->incarnation != segment->journal.incarnation;
}

int shmq_py_append(AppenderObject *self, const struct shmq_work *work, uint64_t max_block_ms, struct shmq_appended *appended) {
    struct patience patience = {0, 0, false};
    struct outcome outcome; /* act() fills it */
    for (;;) {
        int result = self->busy || is_long(self, work) ? act_long(self, APPEND, work, appended, &outcome)
                                                       : act(self, APPEND, work, appended, &outcome);
        if (result == SHMQ_OK)
            return 0;
        if (result == SHMQ_ROLL)
            result = act_long(self, ROLL, NULL, NULL, &outcome);
        if (result == SHMQ_FULL) {
            patience.began_ns = patience.began_ns ? patience.began_ns : shmq_now_ns();
            result = outcome.beyond ? wait_for_takers(self, &outcome, &patience, max_block_ms)
                                    : wait_for_space(self, &outcome, patience.began_ns, max_block_ms);
            if (result < 0)
                return result;
        } else if (result < 0) {
            return raise_failed(self, result, &outcome);
        }
    }
}

/* ---- append_rows(rows, max_block_ms, placed=None) ---- */

struct held {
    struct shmq_row *rows;
    Py_buffer *buffers; /* three a row */
    Py_ssize_t count, filled;
    uint64_t bytes;
};

static int hold(PyObject *source, Py_buffer *buffer, const void **bytes, int64_t *length) {
    buffer->obj = NULL;
    *bytes = NULL;
    *length = -1;
    if (source == Py_None)
        return 0;
    if (PyObject_GetBuffer(source, buffer, PyBUF_SIMPLE) < 0)
        return -1;
    *bytes = buffer->buf;
    *length = buffer->len;
    return 0;
}

/* (key, value, headers as encoded bytes or None, timestamp_ms or -1), or just a value */
static int hold_row(struct held *held, PyObject *item) {
    PyObject *key = Py_None, *value = item, *headers = Py_None;
    long long timestamp_ms = -1;
    struct shmq_row *row = &held->rows[held->filled];
    Py_buffer *buffers = &held->buffers[3 * held->filled];
    int64_t headers_bytes = 0;
    if (PyTuple_Check(item) && !PyArg_ParseTuple(item, "OOOL", &key, &value, &headers, &timestamp_ms))
        return -1;
    held->filled++;
    if (hold(key, &buffers[0], &row->key, &row->key_bytes) < 0 || hold(value, &buffers[1], &row->value, &row->value_bytes) < 0 ||
        hold(headers, &buffers[2], &row->headers, &headers_bytes) < 0)
        return -1;
    if (headers_bytes > INT32_MAX)
        return PyErr_SetString(PyExc_ValueError, "headers of more than 2 GiB"), -1;
    row->headers_bytes = headers_bytes > 0 ? (uint32_t)headers_bytes : 0;
    row->timestamp_ms = timestamp_ms;
    held->bytes += (uint64_t)(buffers[0].obj ? buffers[0].len : 0) + (uint64_t)(buffers[1].obj ? buffers[1].len : 0);
    return 0;
}

static void release(struct held *held) {
    for (Py_ssize_t index = 0; index < 3 * held->filled; index++)
        if (held->buffers[index].obj)
            PyBuffer_Release(&held->buffers[index]);
    PyMem_Free(held->rows);
    PyMem_Free(held->buffers);
}

/* The log overwrites timestamps in the rows where it stamps them itself. */
static bool was_stamped(const struct held *held, PyObject *list) {
    for (Py_ssize_t index = 0; index < held->count; index++) {
        PyObject *item = PyList_GET_ITEM(list, index);
        long long given = PyTuple_Check(item) ? PyLong_AsLongLong(PyTuple_GET_ITEM(item, 3)) : -1;
        if (given >= 0 && given != held->rows[index].timestamp_ms)
            return true;
    }
    return false;
}

static PyObject *append_held(AppenderObject *self, struct held *held, PyObject *list, unsigned long long max_block_ms) {
    held->rows = PyMem_Calloc((size_t)held->count, sizeof *held->rows);
    held->buffers = PyMem_Calloc(3 * (size_t)held->count, sizeof *held->buffers);
    if (!held->rows || !held->buffers)
        return PyErr_NoMemory();
    for (Py_ssize_t index = 0; index < held->count; index++)
        if (hold_row(held, PyList_GET_ITEM(list, index)) < 0)
            return NULL;
    struct shmq_work work = {.rows = held->rows, .count = (uint32_t)held->count, .bytes = held->bytes};
    struct shmq_appended appended;
    if (shmq_py_append(self, &work, max_block_ms, &appended) < 0)
        return NULL;
    return Py_BuildValue("(KLO)", (unsigned long long)appended.base_offset, (long long)appended.timestamp_ms,
                         was_stamped(held, list) ? Py_True : Py_False);
}

static PyObject *appender_append_rows(AppenderObject *self, PyObject *args) {
    PyObject *list, *placed = NULL;
    unsigned long long max_block_ms;
    if (!PyArg_ParseTuple(args, "O!K|O!:append_rows", &PyList_Type, &list, &max_block_ms, &PyList_Type, &placed))
        return NULL;
    struct held held = {.count = PyList_GET_SIZE(list)};
    if (held.count == 0 || held.count > (Py_ssize_t)SHMQ_MAX_COUNT)
        return PyErr_Format(PyExc_ValueError, "a batch holds 1 to %u records, not %zd", SHMQ_MAX_COUNT, held.count);
    if (self->appender.window && (uint64_t)held.count > self->appender.window->max_items)
        return PyErr_Format(PyExc_ValueError, "a batch of %zd records, where at most %llu may lie untaken", held.count,
                            (unsigned long long)self->appender.window->max_items);
    list = PyList_GetSlice(list, 0, held.count); /* the caller's may change while we wait for space */
    PyObject *result = list ? append_held(self, &held, list, max_block_ms) : NULL;
    release(&held);
    Py_XDECREF(list);
    if (result && placed && PyList_Append(placed, result) < 0)
        Py_CLEAR(result);
    return result;
}

/* append(value, max_block_ms) */
static PyObject *appender_append(AppenderObject *self, PyObject *const *args, Py_ssize_t count) {
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "append() takes 2 arguments (%zd given)", count);
    unsigned long long max_block_ms = PyLong_AsUnsignedLongLong(args[1]);
    Py_buffer value;
    if (PyErr_Occurred() || PyObject_GetBuffer(args[0], &value, PyBUF_SIMPLE) < 0)
        return NULL;
    struct shmq_row row = {.value = value.buf, .key_bytes = -1, .value_bytes = value.len, .timestamp_ms = -1};
    struct shmq_work work = {.rows = &row, .count = 1, .bytes = (uint64_t)value.len};
    struct shmq_appended appended;
    int result = shmq_py_append(self, &work, max_block_ms, &appended);
    PyBuffer_Release(&value);
    return result < 0 ? NULL : PyLong_FromUnsignedLongLong(appended.base_offset);
}

/* bound(window) */
static PyObject *appender_bound(AppenderObject *self, PyObject *object) {
    if (Py_TYPE(object) != &WindowType || self->window || self->busy)
        return PyErr_Format(PyExc_TypeError, "bound() takes a Window, once, before the first append");
    WindowObject *window = (WindowObject *)object;
    if (window->window.partition != self->partition->partition->number ||
        window->window.topic_id != self->partition->partition->topic_id)
        return PyErr_Format(PyExc_ValueError, "the window is of another partition");
    self->window = (WindowObject *)Py_NewRef(object);
    self->appender.window = window->window.max_items ? &window->window : NULL;
    Py_RETURN_NONE;
}

static PyObject *appender_counters(AppenderObject *self, PyObject *Py_UNUSED(ignored)) {
    return Py_BuildValue("(KK)", (unsigned long long)self->appender.rolled, (unsigned long long)self->appender.aborted);
}

struct limit_look {
    const struct shmq_partition *partition;
    uint64_t bytes;
};

static int look_at_limit(void *argument) {
    struct limit_look *look = argument;
    look->bytes = shmq_options_now(look->partition).max_message_bytes;
    return SHMQ_OK;
}

static PyObject *appender_get_max_message_bytes(AppenderObject *self, void *Py_UNUSED(closure)) {
    struct limit_look look = {.partition = self->appender.partition};
    struct shmq_fail fail = {0};
    int result = shmq_guarded(look_at_limit, &look, &fail, look.partition->directory);
    return result == SHMQ_OK ? PyLong_FromUnsignedLongLong(look.bytes)
                             : shmq_raise(result, &fail, self->partition->topic, self->partition->number);
}

static PyMethodDef appender_methods[] = {
    {"append_rows", (PyCFunction)appender_append_rows, METH_VARARGS,
     "append_rows([value or (key, value, encoded headers or None, timestamp_ms or -1)], max_block_ms, placed=None) -> "
     "(base_offset, timestamp_ms of the first row, whether the log stamped all of them): one batch, one claim. What is "
     "returned is put into the list `placed` too: a signal cannot come between the append and that."},
    {"append", (PyCFunction)(void (*)(void))appender_append, METH_FASTCALL,
     "append(value, max_block_ms) -> offset: one record, without key and headers."},
    {"append_items", (PyCFunction)(void (*)(void))shmq_py_append_items, METH_VARARGS | METH_KEYWORDS,
     "append_items(buffer, count, max_block_ms, keys=None, timestamp_ms=-1) -> (base_offset, timestamp_ms): `count` records of "
     "equal size, one after the other in the buffer, as one claim; keys: a list of bytes or None, one for each."},
    {"reserve", (PyCFunction)shmq_py_reserve, METH_VARARGS,
     "reserve(bytes, count, max_block_ms) -> Reservation: room for `count` items, which together have so many bytes."},
    {"bound", (PyCFunction)appender_bound, METH_O,
     "bound(Window): appends wait while the window's max_items records lie there that nobody has taken."},
    {"counters", (PyCFunction)appender_counters, METH_NOARGS, "(segments this appender made, appends that were aborted)"},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef appender_getset[] = {
    {"max_message_bytes", (getter)appender_get_max_message_bytes, NULL, "The topic's option, as it is now.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

PyTypeObject AppenderType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.Appender",
    .tp_basicsize = sizeof(AppenderObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Appender(partition, attempts=3): appends to one partition; safe to share between threads.",
    .tp_new = appender_new,
    .tp_dealloc = (destructor)appender_dealloc,
    .tp_methods = appender_methods,
    .tp_getset = appender_getset,
};
