/* Reading from the log for poll() and iteration: rounds over the partitions, deserializers, and waiting in between. */
#include "files.h"
#include "py_consumer.h"

#define FIRST_SLEEP_NS UINT64_C(50000000)

struct poll {
    PyObject *result; /* {TopicPartition: [ConsumerRecord]} */
    long long left;   /* records that may still be taken */
    long long bytes;  /* taken */
    bool blocked;     /* a claim blocks a reader */
    bool moved;       /* a reader was reset by Python: look again */
    bool failed;      /* a partition failed after others gave records: these are delivered first */
    bool full;        /* a partition gave all that one poll may take of it */
    bool alone;       /* a record that came again: nothing goes with it */
};

static int deserialize(PyObject *function, RecordObject *record, PyObject **place) {
    if (!function || !*place)
        return 0;
    PyObject *headers = record->headers ? Py_NewRef(record->headers) : PyList_New(0);
    PyObject *value = headers ? PyObject_CallFunctionObjArgs(function, record->topic, headers, *place, NULL) : NULL;
    Py_XDECREF(headers);
    if (!value)
        return -1;
    if (!PyObject_GC_IsTracked((PyObject *)record))
        PyObject_GC_Track(record);
    Py_SETREF(*place, value);
    return 0;
}

void shmq_poll_stand_before(ConsumerObject *self, ReaderObject *reader, int64_t offset) {
    if (shmq_reader_seek(&reader->reader, (uint64_t)offset) == SHMQ_OK)
        return;
    PyObject *type, *value, *traceback; /* retention has just passed it by: the next poll finds out */
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *done = PyObject_CallMethod((PyObject *)self, "_want", "OL", reader, (long long)offset);
    if (!done)
        PyErr_WriteUnraisable((PyObject *)reader);
    Py_XDECREF(done);
    PyErr_Restore(type, value, traceback);
}

static int bytes_of(const RecordObject *record) {
    return (record->key_bytes > 0 ? record->key_bytes : 0) + (record->value_bytes > 0 ? record->value_bytes : 0);
}

/* A record that could not be delivered comes again: at its place, or to whoever asks next. */
static void take_back(ConsumerObject *self, ReaderObject *reader, int64_t offset, int delivery_count, bool first) {
    if (reader->share)
        shmq_share_acknowledge(reader->share, (uint64_t)offset, (uint32_t)delivery_count, SHMQ_RELEASE, 0);
    else if (first)
        shmq_poll_stand_before(self, reader, offset);
}

/* Deserialize and hand over `count` records. Where one fails, the reader stands before it, and what came before is
 * delivered first: the error comes again with the next poll. */
static int hand_over(ConsumerObject *self, struct poll *poll, ReaderObject *reader, RecordObject **records,
                     Py_ssize_t count, PyObject *list) {
    int result = 0;
    for (Py_ssize_t index = 0; index < count; index++) {
        RecordObject *record = records[index];
        int64_t offset = record->offset;
        int bytes = bytes_of(record), delivery_count = record->delivery_count;
        if (result != 0)
            take_back(self, reader, offset, delivery_count, false);
        else if (deserialize(self->key_deserializer, record, &record->key) < 0 ||
                 deserialize(self->value_deserializer, record, &record->value) < 0 ||
                 PyList_Append(list, (PyObject *)record) < 0) {
            result = -1;
            take_back(self, reader, offset, delivery_count, true);
        } else {
            poll->left--;
            poll->bytes += bytes;
        }
        Py_DECREF((PyObject *)record);
    }
    return result;
}

int shmq_poll_explain(ConsumerObject *self, ReaderObject *reader, int result, bool *blocked, bool *moved) {
    if (result == SHMQ_PENDING) {
        result = shmq_reader_heal(&reader->reader);
        *blocked = *blocked || result == SHMQ_PENDING;
        *moved = *moved || result == SHMQ_OK;
    }
    if (result == SHMQ_E_OUT_OF_RANGE) {
        /* Python moves the reader as auto_offset_reset says, or raises. */
        PyObject *placed = PyObject_CallMethod((PyObject *)self, "_on_out_of_range", "OKKK", reader,
                                               (unsigned long long)reader->reader.fail.wanted,
                                               (unsigned long long)reader->reader.fail.limit,
                                               (unsigned long long)reader->reader.fail.limit2);
        Py_XDECREF(placed);
        *moved = true;
        return placed ? 0 : -1;
    }
    if (result == SHMQ_E_DELETED) {
        PyObject *passed = PyObject_CallMethod((PyObject *)self, "_on_deleted", "O", reader);
        Py_XDECREF(passed);
        return passed ? 0 : -1;
    }
    return result < 0 ? (shmq_py_reader_raise(reader, result), -1) : 0;
}

