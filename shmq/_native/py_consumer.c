/* ConsumerCore: the part of Consumer that runs for every poll. */
#define _GNU_SOURCE /* sched_getaffinity */
#include <math.h>
#include <sched.h>

#include "files.h"
#include "py_reader.h"

/* Sleeps are bounded, since a producer may die between its commit and its ring: from the first bound, doubling. */
#define FIRST_SLEEP_NS UINT64_C(50000000)
#define LONGEST_SLEEP_NS UINT64_C(250000000)
/* While a claim blocks a reader: how soon to ask again whether its owner is dead. */
#define BLOCKED_SLEEP_NS UINT64_C(1000000)
/* A ring comes this soon after the commit that it is for, unless the producer died in between. */
#define RING_DELAY_NS UINT64_C(2000000)

typedef struct {
    PyObject_HEAD
    PyObject *readers; /* list of Reader; NULL when closed */
    PyObject *key_deserializer, *value_deserializer; /* f(topic, headers, bytes), or NULL */
    PyObject *buffer; /* list that iteration takes records from, or NULL */
    Py_ssize_t buffer_pos, next;
    unsigned long owner; /* thread inside, 0 if none */
    uint64_t fork_count, pid;
    long long max_poll_records, fetch_min_bytes, fetch_max_wait_ms, fetch_max_bytes, max_partition_fetch_bytes, spin_us;
    unsigned long long received, received_bytes, slept, rescued;
    int woken; /* wakeup() was called */
} ConsumerObject;

static int consumer_init(ConsumerObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"max_poll_records",          "fetch_min_bytes", "fetch_max_wait_ms",  "fetch_max_bytes",
                            "max_partition_fetch_bytes", "spin_us",         "key_deserializer", "value_deserializer", NULL};
    PyObject *key = Py_None, *value = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$LLLLLLOO:ConsumerCore", names, &self->max_poll_records,
                                     &self->fetch_min_bytes, &self->fetch_max_wait_ms, &self->fetch_max_bytes,
                                     &self->max_partition_fetch_bytes, &self->spin_us, &key, &value))
        return -1;
    self->key_deserializer = key == Py_None ? NULL : Py_NewRef(key);
    self->value_deserializer = value == Py_None ? NULL : Py_NewRef(value);
    self->fork_count = shmq_fork_count();
    self->pid = (uint64_t)getpid();
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) < 2)
        self->spin_us = 0; /* spinning would keep the producer off the only core */
    self->readers = PyList_New(0);
    return self->readers ? 0 : -1;
}

static int consumer_traverse(ConsumerObject *self, visitproc visit, void *arg) {
    Py_VISIT(self->readers);
    Py_VISIT(self->key_deserializer);
    Py_VISIT(self->value_deserializer);
    Py_VISIT(self->buffer);
    return 0;
}

static int consumer_clear(ConsumerObject *self) {
    Py_CLEAR(self->readers);
    Py_CLEAR(self->key_deserializer);
    Py_CLEAR(self->value_deserializer);
    Py_CLEAR(self->buffer);
    return 0;
}

