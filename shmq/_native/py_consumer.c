/* ConsumerCore: the part of Consumer that runs for every poll. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "py_consumer.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>

#include "files.h"

/* What is polled is freed again and again. As it comes, glibc maps each value of 128 KiB or more anew, and returns the memory
 * of smaller ones to the kernel whenever 128 KiB lie together: then each copy runs into a page fault every 4 KiB, which takes
 * three times as long as the copy. Once a block of this size was freed both limits are as high (mallopt(3)). */
#define LARGE_BLOCK_BYTES (UINT64_C(16) << 20)

static void raise_malloc_limits(void) {
    static bool raised;
    void *volatile block = raised ? NULL : malloc(LARGE_BLOCK_BYTES);
    free(block);
    raised = true;
}

static int consumer_init(ConsumerObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"max_poll_records",  "fetch_min_bytes",           "fetch_max_wait_ms",
                            "fetch_max_bytes",   "max_partition_fetch_bytes", "spin_us",
                            "iteration_timeout_ms", "key_deserializer",       "value_deserializer", NULL};
    PyObject *key = Py_None, *value = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$LLLLLLdOO:ConsumerCore", names, &self->max_poll_records,
                                     &self->fetch_min_bytes, &self->fetch_max_wait_ms, &self->fetch_max_bytes,
                                     &self->max_partition_fetch_bytes, &self->spin_us, &self->iteration_timeout_ms, &key,
                                     &value))
        return -1;
    self->key_deserializer = key == Py_None ? NULL : Py_NewRef(key);
    self->value_deserializer = value == Py_None ? NULL : Py_NewRef(value);
    self->fork_count = shmq_fork_count();
    self->pid = (uint64_t)getpid();
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) < 2)
        self->spin_us = 0; /* spinning would keep the producer off the only core */
    raise_malloc_limits();
    self->readers = PyList_New(0);
    return self->readers ? 0 : -1;
}

static int consumer_traverse(ConsumerObject *self, visitproc visit, void *arg) {
    Py_VISIT(self->readers);
    Py_VISIT(self->key_deserializer);
    Py_VISIT(self->value_deserializer);
    Py_VISIT(self->taken);
    return 0;
}

static int consumer_clear(ConsumerObject *self) {
    Py_CLEAR(self->readers);
    Py_CLEAR(self->key_deserializer);
    Py_CLEAR(self->value_deserializer);
    Py_CLEAR(self->taken);
    self->given_out = 0;
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
    if (self->owner == thread && self->lent)
        return self->depth++, 0;
    if (self->owner)
        return shmq_raise_code("concurrent", "{s:s,s:k,s:k}", "what", "consumer", "thread_made", self->owner, "thread_now",
                               thread),
               -1;
    self->owner = thread;
    return 0;
}

static void release(ConsumerObject *self) {
    if (self->depth)
        self->depth--;
    else
        self->owner = 0;
}

/* _alone(function, ...): call it as the only one inside. In C, so that no signal handler comes in between. */
static PyObject *consumer_alone(ConsumerObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    if (count < 1)
        return PyErr_Format(PyExc_TypeError, "_alone() takes a function");
    if (acquire(self) < 0)
        return NULL;
    PyObject *result = PyObject_Vectorcall(args[0], args + 1, (size_t)(count - 1), keywords);
    release(self);
    return result;
}

/* _lend(function, ...): call a callback of the user's, which may use this consumer, from the thread that is inside. */
static PyObject *consumer_lend(ConsumerObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    if (count < 1)
        return PyErr_Format(PyExc_TypeError, "_lend() takes a function");
    char lent = self->lent;
    self->lent = 1;
    PyObject *result = PyObject_Vectorcall(args[0], args + 1, (size_t)(count - 1), keywords);
    self->lent = lent;
    return result;
}

static PyObject *consumer_is_inherited(ConsumerObject *self, PyObject *Py_UNUSED(ignored)) {
    return PyBool_FromLong(self->fork_count != shmq_fork_count());
}

/* ---- poll() ---- */