static int explain(ConsumerObject *self, struct poll *poll, ReaderObject *reader, int result) {
    return shmq_poll_explain(self, reader, result, &poll->blocked, &poll->moved);
}

/* Append to `list` what the reader has for this poll. */
static int take_into(ConsumerObject *self, struct poll *poll, ReaderObject *reader, PyObject *list) {
    RecordObject *records[SHMQ_CHUNK];
    long long most_here = poll->bytes + self->max_partition_fetch_bytes - reader->poll_bytes;
    long long most_bytes = most_here < self->fetch_max_bytes ? most_here : self->fetch_max_bytes;
    if (!reader->partition)
        return shmq_raise_closed("reader"), -1;
    if (reader->unset)
        return explain(self, poll, reader, SHMQ_E_OUT_OF_RANGE);
    reader->values_in_place = self->values_in_place;
    while (poll->left > 0 && poll->bytes < most_bytes) {
        int result;
        if (reader->share) {
            reader->share->lock_ms = self->lock_ms;
            reader->share->alone = self->alone_again;
            reader->share->only_fresh = self->alone_again && (PyList_GET_SIZE(list) || PyDict_GET_SIZE(poll->result));
        }
        uint32_t most = poll->left < SHMQ_CHUNK ? (uint32_t)poll->left : SHMQ_CHUNK;
        Py_ssize_t count = shmq_py_read(reader, records, most, (uint64_t)(most_bytes - poll->bytes), &result);
        if (count < 0)
            return -1;
        if (count == 0 && PyList_GET_SIZE(list) == 0)
            return explain(self, poll, reader, result);
        if (count == 0) {
            poll->failed = poll->failed || result < 0; /* the next poll explains it */
            return 0;
        }
        poll->alone = self->alone_again && records[0]->delivery_count > 1;
        if (hand_over(self, poll, reader, records, count, list) < 0)
            return -1;
        if (poll->alone)
            return 0;
    }
    poll->full = poll->full || poll->bytes >= most_bytes;
    return 0;
}

/* The list of this partition in the result, which a wait for fetch_min_bytes may have begun. New reference. */
static PyObject *list_for(struct poll *poll, ReaderObject *reader) {
    PyObject *list = PyDict_GetItemWithError(poll->result, reader->key);
    return list ? Py_NewRef(list) : PyErr_Occurred() ? NULL : PyList_New(0);
}

static int take_from(ConsumerObject *self, struct poll *poll, ReaderObject *reader) {
    PyObject *list = list_for(poll, reader);
    if (!list)
        return -1;
    long long before = poll->bytes;
    if (reader->poll != self->polls)
        reader->poll_bytes = 0;
    reader->poll = self->polls;
    int result = take_into(self, poll, reader, list);
    reader->poll_bytes += poll->bytes - before;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    int stored = PyList_GET_SIZE(list) ? PyDict_SetItem(poll->result, reader->key, list) : 0;
    Py_DECREF(list);
    if (stored < 0) {
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        return -1;
    }
    PyErr_Restore(type, value, traceback);
    return result;
}

int shmq_poll_round(ConsumerObject *self, PyObject *result, void *poll, shmq_poll_step *step) {
    Py_ssize_t count = PyList_GET_SIZE(self->readers);
    if (count == 0)
        return 0;
    self->next = (self->next + 1) % count;
    for (Py_ssize_t turn = 0; turn < count; turn++) {
        if (PyList_GET_SIZE(self->readers) != count)
            return 0; /* a callback changed the list: the next round sees it */
        ReaderObject *reader = (ReaderObject *)PyList_GET_ITEM(self->readers, (self->next + turn) % count);
        if (reader->paused)
            continue;
        Py_INCREF((PyObject *)reader);
        int taken = step(self, poll, reader);
        Py_DECREF((PyObject *)reader);
        if (taken > 0)
            return 0;
        if (taken == 0)
            continue;
        if (PyDict_GET_SIZE(result) == 0 || !PyErr_ExceptionMatches(PyExc_Exception))
            return -1;
        PyErr_Clear();
        return 1;
    }
    return 0;
}

