/* Reader: a place in one partition; and turning the views at that place into records. */
#include <time.h>

#include "files.h"
#include "py_reader.h"

static PyObject *reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"partition", "key", "check_crcs", NULL};
    PartitionObject *partition;
    PyObject *key;
    int check_crcs = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O|p:Reader", names, &PartitionType, &partition, &key, &check_crcs))
        return NULL;
    ReaderObject *self = (ReaderObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->partition = (PartitionObject *)Py_NewRef((PyObject *)partition);
    self->key = Py_NewRef(key);
    shmq_reader_init(&self->reader, partition->partition, check_crcs);
    return (PyObject *)self;
}

static void release(ReaderObject *self) {
    if (!self->partition)
        return;
    if (self->partition->partition->fork_count != shmq_fork_count())
        self->reader.registration.entry = self->reader.hold.entry = -1; /* they are the parent's */
    shmq_py_end_share(self);
    shmq_reader_close(&self->reader);
    Py_CLEAR(self->partition);
}

static void reader_dealloc(ReaderObject *self) {
    release(self);
    Py_XDECREF(self->key);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *reader_close(ReaderObject *self, PyObject *Py_UNUSED(ignored)) {
    release(self);
    Py_RETURN_NONE;
}

PyObject *shmq_py_reader_raise(ReaderObject *self, int result) {
    return shmq_raise(result, &self->reader.fail, self->partition->topic, self->partition->number);
}

static PyObject *done(ReaderObject *self, int result) {
    if (result < 0)
        return shmq_py_reader_raise(self, result);
    Py_RETURN_NONE;
}

static PyObject *reader_seek(ReaderObject *self, PyObject *offset) {
    unsigned long long number = PyLong_AsUnsignedLongLong(offset);
    if (number == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    if (!self->partition)
        return shmq_raise_closed("reader");
    int result = shmq_reader_seek(&self->reader, number);
    self->unset = self->unset && result != SHMQ_OK;
    return done(self, result);
}

static PyObject *reader_bounds(ReaderObject *self, PyObject *Py_UNUSED(ignored)) {
    uint64_t begin, end;
    if (!self->partition)
        return shmq_raise_closed("reader");
    int result = shmq_reader_bounds(&self->reader, &begin, &end);
    if (result < 0)
        return shmq_py_reader_raise(self, result);
    return Py_BuildValue("(KK)", (unsigned long long)begin, (unsigned long long)end);
}

static PyObject *reader_register(ReaderObject *self, PyObject *Py_UNUSED(ignored)) {
    if (!self->partition)
        return shmq_raise_closed("reader");
    return done(self, shmq_reader_register(&self->reader));
}

/* A non-negative number, or -1 with an exception set. */
static int64_t parse_number(const char *name, PyObject *number, uint64_t most) {
    unsigned long long value = PyLong_AsUnsignedLongLong(number);
    if (value == (unsigned long long)-1 && PyErr_Occurred())
        return -1;
    if (value > most)
        return PyErr_Format(PyExc_OverflowError, "%s is at most %llu, not %llu", name, (unsigned long long)most, value),
               -1;
    return (int64_t)value;
}

static PyObject *reader_hold(ReaderObject *self, PyObject *number) {
    int64_t group = parse_number("a group's number", number, SHMQ_MAX_GROUP);
    if (group < 0)
        return NULL;
    if (!self->partition)
        return shmq_raise_closed("reader");
    int result = shmq_reader_hold(&self->reader, (uint32_t)group);
    return result < 0 ? shmq_py_reader_raise(self, result) : PyBool_FromLong(result == SHMQ_OK);
}

static PyObject *reader_move_hold(ReaderObject *self, PyObject *offset) {
    int64_t number = parse_number("an offset", offset, SHMQ_MAX_HOLD);
    if (number < 0)
        return NULL;
    if (!self->partition)
        return shmq_raise_closed("reader");
    int result = shmq_reader_move_hold(&self->reader, (uint64_t)number);
    return result < 0 ? shmq_py_reader_raise(self, result) : PyBool_FromLong(result == SHMQ_OK);
}

static PyObject *reader_settled(ReaderObject *self, PyObject *offset) {
    int64_t number = parse_number("an offset", offset, INT64_MAX);
    if (number < 0)
        return NULL;
    if (!self->partition)
        return shmq_raise_closed("reader");
    return PyLong_FromUnsignedLongLong(shmq_reader_settled(&self->reader, (uint64_t)number));
}

static PyObject *reader_find_time(ReaderObject *self, PyObject *args) {
    long long timestamp_ms;
    if (!PyArg_ParseTuple(args, "L:find_time", &timestamp_ms))
        return NULL;
    if (!self->partition)
        return shmq_raise_closed("reader");
    struct timespec pause = {.tv_nsec = 1000000};
    struct shmq_view view;
    int result;
    do {
        Py_BEGIN_ALLOW_THREADS;
        result = shmq_reader_find_time(&self->reader, timestamp_ms, &view);
        if (result == SHMQ_PENDING)
            result = shmq_reader_heal(&self->reader) == SHMQ_OK ? SHMQ_LOST : SHMQ_PENDING;
        if (result == SHMQ_PENDING)
            nanosleep(&pause, NULL); /* a living process is in the middle of an append */
        Py_END_ALLOW_THREADS;
        if (PyErr_CheckSignals() < 0)
            return NULL;
    } while (result == SHMQ_PENDING || result == SHMQ_LOST);
    if (result < 0)
        return shmq_py_reader_raise(self, result);
    if (result == SHMQ_NOTHING)
        Py_RETURN_NONE;
    return Py_BuildValue("(KL)", (unsigned long long)view.offset, (long long)view.timestamp_ms);
}

/* ---- Views into records ---- */

struct copy_all {
    const struct shmq_copy_job *jobs;
    size_t count;
};

static int copy_all(void *argument) {
    const struct copy_all *call = argument;
    for (size_t job = 0; job < call->count; job++)
        memcpy(call->jobs[job].to, call->jobs[job].from, call->jobs[job].bytes);
    return SHMQ_OK;
}

PyObject *shmq_py_bytes(const uint8_t *from, int64_t bytes, struct shmq_copy_job *jobs, size_t *count) {
    PyObject *object = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bytes);
    if (object && bytes)
        jobs[(*count)++] = (struct shmq_copy_job){PyBytes_AS_STRING(object), from, (size_t)bytes};
    return object;
}

static PyObject *make_value(ReaderObject *self, const struct shmq_view *view, struct shmq_copy_job *jobs, size_t *count) {
    PyObject *value = NULL;
    if (__builtin_expect(!self->values_in_place, 1))
        return shmq_py_bytes(view->value, view->value_bytes, jobs, count);
    if (view->value_bytes > 0)
        value = shmq_view_in_place(self, view->value, (uint32_t)view->value_bytes);
    if (value || PyErr_Occurred() || !(value = shmq_py_bytes(view->value, view->value_bytes, jobs, count)))
        return value;
    PyObject *copy = PyMemoryView_FromObject(value);
    Py_DECREF(value);
    return copy;
}

/* A record with its bytes still to be copied. Its headers are raw bytes until then. */
static RecordObject *start_record(ReaderObject *self, const struct shmq_view *view, struct shmq_copy_job *jobs,
                                  size_t *count) {
    RecordObject *record = shmq_record_new(self->partition->topic, self->partition->number, view);
    if (!record)
        return NULL;
    if ((view->value_bytes >= 0 && !(record->value = make_value(self, view, jobs, count))) ||
        (view->key_bytes >= 0 && !(record->key = shmq_py_bytes(view->key, view->key_bytes, jobs, count))) ||
        (view->headers_bytes > 0 && !(record->headers = shmq_py_bytes(view->headers, view->headers_bytes, jobs, count))))
        Py_CLEAR(record);
    return record;
}

static int decode_headers(RecordObject *record) {
    PyObject *raw = record->headers;
    if (!raw)
        return 0;
    record->headers_bytes = shmq_headers_size(PyBytes_AS_STRING(raw), (uint32_t)PyBytes_GET_SIZE(raw));
    record->headers = shmq_headers_decode((const uint8_t *)PyBytes_AS_STRING(raw), (uint32_t)PyBytes_GET_SIZE(raw));
    Py_DECREF(raw);
    return record->headers ? 0 : -1;
}

int shmq_py_copy_out(ReaderObject *self, const struct shmq_copy_job *jobs, size_t count) {
    struct copy_all call = {jobs, count};
    const char *where = self->partition->partition->directory;
    uint64_t bytes = 0;
    int result;
    for (size_t job = 0; job < count; job++)
        bytes += jobs[job].bytes;
    if (bytes <= SHMQ_LONG_COPY_BYTES)
        return shmq_guarded(copy_all, &call, &self->reader.fail, where);
    Py_BEGIN_ALLOW_THREADS;
    result = shmq_guarded(copy_all, &call, &self->reader.fail, where);
    Py_END_ALLOW_THREADS;
    return result;
}

static int fetch(ReaderObject *self, struct shmq_view *views, struct shmq_lease *leases, uint32_t most, uint64_t most_bytes,
                 uint32_t *count) {
    most = most < SHMQ_CHUNK ? most : SHMQ_CHUNK;
    most_bytes = most_bytes < SHMQ_CHUNK_BYTES ? most_bytes : SHMQ_CHUNK_BYTES;
    return self->share ? shmq_share_fetch(self->share, views, leases, most, most_bytes, count)
                       : shmq_reader_fetch(&self->reader, views, most, most_bytes, count);
}

/* Nothing was delivered: what was taken is given back, or the reader stands before it. Keeps what `fail` says. */
static void put_back(ReaderObject *self, const struct shmq_view *views, const struct shmq_lease *leases, uint32_t count) {
    for (uint32_t index = 0; self->share && index < count; index++)
        if (leases[index].word)
            shmq_share_acknowledge(self->share, leases[index].offset, shmq_taken_deliveries(leases[index].word),
                                   SHMQ_RELEASE, 0);
    if (!self->share)
        shmq_reader_seek(&self->reader, views[0].offset);
}

Py_ssize_t shmq_py_read(ReaderObject *self, RecordObject **records, uint32_t most, uint64_t most_bytes, int *result) {
    struct shmq_view views[SHMQ_CHUNK];
    struct shmq_lease leases[SHMQ_CHUNK];
    struct shmq_copy_job jobs[3 * SHMQ_CHUNK];
    size_t job_count = 0;
    uint32_t count, made = 0;
    *result = fetch(self, views, leases, most, most_bytes, &count);
    if (*result != SHMQ_OK)
        return 0;
    for (; made < count && (records[made] = start_record(self, &views[made], jobs, &job_count)); made++)
        if (self->share)
            records[made]->delivery_count = leases[made].word ? (int)shmq_taken_deliveries(leases[made].word) : 1;
    if (made == count)
        *result = shmq_py_copy_out(self, jobs, job_count);
    bool good = made == count && *result == SHMQ_OK;
    for (uint32_t index = 0; good && index < made; index++)
        good = decode_headers(records[index]) == 0;
    if (good)
        return count;
    for (uint32_t index = 0; index < made; index++)
        Py_DECREF(records[index]);
    if (!PyErr_Occurred())
        shmq_py_reader_raise(self, *result);
    put_back(self, views, leases, count); /* the error that is raised is the first one */
    return -1;
}

static PyObject *reader_get_position(ReaderObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLongLong(self->reader.next_offset);
}

static PyObject *reader_get_healed(ReaderObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLongLong(self->reader.healed);
}

static PyMethodDef reader_methods[] = {
    {"seek", (PyCFunction)reader_seek, METH_O, "Stand at an offset; OffsetOutOfRangeError if the log does not hold it."},
    {"bounds", (PyCFunction)reader_bounds, METH_NOARGS, "(first offset, offset after the last)"},
    {"register", (PyCFunction)reader_register, METH_NOARGS, "Hold producers back (retention 'consumed')."},
    {"hold", (PyCFunction)reader_hold, METH_O,
     "hold(group number) -> bool: read for a group and be who moves its hold; False if it has none here (see Partition)."},
    {"move_hold", (PyCFunction)reader_move_hold, METH_O,
     "move_hold(offset) -> bool: the group has committed this. Also over aborted ranges behind it. False: the hold was "
     "released or set anew since hold(); nothing was moved."},
    {"settled", (PyCFunction)reader_settled, METH_O,
     "settled(offset) -> int: the offset to which there is no record from this one on, up to the reader's position."},
    {"find_time", (PyCFunction)reader_find_time, METH_VARARGS,
     "find_time(timestamp_ms) -> (offset, timestamp_ms) of the first record from here on that is not older, or None."},
    {"share", (PyCFunction)shmq_py_share, METH_VARARGS,
     "share(window, group number): take records through the window from now on; the group's hold, if it has one, goes with it."},
    {"settle", (PyCFunction)(void (*)(void))shmq_py_settle, METH_FASTCALL,
     "settle(offset, delivery_count, kind, delay_ms=0) -> bool: kind 1 accept, 2 release, 3 reject, 4 renew. False: the record "
     "is not ours any more; nothing was changed."},
    {"counts", (PyCFunction)shmq_py_counts, METH_NOARGS,
     "{'start', 'ready', 'in_flight', 'delayed', 'accepted', 'rejected', 'skipped'} of the window, in records."},
    {"standing", (PyCFunction)shmq_py_standing, METH_O,
     "standing(offset) -> ('ready', 'in_flight', 'delayed' or 'done', deliveries so far: 0 of 'done')"},
    {"in_flight", (PyCFunction)shmq_py_in_flight, METH_NOARGS,
     "[(offset, delivery_count, process slot, alive, ms until it may be taken away or None)] of records that are held."},
    {"close", (PyCFunction)reader_close, METH_NOARGS, "Give up registration and mappings."},
    {NULL, NULL, 0, NULL}};

static PyMemberDef reader_members[] = {
    {"unset", Py_T_BOOL_COMPAT, offsetof(ReaderObject, unset), 0, "It has no place yet: poll() asks _on_out_of_range()."},
    {"paused", Py_T_BOOL_COMPAT, offsetof(ReaderObject, paused), 0, "poll() passes it by."},
    {"item_bytes", T_ULONGLONG, offsetof(ReaderObject, item_bytes), 0, "Of the items that _poll_items() reads; 0: any."},
    {"key", Py_T_OBJECT_COMPAT, offsetof(ReaderObject, key), READONLY, "The TopicPartition."},
    {NULL, 0, 0, 0, NULL}};

static PyGetSetDef reader_getset[] = {
    {"position", (getter)reader_get_position, NULL, "Offset of the record to read next.", NULL},
    {"healed", (getter)reader_get_healed, NULL, "Claims of dead or stopped producers that this reader gave up.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

PyTypeObject ReaderType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.Reader",
    .tp_basicsize = sizeof(ReaderObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Reader(partition, key, check_crcs=True): a place in one partition.",
    .tp_new = reader_new,
    .tp_dealloc = (destructor)reader_dealloc,
    .tp_methods = reader_methods,
    .tp_members = reader_members,
    .tp_getset = reader_getset,
};