uint64_t shmq_consumer_deadline(uint64_t began_ns, double timeout_ms) {
    return timeout_ms > 1e12 ? UINT64_MAX : began_ns + (uint64_t)(timeout_ms * 1e6);
}

/* Milliseconds; infinity is allowed. -1 with an exception set. */
static double parse_timeout(ConsumerObject *self, PyObject *timeout) {
    if (PyLong_CheckExact(timeout)) {
        long ms = PyLong_AsLong(timeout);
        if (ms >= 0)
            return (double)ms;
        PyErr_Clear(); /* too large: look at it as a float */
    }
    PyObject *checked = PyObject_CallMethod((PyObject *)self, "_checked_timeout", "O", timeout);
    double ms = checked ? PyFloat_AsDouble(checked) : -1;
    Py_XDECREF(checked);
    return ms;
}

static long long parse_most(ConsumerObject *self, PyObject *max_records) {
    if (max_records == Py_None)
        return self->max_poll_records;
    if (!PyIndex_Check(max_records) || PyBool_Check(max_records)) {
        PyErr_Format(PyExc_TypeError, "max_records is an int, not %s", Py_TYPE(max_records)->tp_name);
        return -1;
    }
    long long most = PyNumber_AsSsize_t(max_records, NULL);
    if (most > 0)
        return most;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "max_records is an int of at least 1, not %R", max_records);
    return -1;
}

static PyObject *poll_records(ConsumerObject *self, PyObject *timeout, PyObject *max_records, bool keep_place) {
    long long most = parse_most(self, max_records);
    double timeout_ms = most < 0 ? -1 : parse_timeout(self, timeout);
    self->polls++;
    if (timeout_ms < 0 || shmq_wakeup_asked(self) || shmq_attend(self) < 0)
        return NULL;
    PyObject *result = self->taken ? shmq_taken_poll(self, most) : NULL;
    if (PyErr_Occurred())
        return NULL;
    if (!result || PyDict_GET_SIZE(result) == 0) {
        uint64_t began_ns = timeout_ms > 0 ? shmq_now_ns() : 0;
        Py_XDECREF(result);
        result = shmq_poll_log(self, began_ns, shmq_consumer_deadline(began_ns, timeout_ms), most);
    }
    if (result && keep_place && PyDict_GET_SIZE(result) && shmq_taken_add(self, result, true) < 0)
        Py_CLEAR(result);
    return result;
}

static PyObject *consumer_poll(ConsumerObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    static const char *const names[] = {"timeout_ms", "max_records", "update_offsets"};
    PyObject *arguments[3] = {NULL, NULL, NULL};
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
        if (arguments[place])
            return PyErr_Format(PyExc_TypeError, "poll() got multiple values for argument %R", name);
        arguments[place] = args[count + index];
    }
    int update = arguments[2] ? PyObject_IsTrue(arguments[2]) : 1;
    if (update < 0)
        return NULL;
    PyObject *zero = arguments[0] ? NULL : PyLong_FromLong(0), *result = NULL;
    if ((arguments[0] || zero) && acquire(self) == 0) {
        result = poll_records(self, zero ? zero : arguments[0], arguments[1] ? arguments[1] : Py_None, !update);
        release(self);
    }
    Py_XDECREF(zero);
    return result;
}

/* ---- Iteration, wakeup, state ---- */

static PyObject *next_record(ConsumerObject *self) {
    self->polls++;
    if (shmq_wakeup_asked(self) || shmq_attend(self) < 0)
        return NULL;
    PyObject *record = shmq_taken_next(self);
    if (record || PyErr_Occurred())
        return record;
    uint64_t began_ns = shmq_now_ns();
    PyObject *batch = shmq_poll_log(self, began_ns, shmq_consumer_deadline(began_ns, self->iteration_timeout_ms), self->max_poll_records);
    if (batch && PyDict_GET_SIZE(batch) && shmq_taken_add(self, batch, false) == 0)
        record = shmq_taken_next(self);
    Py_XDECREF(batch); /* empty: consumer_timeout_ms is over: StopIteration */
    return record;
}

static PyObject *consumer_next(ConsumerObject *self) {
    if (acquire(self) < 0)
        return NULL;
    PyObject *record = next_record(self);
    release(self);
    return record;
}

