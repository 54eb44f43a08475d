/* Appender: one partition to append to. Waiting for space and the GIL are dealt with here. */
#include "files.h"
#include "py_core.h"

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
    pthread_mutex_destroy(&self->mutex);
    Py_XDECREF((PyObject *)self->partition);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

enum act { APPEND, ROLL };

static int act(AppenderObject *self, enum act what, struct shmq_row *rows, uint32_t count,
               struct shmq_appended *appended) {
    return what == ROLL ? shmq_appender_roll(&self->appender) : shmq_append(&self->appender, rows, count, appended);
}

/* Without the GIL, alone in the appender. */
static int act_long(AppenderObject *self, enum act what, struct shmq_row *rows, uint32_t count,
                    struct shmq_appended *appended) {
    int result;
    self->busy++;
    Py_BEGIN_ALLOW_THREADS;
    pthread_mutex_lock(&self->mutex);
    result = act(self, what, rows, count, appended);
    pthread_mutex_unlock(&self->mutex);
    Py_END_ALLOW_THREADS;
    self->busy--;
    return result;
}

static void raise_full(AppenderObject *self, uint64_t waited_ms) {
    PartitionObject *partition = self->partition;
    shmq_raise_code("full", "{s:O,s:i,s:K,s:K,s:K,s:O}", "topic", partition->topic, "partition", partition->number,
                    "wanted_bytes", (unsigned long long)self->appender.wanted_bytes, "free_bytes", 0ULL, "waited_ms",
                    (unsigned long long)waited_ms, "self_wait", self->appender.only_self ? Py_True : Py_False);
}

/* One bounded sleep of a producer that found the ring full. 0: look again; -1: an exception is set. */
static int wait_for_space(AppenderObject *self, uint64_t began_ns, uint64_t max_block_ms) {
    struct shmq_partition *partition = self->appender.partition;
    struct shmq_fail fail = {0};
    uint64_t now = shmq_now_ns(), waited_ms = (now - began_ns) / 1000000;
    if (self->appender.only_self || waited_ms >= max_block_ms)
        return raise_full(self, waited_ms), -1;
    if (shmq_py_ensure_doorbell(self->partition->process) < 0)
        return -1;
    uint64_t ticket = shmq_doorbell_ticket(partition->process);
    int result = shmq_partition_await(partition, SHMQ_WAIT_FOR_SPACE, &fail);
    if (result != SHMQ_OK)
        return shmq_raise(result, &fail, self->partition->topic, self->partition->number), -1;
    result = act_long(self, ROLL, NULL, 0, NULL);
    if (result == SHMQ_FULL) {
        uint64_t left_ns = (max_block_ms - waited_ms) < 1000 ? (max_block_ms - waited_ms) * 1000000 : SPACE_LOOK_NS;
        Py_BEGIN_ALLOW_THREADS;
        result = shmq_doorbell_wait(partition->process, ticket, now + (left_ns < SPACE_LOOK_NS ? left_ns : SPACE_LOOK_NS));
        Py_END_ALLOW_THREADS;
        return result == SHMQ_SIGNAL ? PyErr_CheckSignals() : 0;
    }
    return result < 0 ? (shmq_raise(result, &self->appender.fail, self->partition->topic, self->partition->number), -1)
                      : 0;
}

int shmq_py_append(AppenderObject *self, struct shmq_row *rows, uint32_t count, uint64_t bytes, uint64_t max_block_ms,
                   struct shmq_appended *appended) {
    uint64_t began_ns = 0;
    bool is_long = bytes > SHMQ_LONG_COPY_BYTES;
    for (;;) {
        int result = is_long || self->busy ? act_long(self, APPEND, rows, count, appended)
                                           : act(self, APPEND, rows, count, appended);
        if (result == SHMQ_OK)
            return 0;
        if (result == SHMQ_ROLL)
            result = act_long(self, ROLL, NULL, 0, NULL);
        if (result == SHMQ_FULL) {
            began_ns = began_ns ? began_ns : shmq_now_ns();
            if (wait_for_space(self, began_ns, max_block_ms) < 0)
                return -1;
        } else if (result < 0) {
            self->last_result = result;
            self->appender.fail.limit = result == SHMQ_E_ABORTED ? self->appender.attempts : self->appender.fail.limit;
            shmq_raise(result, &self->appender.fail, self->partition->topic, self->partition->number);
            return -1;
        }
    }
}

/* ---- append_rows(rows, max_block_ms) ---- */

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

static PyObject *append_held(AppenderObject *self, struct held *held, PyObject *list, unsigned long long max_block_ms) {
    held->rows = PyMem_Calloc((size_t)held->count, sizeof *held->rows);
    held->buffers = PyMem_Calloc(3 * (size_t)held->count, sizeof *held->buffers);
    if (!held->rows || !held->buffers)
        return PyErr_NoMemory();
    for (Py_ssize_t index = 0; index < held->count; index++)
        if (hold_row(held, PyList_GET_ITEM(list, index)) < 0)
            return NULL;
    struct shmq_appended appended;
    if (shmq_py_append(self, held->rows, (uint32_t)held->count, held->bytes, max_block_ms, &appended) < 0)
        return NULL;
    return Py_BuildValue("(KL)", (unsigned long long)appended.base_offset, (long long)appended.timestamp_ms);
}

static PyObject *appender_append_rows(AppenderObject *self, PyObject *args) {
    PyObject *list;
    unsigned long long max_block_ms;
    if (!PyArg_ParseTuple(args, "O!K:append_rows", &PyList_Type, &list, &max_block_ms))
        return NULL;
    struct held held = {.count = PyList_GET_SIZE(list)};
    if (held.count == 0 || held.count > (Py_ssize_t)SHMQ_MAX_COUNT)
        return PyErr_Format(PyExc_ValueError, "a batch holds 1 to %u records, not %zd", SHMQ_MAX_COUNT, held.count);
    PyObject *result = append_held(self, &held, list, max_block_ms);
    release(&held);
    return result;
}

static PyObject *appender_counters(AppenderObject *self, PyObject *Py_UNUSED(ignored)) {
    return Py_BuildValue("(KK)", (unsigned long long)self->appender.rolled, (unsigned long long)self->appender.aborted);
}

static PyMethodDef appender_methods[] = {
    {"append_rows", (PyCFunction)appender_append_rows, METH_VARARGS,
     "append_rows([value or (key, value, encoded headers or None, timestamp_ms or -1)], max_block_ms) -> (base_offset, "
     "timestamp_ms): one batch, one claim."},
    {"counters", (PyCFunction)appender_counters, METH_NOARGS, "(segments this appender made, appends that were aborted)"},
    {NULL, NULL, 0, NULL}};

PyTypeObject AppenderType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.Appender",
    .tp_basicsize = sizeof(AppenderObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Appender(partition, attempts=3): appends to one partition; safe to share between threads.",
    .tp_new = appender_new,
    .tp_dealloc = (destructor)appender_dealloc,
    .tp_methods = appender_methods,
};