static void consumer_dealloc(ConsumerObject *self) {
    PyObject_GC_UnTrack(self);
    consumer_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* ---- One thread at a time ---- */

static int acquire(ConsumerObject *self) {
    unsigned long thread = PyThread_get_thread_ident();
    if (!self->readers)
        return shmq_raise_closed("consumer"), -1;
    if (self->fork_count != shmq_fork_count())
        return shmq_raise_code("forked", "{s:s,s:K,s:K}", "what", "consumer", "pid_made", (unsigned long long)self->pid,
                               "pid_now", (unsigned long long)getpid()),
               -1;
    if (self->owner)
        return shmq_raise_code("concurrent", "{s:s,s:k,s:k}", "what", "consumer", "thread_made", self->owner, "thread_now",
                               thread),
               -1;
    self->owner = thread;
    return 0;
}

static PyObject *consumer_acquire(ConsumerObject *self, PyObject *Py_UNUSED(ignored)) {
    if (acquire(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *consumer_release(ConsumerObject *self, PyObject *Py_UNUSED(ignored)) {
    self->owner = 0;
    Py_RETURN_NONE;
}

static PyObject *consumer_is_inherited(ConsumerObject *self, PyObject *Py_UNUSED(ignored)) {
    return PyBool_FromLong(self->fork_count != shmq_fork_count());
}

/* ---- Taking records ---- */

struct poll {
    PyObject *result;  /* {TopicPartition: [ConsumerRecord]} */
    PyObject *starts;  /* {Reader: position before this poll}, to give everything back if it cannot be delivered */
    long long left;    /* records that may still be taken */
    long long bytes;   /* taken */
    bool blocked;      /* a claim blocks a reader */
    bool moved;        /* a reader was reset by Python: look again */
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

/* Give back what this poll took: the positions are again those of its start. The exception that is set stays. */
static void give_back(struct poll *poll) {
    PyObject *type, *value, *traceback, *reader, *position;
    Py_ssize_t index = 0;
    PyErr_Fetch(&type, &value, &traceback);
    while (PyDict_Next(poll->starts, &index, &reader, &position)) {
        PyObject *done = PyObject_CallMethod(reader, "seek", "O", position);
        if (!done)
            PyErr_WriteUnraisable(reader);
        Py_XDECREF(done);
    }
    PyErr_Restore(type, value, traceback);
}

/* Deserialize and hand over `count` records. Where one fails, the reader stands before it, and what came before is
 * delivered first: the error comes again with the next poll. */
static int hand_over(ConsumerObject *self, struct poll *poll, ReaderObject *reader, RecordObject **records,
                     Py_ssize_t count, PyObject *list) {
    int result = 0;
    for (Py_ssize_t index = 0; index < count; index++) {
        RecordObject *record = records[index];
        if (result == 0 && (self->key_deserializer || self->value_deserializer)) {
            int64_t offset = record->offset;
            if (deserialize(self->key_deserializer, record, &record->key) < 0 ||
                deserialize(self->value_deserializer, record, &record->value) < 0) {
                result = -1;
                shmq_reader_seek(&reader->reader, (uint64_t)offset);
            }
        }
        if (result == 0) {
            result = PyList_Append(list, (PyObject *)record);
            poll->left--;
            poll->bytes += (record->key_bytes > 0 ? record->key_bytes : 0) + (record->value_bytes > 0 ? record->value_bytes : 0);
        }
        Py_DECREF((PyObject *)record);
    }
    return result;
}

static PyObject *list_for(struct poll *poll, ReaderObject *reader) {
    PyObject *list = PyDict_GetItemWithError(poll->result, reader->key);
    if (list || PyErr_Occurred())
        return list;
    PyObject *position = PyLong_FromUnsignedLongLong(reader->reader.next_offset);
    list = position ? PyList_New(0) : NULL;
    if (list && (PyDict_SetItem(poll->result, reader->key, list) < 0 ||
                 PyDict_SetItem(poll->starts, (PyObject *)reader, position) < 0))
        Py_CLEAR(list);
    Py_XDECREF(position);
    Py_XDECREF(list); /* the dict keeps it */
    return list;
}

/* Nothing was read: find out why. 0: go on with the next partition; -1: an exception is set. */
static int explain(ConsumerObject *self, struct poll *poll, ReaderObject *reader, int result) {
    if (result == SHMQ_PENDING) {
        result = shmq_reader_heal(&reader->reader);
        poll->blocked = poll->blocked || result == SHMQ_PENDING;
        poll->moved = poll->moved || result == SHMQ_OK;
    }
    if (result == SHMQ_E_OUT_OF_RANGE) {
        /* Python moves the reader as auto_offset_reset says, or raises. */
        PyObject *moved = PyObject_CallMethod((PyObject *)self, "_on_out_of_range", "OKKK", reader,
                                              (unsigned long long)reader->reader.fail.wanted,
                                              (unsigned long long)reader->reader.fail.limit,
                                              (unsigned long long)reader->reader.fail.limit2);
        Py_XDECREF(moved);
        poll->moved = true;
        return moved ? 0 : -1;
    }
    return result < 0 ? (shmq_py_reader_raise(reader, result), -1) : 0;
}

static int take_from(ConsumerObject *self, struct poll *poll, ReaderObject *reader) {
    RecordObject *records[SHMQ_CHUNK];
    long long bytes_left = self->max_partition_fetch_bytes, before = poll->bytes;
    PyObject *list = NULL;
    if (reader->unset)
        return explain(self, poll, reader, SHMQ_E_OUT_OF_RANGE);
    while (poll->left > 0 && bytes_left > 0 && poll->bytes < self->fetch_max_bytes) {
        uint64_t position = reader->reader.next_offset;
        int result;
        uint32_t most = poll->left < SHMQ_CHUNK ? (uint32_t)poll->left : SHMQ_CHUNK;
        Py_ssize_t count = shmq_py_read(reader, records, most, (uint64_t)bytes_left, &result);
        if (count < 0)
            return -1;
        if (count == 0)
            return list ? 0 : explain(self, poll, reader, result);
        if (!list) {
            uint64_t now = reader->reader.next_offset;
            reader->reader.next_offset = position; /* for the start that list_for() notes */
            list = list_for(poll, reader);
            reader->reader.next_offset = now;
            if (!list) {
                while (count--)
                    Py_DECREF((PyObject *)records[count]);
                return -1;
            }
        }
        if (hand_over(self, poll, reader, records, count, list) < 0) {
            if (PyList_GET_SIZE(list) == 0 && PyDict_DelItem(poll->result, reader->key) < 0)
                return -1;
            return -1;
        }
        bytes_left = self->max_partition_fetch_bytes - (poll->bytes - before);
    }
    return 0;
}

/* One round over the partitions, beginning with another one each time. */
static int take(ConsumerObject *self, struct poll *poll) {
    Py_ssize_t count = PyList_GET_SIZE(self->readers);
    poll->blocked = poll->moved = false;
    if (count == 0)
        return 0;
    self->next = (self->next + 1) % count;
    for (Py_ssize_t turn = 0; turn < count && poll->left > 0 && poll->bytes < self->fetch_max_bytes; turn++) {
        ReaderObject *reader = (ReaderObject *)PyList_GET_ITEM(self->readers, (self->next + turn) % count);
        if (reader->paused)
            continue;
        Py_INCREF((PyObject *)reader);
        int result = take_from(self, poll, reader);
        Py_DECREF((PyObject *)reader);
        if (result < 0) {
            if (!PyErr_ExceptionMatches(PyExc_Exception)) {
                give_back(poll); /* Ctrl-C must not cost records */
                return -1;
            }
            if (PyDict_GET_SIZE(poll->result) == 0)
                return -1;
            PyErr_Clear(); /* deliver what is good; the error comes again with the next poll */
            return 0;
        }
        count = PyList_GET_SIZE(self->readers);
    }
    return 0;
}

/* ---- Waiting ---- */

static bool has_news(ConsumerObject *self) {
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(self->readers); index++) {
        ReaderObject *reader = (ReaderObject *)PyList_GET_ITEM(self->readers, index);
        if (!reader->paused && shmq_reader_has_news(&reader->reader))
            return true;
    }
    return false;
}

static bool spin(ConsumerObject *self, uint64_t until_ns) {
    bool news;
    Py_BEGIN_ALLOW_THREADS;
    do {
        for (int turn = 0; turn < 16 && !(news = has_news(self)); turn++)
            shmq_cpu_relax();
    } while (!news && !__atomic_load_n(&self->woken, __ATOMIC_RELAXED) && shmq_now_ns() < until_ns);
    Py_END_ALLOW_THREADS;
    return news;
}

/* Set this process's bit in every partition. -1 with an exception set. */
static int announce(ConsumerObject *self) {
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(self->readers); index++) {
        ReaderObject *reader = (ReaderObject *)PyList_GET_ITEM(self->readers, index);
        if (reader->paused)
            continue;
        int result = shmq_partition_await(reader->partition->partition, SHMQ_WAIT_FOR_RECORDS, &reader->reader.fail);
        if (result < 0)
            return shmq_py_reader_raise(reader, result), -1;
    }
    return 0;
}

static int sleep_until(ConsumerObject *self, struct shmq_process *process, uint64_t bound_ns, uint64_t deadline_ns) {
    uint64_t ticket = shmq_doorbell_ticket(process), now = shmq_now_ns();
    if (announce(self) < 0)
        return -1;
    if (has_news(self) || self->woken)
        return 0;
    uint64_t until = deadline_ns - now < bound_ns ? deadline_ns : now + bound_ns;
    int result;
    self->slept++;
    Py_BEGIN_ALLOW_THREADS;
    result = shmq_doorbell_wait(process, ticket, until);
    /* Ended by the bound although there is news: either its ring is just coming, or it was lost and we were rescued. */
    if (result == SHMQ_TIMEOUT && bound_ns > BLOCKED_SLEEP_NS && has_news(self) &&
        (result = shmq_doorbell_wait(process, ticket, shmq_now_ns() + RING_DELAY_NS)) == SHMQ_TIMEOUT)
        self->rescued++;
    Py_END_ALLOW_THREADS;
    return result == SHMQ_SIGNAL ? PyErr_CheckSignals() : 0;
}

/* Wait for news until `deadline_ns`: 0, or -1 with an exception set. */
static int wait_for_news(ConsumerObject *self, struct poll *poll, uint64_t deadline_ns, uint64_t *bound_ns) {
    if (poll->moved)
        return 0;
    uint64_t now = shmq_now_ns();
    if (self->spin_us > 0 && PyList_GET_SIZE(self->readers)) {
        uint64_t until = now + (uint64_t)self->spin_us * 1000;
        if (spin(self, until < deadline_ns ? until : deadline_ns))
            return 0;
    }
    PyObject *process = PyObject_GetAttrString((PyObject *)self, "_process");
    if (!process || Py_TYPE(process) != &ProcessType) {
        Py_XDECREF(process);
        return PyErr_Occurred() ? -1 : (PyErr_SetString(PyExc_TypeError, "_process must be a Process"), -1);
    }
    int result = shmq_py_ensure_doorbell((ProcessObject *)process);
    if (result == 0) {
        struct shmq_process *held = ((ProcessObject *)process)->process; /* it may be closed while we sleep */
        shmq_process_hold(held);
        result = sleep_until(self, held, poll->blocked ? BLOCKED_SLEEP_NS : *bound_ns, deadline_ns);
        shmq_py_release_process(held);
    }
    Py_DECREF(process);
    if (!poll->blocked)
        *bound_ns = *bound_ns * 2 < LONGEST_SLEEP_NS ? *bound_ns * 2 : LONGEST_SLEEP_NS;
    return result;
}

/* ---- poll() ---- */

static int wakeup_asked(ConsumerObject *self) {
    if (!__atomic_exchange_n(&self->woken, 0, __ATOMIC_SEQ_CST))
        return 0;
    shmq_raise_code("wakeup", "{}");
    return 1;
}

static int poll_until(ConsumerObject *self, struct poll *poll, uint64_t began_ns, uint64_t deadline_ns) {
    uint64_t bound_ns = FIRST_SLEEP_NS;
    for (;;) {
        if (wakeup_asked(self))
            return give_back(poll), -1;
        if (take(self, poll) < 0)
            return -1;
        uint64_t until = deadline_ns;
        if (PyDict_GET_SIZE(poll->result)) {
            /* fetch_min_bytes asks to wait for more, but no longer than fetch_max_wait_ms. */
            uint64_t patience = began_ns + (uint64_t)self->fetch_max_wait_ms * 1000000;
            until = patience < deadline_ns ? patience : deadline_ns;
            if (poll->bytes >= self->fetch_min_bytes || poll->left <= 0 || poll->bytes >= self->fetch_max_bytes)
                return 0;
        }
        if (until <= began_ns || shmq_now_ns() >= until)
            return 0;
        if (wait_for_news(self, poll, until, &bound_ns) < 0)
            return give_back(poll), -1;
    }
}

/* Milliseconds as int or float; infinity is allowed. -1 with an exception set. */
static int parse_timeout(PyObject *timeout, uint64_t began_ns, uint64_t *deadline_ns) {
    if (PyLong_CheckExact(timeout) && PyLong_AsLong(timeout) == 0) {
        *deadline_ns = 0;
        return 0;
    }
    double ms = PyFloat_Check(timeout) || PyLong_Check(timeout) ? PyFloat_AsDouble(timeout) : NAN;
    if (isnan(ms) || ms < 0) {
        if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_OverflowError))
            PyErr_Format(PyExc_ValueError, "timeout_ms is a number of milliseconds of at least 0, not %R", timeout);
        return -1;
    }
    *deadline_ns = ms > 1e12 ? UINT64_MAX : began_ns + (uint64_t)(ms * 1e6);
    return 0;
}

static PyObject *poll_records(ConsumerObject *self, PyObject *timeout, PyObject *max_records) {
    uint64_t began_ns = 0, deadline_ns = 0;
    struct poll poll = {.left = self->max_poll_records};
    if (max_records != Py_None) {
        poll.left = PyLong_Check(max_records) ? PyLong_AsLongLong(max_records) : 0;
        if (poll.left <= 0)
            return PyErr_Format(PyExc_ValueError, "max_records is an int of at least 1, not %R", max_records);
    }
    if (!PyLong_CheckExact(timeout) || PyLong_AsLong(timeout) != 0)
        began_ns = shmq_now_ns();
    PyErr_Clear();
    if (parse_timeout(timeout, began_ns, &deadline_ns) < 0)
        return NULL;
    if (self->buffer) {
        PyObject *done = PyObject_CallMethod((PyObject *)self, "_rewind", NULL);
        if (!done)
            return NULL;
        Py_DECREF(done);
    }
    poll.result = PyDict_New();
    poll.starts = PyDict_New();
    int result = poll.result && poll.starts ? poll_until(self, &poll, began_ns, deadline_ns) : -1;
    Py_XDECREF(poll.starts);
    if (result < 0) {
        Py_XDECREF(poll.result);
        return NULL;
    }
    self->received += (unsigned long long)((max_records == Py_None ? self->max_poll_records : PyLong_AsLongLong(max_records)) - poll.left);
    self->received_bytes += (unsigned long long)poll.bytes;
    return poll.result;
}

static PyObject *consumer_poll(ConsumerObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    static const char *const names[] = {"timeout_ms", "max_records", "update_offsets"};
    PyObject *arguments[3] = {NULL, Py_None, Py_True};
    if (count > 3)
        return PyErr_Format(PyExc_TypeError, "poll() takes at most 3 arguments (%zd given)", count);
    for (Py_ssize_t index = 0; index < count; index++)
        arguments[index] = args[index];
    for (Py_ssize_t index = 0; keywords && index < PyTuple_GET_SIZE(keywords); index++) {
        PyObject *name = PyTuple_GET_ITEM(keywords, index);
        int place = 0;
        while (place < 3 && PyUnicode_CompareWithASCIIString(name, names[place]) != 0)
            place++;
        if (place == 3)
            return PyErr_Format(PyExc_TypeError, "poll() got an unexpected keyword argument %R", name);
        arguments[place] = args[count + index];
    }
    PyObject *zero = NULL;
    if (!arguments[0] && !(arguments[0] = zero = PyLong_FromLong(0)))
        return NULL;
    PyObject *result = NULL;
    if (arguments[2] != Py_True)
        result = PyObject_CallMethod((PyObject *)self, "_poll_in_place", "OO", arguments[0], arguments[1]);
    else if (acquire(self) == 0) {
        result = poll_records(self, arguments[0], arguments[1]);
        self->owner = 0;
    }
    Py_XDECREF(zero);
    return result;
}

/* ---- Iteration, wakeup, state ---- */

static PyObject *consumer_next(ConsumerObject *self) {
    if (self->buffer && !self->owner && self->buffer_pos < PyList_GET_SIZE(self->buffer) &&
        self->fork_count == shmq_fork_count())
        return Py_NewRef(PyList_GET_ITEM(self->buffer, self->buffer_pos++));
    Py_CLEAR(self->buffer);
    PyObject *batch = PyObject_CallMethod((PyObject *)self, "_next_batch", NULL);
    if (!batch)
        return NULL;
    if (!PyList_CheckExact(batch) || PyList_GET_SIZE(batch) == 0) {
        Py_DECREF(batch); /* consumer_timeout_ms is over: StopIteration */
        return NULL;
    }
    self->buffer = batch;
    self->buffer_pos = 1;
    return Py_NewRef(PyList_GET_ITEM(batch, 0));
}

/* What iteration has taken from the log but not yet given out; forgotten here. */
static PyObject *consumer_take_buffer(ConsumerObject *self, PyObject *Py_UNUSED(ignored)) {
    PyObject *rest = self->buffer ? PyList_GetSlice(self->buffer, self->buffer_pos, PyList_GET_SIZE(self->buffer))
                                  : PyList_New(0);
    Py_CLEAR(self->buffer);
    return rest;
}

static PyObject *consumer_set_wakeup(ConsumerObject *self, PyObject *process) {
    if (Py_TYPE(process) != &ProcessType)
        return PyErr_Format(PyExc_TypeError, "_set_wakeup(Process)");
    __atomic_store_n(&self->woken, 1, __ATOMIC_SEQ_CST);
    if (((ProcessObject *)process)->process)
        shmq_doorbell_ring_self(((ProcessObject *)process)->process);
    Py_RETURN_NONE;
}

static PyObject *consumer_shut(ConsumerObject *self, PyObject *Py_UNUSED(ignored)) {
    self->owner = 0;
    consumer_clear(self);
    Py_RETURN_NONE;
}

static PyMethodDef consumer_methods[] = {
    {"poll", (PyCFunction)(void (*)(void))consumer_poll, METH_FASTCALL | METH_KEYWORDS,
     "poll(timeout_ms=0, max_records=None, update_offsets=True)\n--\n\n"
     "Return the next records of the assigned partitions, copied out of shared memory.\n\n"
     "timeout_ms: longest wait for a first record, in milliseconds; 0 does not wait.\n"
     "max_records: at most this many over all partitions together; default max_poll_records.\n\n"
     "Returns {TopicPartition: [ConsumerRecord, ...]}; a partition without news is absent, so the dict is empty when\n"
     "time ran out. Within a list `offset` rises, and may skip where a producer died.\n\n"
     "Raises ClosedError, ConcurrentUseError, ForkedError, WakeupError, OffsetOutOfRangeError (auto_offset_reset='none'),\n"
     "CorruptSegmentError, StorageError, UnknownTopicOrPartitionError (deleted meanwhile), and what a deserializer raises.\n\n"
     "Source: KafkaConsumer.poll of kafka-python."},
    {"_acquire", (PyCFunction)consumer_acquire, METH_NOARGS, "Enter; one thread at a time."},
    {"_release", (PyCFunction)consumer_release, METH_NOARGS, "Leave."},
    {"_is_inherited", (PyCFunction)consumer_is_inherited, METH_NOARGS, "Was it made before a fork, in the parent?"},
    {"_take_buffer", (PyCFunction)consumer_take_buffer, METH_NOARGS, "Records that iteration has not given out."},
    {"_set_wakeup", (PyCFunction)consumer_set_wakeup, METH_O, "Make the poll under way, or the next one, raise."},
    {"_shut", (PyCFunction)consumer_shut, METH_NOARGS, "Close: every later use raises ClosedError."},
    {NULL, NULL, 0, NULL}};

static PyMemberDef consumer_members[] = {
    {"_readers", T_OBJECT, offsetof(ConsumerObject, readers), READONLY, "List of Reader, changed in place; None when closed."},
    {"_received", T_ULONGLONG, offsetof(ConsumerObject, received), READONLY, "Records returned."},
    {"_received_bytes", T_ULONGLONG, offsetof(ConsumerObject, received_bytes), READONLY, "Their bytes."},
    {"_slept", T_ULONGLONG, offsetof(ConsumerObject, slept), READONLY, "Sleeps in poll()."},
    {"_rescued", T_ULONGLONG, offsetof(ConsumerObject, rescued), READONLY, "Sleeps that only their bound ended."},
    {NULL, 0, 0, 0, NULL}};

PyTypeObject ConsumerCoreType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.ConsumerCore",
    .tp_basicsize = sizeof(ConsumerObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)consumer_init,
    .tp_dealloc = (destructor)consumer_dealloc,
    .tp_traverse = (traverseproc)consumer_traverse,
    .tp_clear = (inquiry)consumer_clear,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = (iternextfunc)consumer_next,
    .tp_methods = consumer_methods,
    .tp_members = consumer_members,
};