/* Set a flag that polls look at, and wake the one that may sleep. */
static PyObject *disturb(int *flag, PyObject *process, const char *usage) {
    if (Py_TYPE(process) != &ProcessType)
        return PyErr_Format(PyExc_TypeError, "%s", usage);
    __atomic_store_n(flag, 1, __ATOMIC_SEQ_CST);
    if (((ProcessObject *)process)->process)
        shmq_doorbell_ring_self(((ProcessObject *)process)->process);
    Py_RETURN_NONE;
}

static PyObject *consumer_set_wakeup(ConsumerObject *self, PyObject *process) {
    return disturb(&self->woken, process, "_set_wakeup(Process)");
}

static PyObject *consumer_nudge(ConsumerObject *self, PyObject *process) {
    return disturb(&self->nudged, process, "_nudge(Process)");
}

/* _take_values(timeout_ms, most=1) */
static PyObject *consumer_take(ConsumerObject *self, PyObject *const *args, Py_ssize_t count) {
    if (count < 1 || count > 2)
        return PyErr_Format(PyExc_TypeError, "_take_values() takes 1 or 2 arguments (%zd given)", count);
    double timeout_ms = parse_timeout(self, args[0]);
    long long most = timeout_ms < 0 ? -1 : count > 1 ? parse_most(self, args[1]) : 1;
    if (most < 0 || acquire(self) < 0)
        return NULL;
    PyObject *result = shmq_py_take(self, timeout_ms, most < SHMQ_CHUNK ? (uint32_t)most : SHMQ_CHUNK);
    release(self);
    return result;
}

/* _poll_items(timeout_ms, most_items, in_place) */
static PyObject *consumer_poll_items(ConsumerObject *self, PyObject *const *args, Py_ssize_t count) {
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "_poll_items() takes 3 arguments (%zd given)", count);
    double timeout_ms = parse_timeout(self, args[0]);
    long long most = timeout_ms < 0 ? -1 : parse_most(self, args[1]);
    int in_place = most < 0 ? -1 : PyObject_IsTrue(args[2]);
    if (in_place < 0 || acquire(self) < 0)
        return NULL;
    PyObject *result = shmq_py_poll_items(self, timeout_ms, most < SHMQ_MAX_COUNT ? (uint32_t)most : SHMQ_MAX_COUNT, in_place);
    release(self);
    return result;
}

static PyObject *consumer_is_inside(ConsumerObject *self, void *Py_UNUSED(closure)) {
    return PyBool_FromLong(self->owner != 0);
}

static PyObject *consumer_shut(ConsumerObject *self, PyObject *Py_UNUSED(ignored)) {
    consumer_clear(self);
    Py_RETURN_NONE;
}