/* For shmq_poll_round(). */
static int take_turn(ConsumerObject *self, void *argument, ReaderObject *reader) {
    struct poll *poll = argument;
    if (poll->left <= 0 || poll->bytes >= self->fetch_max_bytes || poll->alone)
        return 1;
    return take_from(self, poll, reader);
}

static int take(ConsumerObject *self, struct poll *poll) {
    poll->blocked = poll->moved = false;
    int result = shmq_poll_round(self, poll->result, poll, take_turn);
    poll->failed = poll->failed || result > 0;
    return result < 0 ? -1 : 0;
}

int shmq_wakeup_asked(ConsumerObject *self) {
    if (!__atomic_load_n(&self->woken, __ATOMIC_SEQ_CST) || !__atomic_exchange_n(&self->woken, 0, __ATOMIC_SEQ_CST))
        return 0;
    shmq_raise_code("wakeup", "{}");
    return 1;
}

int shmq_attend(ConsumerObject *self) {
    if (__builtin_expect(self->attention_at_ns != 0, 0) && shmq_now_ns() >= self->attention_at_ns)
        __atomic_store_n(&self->nudged, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&self->nudged, __ATOMIC_SEQ_CST) || !__atomic_exchange_n(&self->nudged, 0, __ATOMIC_SEQ_CST))
        return 0;
    PyObject *done = PyObject_CallMethod((PyObject *)self, "_on_attention", NULL);
    if (!done)
        __atomic_store_n(&self->nudged, 1, __ATOMIC_SEQ_CST);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static int poll_until(ConsumerObject *self, struct poll *poll, uint64_t began_ns, uint64_t deadline_ns) {
    uint64_t bound_ns = FIRST_SLEEP_NS, patience_ns = 0;
    for (;;) {
        if (shmq_wakeup_asked(self))
            return -1;
        if (PyDict_GET_SIZE(poll->result) && __atomic_load_n(&self->nudged, __ATOMIC_SEQ_CST))
            return 0; /* what was read is delivered before a partition is given away */
        if (shmq_attend(self) < 0 || take(self, poll) < 0)
            return -1;
        uint64_t until = deadline_ns;
        if (PyDict_GET_SIZE(poll->result)) {
            /* The default of 1 means any record, also an empty one. */
            if (self->fetch_min_bytes <= 1 || poll->bytes >= self->fetch_min_bytes || poll->left <= 0 ||
                poll->bytes >= self->fetch_max_bytes || poll->full || poll->alone || poll->failed)
                return 0;
            /* fetch_min_bytes asks to wait for more, but no longer than fetch_max_wait_ms. */
            if (!patience_ns)
                patience_ns = shmq_now_ns() + (uint64_t)self->fetch_max_wait_ms * 1000000;
            until = patience_ns < deadline_ns ? patience_ns : deadline_ns;
        }
        if (poll->moved)
            continue; /* there may be records where the reader stands now: no time is needed for those */
        if (until <= began_ns || shmq_now_ns() >= until)
            return 0;
        if (shmq_consumer_wait(self, poll->blocked, until, &bound_ns) < 0)
            return -1;
    }
}

PyObject *shmq_poll_log(ConsumerObject *self, uint64_t began_ns, uint64_t deadline_ns, long long most) {
    struct poll poll = {.result = PyDict_New(), .left = most};
    if (!poll.result)
        return NULL;
    int result = poll_until(self, &poll, began_ns, deadline_ns);
    self->received += (unsigned long long)(most - poll.left);
    self->received_bytes += (unsigned long long)poll.bytes;
    if (result == 0)
        return poll.result;
    if (PyDict_GET_SIZE(poll.result))
        shmq_taken_add(self, poll.result, false);
    Py_DECREF(poll.result);
    return NULL;
}
