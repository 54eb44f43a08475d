/* _poll_items(): as poll(), but each partition gives items, many at a time, where they lie. */
#include "files.h"
#include "py_consumer.h"

#define FIRST_SLEEP_NS UINT64_C(50000000)

struct poll {
    PyObject *result; /* {TopicPartition: Items} */
    struct shmq_run run;
    uint32_t left; /* items that may still be taken */
    bool in_place, blocked, moved;
};

void shmq_raise_not_items(const ReaderObject *reader, uint64_t offset, uint64_t record_bytes) {
    shmq_raise_code("not_items", "{s:O,s:i,s:K,s:K,s:K}", "topic", reader->partition->topic, "partition",
                    reader->partition->number, "offset", (unsigned long long)offset, "item_bytes", reader->item_bytes,
                    "record_bytes", (unsigned long long)record_bytes);
}

/* New reference, or NULL with an exception set, or without one: nothing was read, and that is explained. */
static PyObject *fetch(ConsumerObject *self, struct poll *poll, ReaderObject *reader) {
    struct shmq_run *run = &poll->run;
    run->item_bytes = reader->item_bytes;
    run->most = poll->left;
    int result = reader->unset ? SHMQ_E_OUT_OF_RANGE : shmq_reader_fetch_run(&reader->reader, run);
    if (result == SHMQ_NO_FIT)
        return shmq_raise_not_items(reader, reader->reader.next_offset, reader->reader.fail.limit), NULL;
    if (result != SHMQ_OK)
        return shmq_poll_explain(self, reader, result, &poll->blocked, &poll->moved), NULL;
    PyObject *items = shmq_items_new(reader, run, poll->in_place, &result);
    if (items)
        return items;
    int64_t offset = (int64_t)run->piece[0].offset;
    if (!PyErr_Occurred())
        shmq_py_reader_raise(reader, result);
    shmq_poll_stand_before(self, reader, offset);
    return NULL;
}

/* For shmq_poll_round(). After an error the reader stands where it stood. */
static int take_from(ConsumerObject *self, void *argument, ReaderObject *reader) {
    struct poll *poll = argument;
    if (!poll->left)
        return 1;
    if (!reader->partition)
        return shmq_raise_closed("reader"), -1;
    if (reader->share)
        return PyErr_SetString(PyExc_TypeError, "items are not read through a window"), -1;
    PyObject *items = self->taken ? shmq_taken_items(self, reader, poll->left) : NULL;
    if (!items && !PyErr_Occurred())
        items = fetch(self, poll, reader);
    if (!items)
        return PyErr_Occurred() ? -1 : 0;
    uint32_t count = shmq_items_count(items);
    int64_t offset = (int64_t)shmq_items_base(items);
    int stored = PyDict_SetItem(poll->result, reader->key, items);
    if (stored < 0) {
        shmq_poll_stand_before(self, reader, offset);
    } else {
        poll->left -= count;
        self->received += count;
        self->received_bytes += shmq_items_bytes_of(items);
    }
    Py_DECREF(items);
    return stored;
}

static int take(ConsumerObject *self, struct poll *poll) {
    poll->blocked = poll->moved = false;
    return shmq_poll_round(self, poll->result, poll, take_from) < 0 ? -1 : 0;
}

/* Nothing is delivered: who gave items stands before them again. Keeps the exception that is set. */
static void put_back(ConsumerObject *self, const struct poll *poll) {
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(self->readers); index++) {
        ReaderObject *reader = (ReaderObject *)PyList_GET_ITEM(self->readers, index);
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyObject *items = PyDict_GetItemWithError(poll->result, reader->key);
        PyErr_Restore(type, value, traceback);
        if (items && reader->partition)
            shmq_poll_stand_before(self, reader, (int64_t)shmq_items_base(items));
    }
}

static int poll_until(ConsumerObject *self, struct poll *poll, uint64_t began_ns, uint64_t deadline_ns) {
    uint64_t bound_ns = FIRST_SLEEP_NS;
    for (;;) {
        if (shmq_wakeup_asked(self) || shmq_attend(self) < 0 || take(self, poll) < 0)
            return -1;
        if (PyDict_GET_SIZE(poll->result))
            return 0;
        if (poll->moved)
            continue;
        if (deadline_ns <= began_ns || shmq_now_ns() >= deadline_ns)
            return 0;
        if (shmq_consumer_wait(self, poll->blocked, deadline_ns, &bound_ns) < 0)
            return -1;
    }
}

PyObject *shmq_py_poll_items(ConsumerObject *self, double timeout_ms, uint32_t most, bool in_place) {
    struct poll poll; /* member by member: `run` is large */
    poll.result = PyDict_New();
    poll.left = most;
    poll.in_place = in_place;
    self->polls++;
    if (!poll.result)
        return NULL;
    uint64_t began_ns = timeout_ms > 0 ? shmq_now_ns() : 0;
    uint64_t deadline_ns = shmq_consumer_deadline(began_ns, timeout_ms);
    if (poll_until(self, &poll, began_ns, deadline_ns) == 0)
        return poll.result;
    put_back(self, &poll);
    Py_DECREF(poll.result);
    return NULL;
}