static PyMethodDef consumer_methods[] = {
    {"poll", (PyCFunction)(void (*)(void))consumer_poll, METH_FASTCALL | METH_KEYWORDS,
     "poll(timeout_ms=0, max_records=None, update_offsets=True)\n--\n\n"
     "Return the next records of the assigned partitions, copied out of shared memory.\n\n"
     "timeout_ms: longest wait for a first record, in milliseconds; 0 does not wait.\n"
     "max_records: at most this many over all partitions together; default max_poll_records.\n"
     "update_offsets: False leaves the positions where they are: the next poll returns the same records again.\n\n"
     "Returns {TopicPartition: [ConsumerRecord, ...]}; a partition without news is absent, so the dict is empty when\n"
     "time ran out. Within a list `offset` rises, and may skip where a producer died.\n\n"
     "Raises ClosedError, ConcurrentUseError, ForkedError, WakeupError, OffsetOutOfRangeError (auto_offset_reset='none'),\n"
     "CorruptSegmentError, StorageError, UnknownTopicOrPartitionError (deleted meanwhile), and what a deserializer raises.\n"
     "Whatever is raised, also by a signal handler: no record is skipped.\n\n"
     "Source: KafkaConsumer.poll of kafka-python."},
    {"_take_values", (PyCFunction)(void (*)(void))consumer_take, METH_FASTCALL,
     "_take_values(timeout_ms, most=1) -> [(value, offset, delivery_count)]: up to so many records of the first partition, which is\n"
     "read through a window; [] when time ran out. For queues."},
    {"_poll_items", (PyCFunction)(void (*)(void))consumer_poll_items, METH_FASTCALL,
     "_poll_items(timeout_ms, most_items, in_place) -> {TopicPartition: Items}: as poll(), but of each partition the next items\n"
     "of one batch, or of several one-item batches that lie at equal distances; at most so many over all partitions together\n"
     "(None: max_poll_records). in_place False, or beyond the limit of set_kept_limit(): copies. Raises 'not_items' where the\n"
     "next record is none, or not one of the Reader's item_bytes."},
    {"_alone", (PyCFunction)(void (*)(void))consumer_alone, METH_FASTCALL | METH_KEYWORDS,
     "_alone(function, ...): call it as the only one inside; not after close, not after a fork."},
    {"_is_inherited", (PyCFunction)consumer_is_inherited, METH_NOARGS, "Was it made before a fork, in the parent?"},
    {"_drop", (PyCFunction)shmq_taken_drop, METH_O, "_drop(Reader): forget what was read there and not given out."},
    {"_first_taken", (PyCFunction)shmq_taken_first, METH_O, "_first_taken(Reader): offset of the first such record, or None."},
    {"_set_wakeup", (PyCFunction)consumer_set_wakeup, METH_O, "Make the poll under way, or the next one, raise."},
    {"_lend", (PyCFunction)(void (*)(void))consumer_lend, METH_FASTCALL | METH_KEYWORDS,
     "_lend(function, ...): call the user's callback, which may use this consumer. Only from inside."},
    {"_nudge", (PyCFunction)consumer_nudge, METH_O, "Make the poll under way, or the next one, call _on_attention()."},
    {"_shut", (PyCFunction)consumer_shut, METH_NOARGS, "Close: every later use raises ClosedError."},
    {NULL, NULL, 0, NULL}};

static PyMemberDef consumer_members[] = {
    {"_readers", T_OBJECT, offsetof(ConsumerObject, readers), READONLY, "List of Reader, changed in place; None when closed."},
    {"_pausing", Py_T_BOOL_COMPAT, offsetof(ConsumerObject, pausing), 0, "Whether any Reader is paused."},
    {"_values_in_place", Py_T_BOOL_COMPAT, offsetof(ConsumerObject, values_in_place), 0,
     "Whether poll() gives values as read-only memoryviews of the log's own memory, or beyond set_kept_limit() of copies."},
    {"_attention_at_ns", T_ULONGLONG, offsetof(ConsumerObject, attention_at_ns), 0,
     "When a poll shall call _on_attention(), on the monotonic clock; 0: never."},
    {"_alone_again", Py_T_BOOL_COMPAT, offsetof(ConsumerObject, alone_again), 0,
     "Whether a poll that returns a record which was delivered before returns nothing else."},
    {"_lock_ms", T_ULONGLONG, offsetof(ConsumerObject, lock_ms), 0,
     "How long a record that was read through a window is ours; 0: as long as this process lives."},
    {"_polls", T_ULONGLONG, offsetof(ConsumerObject, polls), READONLY, "Calls of poll() and of iteration."},
    {"_received", T_ULONGLONG, offsetof(ConsumerObject, received), READONLY, "Records read."},
    {"_received_bytes", T_ULONGLONG, offsetof(ConsumerObject, received_bytes), READONLY, "Their bytes."},
    {"_slept", T_ULONGLONG, offsetof(ConsumerObject, slept), READONLY, "Sleeps in poll()."},
    {"_rescued", T_ULONGLONG, offsetof(ConsumerObject, rescued), READONLY, "Sleeps that only their bound ended."},
    {NULL, 0, 0, 0, NULL}};

static PyGetSetDef consumer_getset[] = {
    {"_is_inside", (getter)consumer_is_inside, NULL, "Is a thread inside?", NULL}, {NULL, NULL, NULL, NULL, NULL}};

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
    .tp_getset = consumer_getset,
};
