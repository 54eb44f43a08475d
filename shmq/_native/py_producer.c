/* ProducerCore: the part of Producer that runs for every record. Topic: a topic's appenders and its sticky partition. */

#include "files.h"
#include "py_core.h"

#include <structmember.h>

typedef struct {
    PyObject_HEAD
    PyObject *name;
    PyObject *appenders; /* tuple */
    PyObject *item_type; /* what each record is; NULL where records are bytes */
    uint32_t sticky;
    int64_t sticky_bytes;
} TopicObject;

typedef struct {
    PyObject_HEAD
    PyObject *topics; /* {name: Topic}; NULL when closed */
    PyObject *last_name;
    TopicObject *last_topic; /* borrowed from `topics` */
    uint64_t fork_count, random;
    unsigned long long max_block_ms, max_request_size, sent, sent_bytes;
    long long batch_size;
    char plain; /* no serializers, no linger, default partitioner: send() stays in C */
} ProducerObject;

/* ---- Topic ---- */

static PyObject *topic_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name", "appenders", "item_type", NULL};
    PyObject *name, *appenders, *item_type = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "UO!|O:Topic", names, &name, &PyTuple_Type, &appenders, &item_type))
        return NULL;
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(appenders); index++)
        if (Py_TYPE(PyTuple_GET_ITEM(appenders, index)) != &AppenderType)
            return PyErr_Format(PyExc_TypeError, "appenders must be Appender objects"), NULL;
    if (PyTuple_GET_SIZE(appenders) == 0)
        return PyErr_Format(PyExc_ValueError, "a topic has at least one partition"), NULL;
    TopicObject *self = (TopicObject *)type->tp_alloc(type, 0);
    if (self) {
        self->name = Py_NewRef(name);
        self->appenders = Py_NewRef(appenders);
        self->item_type = item_type == Py_None ? NULL : Py_NewRef(item_type);
        self->sticky = (uint32_t)(shmq_now_ns() / 64 % (uint64_t)PyTuple_GET_SIZE(appenders));
    }
    return (PyObject *)self;
}

static void topic_dealloc(TopicObject *self) {
    Py_XDECREF(self->name);
    Py_XDECREF(self->appenders);
    Py_XDECREF(self->item_type);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMemberDef topic_members[] = {
    {"name", T_OBJECT, offsetof(TopicObject, name), READONLY, "The topic's name."},
    {"appenders", T_OBJECT, offsetof(TopicObject, appenders), READONLY, "One per partition."},
    {"item_type", T_OBJECT, offsetof(TopicObject, item_type), READONLY, "What each record is; None where they are bytes."},
    {NULL, 0, 0, 0, NULL}};

PyTypeObject TopicType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.Topic",
    .tp_basicsize = sizeof(TopicObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Topic(name, (appender, ...), item_type=None): a topic as a producer has it open.",
    .tp_new = topic_new,
    .tp_dealloc = (destructor)topic_dealloc,
    .tp_members = topic_members,
};

/* ---- ProducerCore ---- */

static int producer_init(ProducerObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"max_block_ms", "max_request_size", "batch_size", "plain", NULL};
    int plain;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$KKLp:ProducerCore", names, &self->max_block_ms,
                                     &self->max_request_size, &self->batch_size, &plain))
        return -1;
    self->plain = (char)plain;
    self->fork_count = shmq_fork_count();
    self->random = shmq_now_ns() | 1;
    Py_XSETREF(self->topics, PyDict_New());
    return self->topics ? 0 : -1;
}

static int producer_traverse(ProducerObject *self, visitproc visit, void *arg) {
    Py_VISIT(self->topics);
    return 0;
}

static int producer_clear(ProducerObject *self) {
    self->last_topic = NULL;
    Py_CLEAR(self->last_name);
    Py_CLEAR(self->topics);
    return 0;
}

static void producer_dealloc(ProducerObject *self) {
    PyObject_GC_UnTrack(self);
    producer_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* Sticky as in KIP-794: another partition, by chance, after batch_size bytes. */
static uint32_t stick(ProducerObject *self, TopicObject *topic, int64_t bytes) {
    uint32_t partitions = (uint32_t)PyTuple_GET_SIZE(topic->appenders), now = topic->sticky;
    topic->sticky_bytes += bytes;
    if (topic->sticky_bytes >= self->batch_size && partitions > 1) {
        self->random ^= self->random << 13;
        self->random ^= self->random >> 7;
        self->random ^= self->random << 17;
        topic->sticky = (now + 1 + (uint32_t)(self->random % (partitions - 1))) % partitions;
        topic->sticky_bytes = 0;
    }
    return now;
}

/* Which partition: the one asked for, the key's, or the sticky one. -1 with an exception set. */
static Py_ssize_t choose(ProducerObject *self, TopicObject *topic, PyObject *wanted, const struct shmq_row *row,
                         int64_t bytes) {
    Py_ssize_t partitions = PyTuple_GET_SIZE(topic->appenders);
    if (wanted == Py_None)
        return row->key_bytes < 0
                   ? (Py_ssize_t)stick(self, topic, bytes)
                   : (Py_ssize_t)(shmq_murmur2(row->key, (size_t)row->key_bytes) & 0x7fffffff) % partitions;
    Py_ssize_t number = PyBool_Check(wanted) || !PyIndex_Check(wanted) ? -1 : PyNumber_AsSsize_t(wanted, NULL);
    if (number == -1 && PyErr_Occurred())
        PyErr_Clear();
    if (number < 0 || number >= partitions) {
        shmq_raise_code("bad_partition", "{s:O,s:O,s:n}", "topic", topic->name, "partition", wanted, "partitions",
                        partitions);
        return -1;
    }
    return number;
}

static int hold(PyObject *source, const char *what, Py_buffer *buffer, const void **bytes, int64_t *length) {
    if (PyBytes_CheckExact(source)) {
        *bytes = PyBytes_AS_STRING(source);
        *length = PyBytes_GET_SIZE(source);
        return 0;
    }
    if (source == Py_None)
        return 0;
    if (!PyObject_CheckBuffer(source))
        return PyErr_Format(PyExc_TypeError, "%s must be bytes-like or None, not %.100s; give %s_serializer to send others", what,
                            Py_TYPE(source)->tp_name, what),
               -1;
    if (PyObject_GetBuffer(source, buffer, PyBUF_SIMPLE) < 0)
        return -1;
    *bytes = buffer->buf;
    *length = buffer->len;
    return 0;
}

/* A topic that was deleted may be created again: look for it anew next time. Keeps the exception that is set. */
static void forget(ProducerObject *self, PyObject *name) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    self->last_topic = NULL;
    if (self->topics && PyDict_DelItem(self->topics, name) < 0)
        PyErr_Clear(); /* another thread forgot it first */
    PyErr_Restore(type, value, traceback);
}

/* `topic` is the caller's own reference: waiting lets the GIL go, and close() may drop the producer's. */
static PyObject *append(ProducerObject *self, TopicObject *topic, struct shmq_row *row, PyObject *wanted) {
    uint64_t bytes = (uint64_t)(row->key_bytes > 0 ? row->key_bytes : 0) +
                     (uint64_t)(row->value_bytes > 0 ? row->value_bytes : 0) + row->headers_bytes;
    bool too_large = bytes > self->max_request_size;
    Py_ssize_t partition = choose(self, topic, wanted, row, too_large ? 0 : (int64_t)bytes);
    if (partition < 0)
        return NULL;
    if (too_large)
        return shmq_raise_code("too_large", "{s:O,s:n,s:K,s:K,s:s}", "topic", topic->name, "partition", partition,
                               "record_bytes", (unsigned long long)bytes, "limit_bytes", self->max_request_size, "limit",
                               "max_request_size");
    AppenderObject *appender = (AppenderObject *)PyTuple_GET_ITEM(topic->appenders, partition);
    struct shmq_work work = {.rows = row, .count = 1, .bytes = bytes};
    struct shmq_appended appended;
    int result = shmq_py_append(appender, &work, self->max_block_ms, &appended);
    PyObject *future = NULL;
    if (result == 0) {
        self->sent++;
        self->sent_bytes += bytes;
        future = shmq_future_new(topic->name, (int)partition, appended.base_offset, appended.timestamp_ms, row);
    }
    if (result == SHMQ_E_DELETED)
        forget(self, topic->name);
    return future;
}

/* Milliseconds since the epoch from an int or what stands for one; -1 with an exception set. */
static int64_t parse_timestamp(PyObject *timestamp_ms) {
    PyObject *number = PyBool_Check(timestamp_ms) || !PyIndex_Check(timestamp_ms) ? NULL : PyNumber_Index(timestamp_ms);
    int64_t parsed = number ? PyLong_AsLongLong(number) : -1;
    Py_XDECREF(number);
    if (parsed < 0 || parsed > SHMQ_MAX_TIMESTAMP_MS) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "timestamp_ms is an int of milliseconds since 1970, not %R", timestamp_ms);
        return -1;
    }
    return parsed;
}

static PyObject *append_objects(ProducerObject *self, TopicObject *topic, PyObject *value, PyObject *key,
                                PyObject *headers, PyObject *partition, PyObject *timestamp_ms) {
    struct shmq_row row = {.key_bytes = -1, .value_bytes = -1, .timestamp_ms = -1};
    if (value == Py_None && key == Py_None)
        return PyErr_Format(PyExc_ValueError, "a record needs a value or a key");
    Py_buffer value_buffer = {0}, key_buffer = {0};
    PyObject *encoded = NULL, *future = NULL;
    if (timestamp_ms != Py_None && (row.timestamp_ms = parse_timestamp(timestamp_ms)) < 0)
        return NULL;
    if (headers != Py_None && !(PyList_CheckExact(headers) && PyList_GET_SIZE(headers) == 0)) {
        if (!(encoded = shmq_headers_encode(headers)))
            return NULL;
        if (PyBytes_GET_SIZE(encoded) > 4) { /* more than their number, 0 */
            row.headers = PyBytes_AS_STRING(encoded);
            row.headers_bytes = (uint32_t)PyBytes_GET_SIZE(encoded);
        }
    }
    if (hold(value, "value", &value_buffer, &row.value, &row.value_bytes) == 0 &&
        hold(key, "key", &key_buffer, &row.key, &row.key_bytes) == 0)
        future = append(self, topic, &row, partition);
    if (value_buffer.obj)
        PyBuffer_Release(&value_buffer);
    if (key_buffer.obj)
        PyBuffer_Release(&key_buffer);
    Py_XDECREF(encoded);
    return future;
}

/* Closed and inherited producers: 0, or -1 with an exception set. A forked child's opens itself anew. */
static int check_usable(ProducerObject *self) {
    if (!self->topics)
        return shmq_raise_closed("producer"), -1;
    if (self->fork_count == shmq_fork_count())
        return 0;
    self->last_topic = NULL;
    PyObject *result = PyObject_CallMethod((PyObject *)self, "_reopen", NULL);
    if (!result)
        return -1;
    Py_DECREF(result);
    self->fork_count = shmq_fork_count();
    return 0;
}

static TopicObject *find_topic(ProducerObject *self, PyObject *name) {
    if (name == self->last_name && self->last_topic)
        return self->last_topic;
    PyObject *topic = PyUnicode_Check(name) ? PyDict_GetItemWithError(self->topics, name) : NULL;
    if (!topic && !PyErr_Occurred()) {
        topic = PyObject_CallMethod((PyObject *)self, "_open_topic", "O", name);
        if (topic && Py_TYPE(topic) != &TopicType)
            PyErr_SetString(PyExc_TypeError, "_open_topic() must return a Topic");
        else if (topic && !self->topics)
            shmq_raise_closed("producer"); /* by another thread, meanwhile */
        PyObject *mine = topic; /* or another thread's, if that was faster */
        topic = PyErr_Occurred() ? NULL : PyDict_SetDefault(self->topics, name, mine);
        Py_XDECREF(mine);
    }
    if (!topic)
        return NULL;
    Py_INCREF(name);
    Py_XSETREF(self->last_name, name);
    self->last_topic = (TopicObject *)topic;
    return self->last_topic;
}

enum { TOPIC, VALUE, KEY, HEADERS, PARTITION, TIMESTAMP, ARGUMENTS };
static PyObject *argument_names[ARGUMENTS];

static int place_keyword(PyObject *name, PyObject *value, PyObject **arguments) {
    for (int index = 0; index < ARGUMENTS; index++)
        if (name == argument_names[index] || PyUnicode_Compare(name, argument_names[index]) == 0) {
            if (arguments[index])
                return PyErr_Format(PyExc_TypeError, "send() got multiple values for argument %R", name), -1;
            arguments[index] = value;
            return 0;
        }
    PyErr_Format(PyExc_TypeError, "send() got an unexpected keyword argument %R", name);
    return -1;
}

static PyObject *producer_send(ProducerObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    PyObject *arguments[ARGUMENTS] = {NULL};
    if (count > ARGUMENTS)
        return PyErr_Format(PyExc_TypeError, "send() takes at most %d arguments (%zd given)", ARGUMENTS, count);
    for (Py_ssize_t index = 0; index < count; index++)
        arguments[index] = args[index];
    for (Py_ssize_t index = 0; keywords && index < PyTuple_GET_SIZE(keywords); index++)
        if (place_keyword(PyTuple_GET_ITEM(keywords, index), args[count + index], arguments) < 0)
            return NULL;
    if (!arguments[TOPIC])
        return PyErr_Format(PyExc_TypeError, "send() missing required argument: 'topic'");
    for (int index = 0; index < ARGUMENTS; index++)
        if (!arguments[index])
            arguments[index] = Py_None;
    if (check_usable(self) < 0)
        return NULL;
    TopicObject *topic = self->plain ? find_topic(self, arguments[TOPIC]) : NULL;
    if (self->plain && !topic)
        return NULL;
    if (!topic || topic->item_type) /* the way through Python */
        return PyObject_CallMethod((PyObject *)self, "_send", "OOOOOO", arguments[0], arguments[1], arguments[2],
                                   arguments[3], arguments[4], arguments[5]);
    Py_INCREF((PyObject *)topic);
    PyObject *future = append_objects(self, topic, arguments[VALUE], arguments[KEY], arguments[HEADERS],
                                      arguments[PARTITION], arguments[TIMESTAMP]);
    Py_DECREF((PyObject *)topic);
    return future;
}

static PyObject *producer_append(ProducerObject *self, PyObject *const *args, Py_ssize_t count) {
    if (count != ARGUMENTS || Py_TYPE(args[0]) != &TopicType)
        return PyErr_Format(PyExc_TypeError, "_append(Topic, value, key, headers, partition, timestamp_ms)");
    if (check_usable(self) < 0)
        return NULL;
    return append_objects(self, (TopicObject *)args[0], args[1], args[2], args[3], args[4], args[5]);
}

/* _sent_item(Topic, partition, offset, timestamp_ms, key bytes or -1, value bytes): count it, and return its future. */
static PyObject *producer_sent_item(ProducerObject *self, PyObject *args) {
    TopicObject *topic;
    int partition, key_bytes, value_bytes;
    long long offset, timestamp_ms;
    if (!PyArg_ParseTuple(args, "O!iLLii:_sent_item", &TopicType, &topic, &partition, &offset, &timestamp_ms, &key_bytes,
                          &value_bytes))
        return NULL;
    struct shmq_row row = {.key_bytes = key_bytes, .value_bytes = value_bytes};
    self->sent++;
    self->sent_bytes += (unsigned long long)(key_bytes > 0 ? key_bytes : 0) + (unsigned long long)value_bytes;
    return shmq_future_new(topic->name, partition, (uint64_t)offset, timestamp_ms, &row);
}

static PyObject *producer_topic(ProducerObject *self, PyObject *name) {
    if (check_usable(self) < 0)
        return NULL;
    return Py_XNewRef((PyObject *)find_topic(self, name));
}

static PyObject *producer_choose(ProducerObject *self, PyObject *args) {
    TopicObject *topic;
    PyObject *key, *wanted;
    long long bytes;
    struct shmq_row row = {.key_bytes = -1};
    if (!PyArg_ParseTuple(args, "O!OOL:_choose", &TopicType, &topic, &key, &wanted, &bytes))
        return NULL;
    Py_buffer buffer = {0};
    if (hold(key, "key", &buffer, &row.key, &row.key_bytes) < 0)
        return NULL;
    Py_ssize_t partition = choose(self, topic, wanted, &row, bytes);
    if (buffer.obj)
        PyBuffer_Release(&buffer);
    return partition < 0 ? NULL : PyLong_FromSsize_t(partition);
}

static PyObject *producer_forget(ProducerObject *self, PyObject *name) {
    if (name != Py_None)
        forget(self, name);
    else if (self->topics) {
        self->last_topic = NULL;
        PyDict_Clear(self->topics);
    }
    Py_RETURN_NONE;
}

static PyObject *producer_check(ProducerObject *self, PyObject *Py_UNUSED(ignored)) {
    if (check_usable(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *producer_shut(ProducerObject *self, PyObject *Py_UNUSED(ignored)) {
    producer_clear(self);
    Py_RETURN_NONE;
}

static PyMethodDef producer_methods[] = {
    {"send", (PyCFunction)(void (*)(void))producer_send, METH_FASTCALL | METH_KEYWORDS,
     "send(topic, value=None, key=None, headers=None, partition=None, timestamp_ms=None)\n--\n\n"
     "Append a record; it is in the log when this returns (with linger_ms: soon after).\n\n"
     "Returns a future: get(timeout) -> RecordMetadata, add_callback(f), add_errback(f); awaitable.\n\n"
     "Raises TypeError, ValueError, MessageSizeTooLargeError, UnknownTopicOrPartitionError, BufferFullError (after\n"
     "max_block_ms), StorageFullError, StorageError, ClosedError; nothing was appended then.\n\n"
     "Source: KafkaProducer.send of kafka-python."},
    {"_append", (PyCFunction)(void (*)(void))producer_append, METH_FASTCALL, "Append serialized objects to a Topic."},
    {"_sent_item", (PyCFunction)producer_sent_item, METH_VARARGS,
     "_sent_item(Topic, partition, offset, timestamp_ms, key bytes or -1, value bytes) -> RecordFuture"},
    {"_topic", (PyCFunction)producer_topic, METH_O, "The Topic of that name, opened on first use by _open_topic()."},
    {"_choose", (PyCFunction)producer_choose, METH_VARARGS, "_choose(Topic, key, wanted partition or None, bytes) -> int"},
    {"_forget", (PyCFunction)producer_forget, METH_O, "_forget(name or None): forget this open topic, or all."},
    {"_check", (PyCFunction)producer_check, METH_NOARGS, "Raise if closed; open anew if inherited by a forked child."},
    {"_shut", (PyCFunction)producer_shut, METH_NOARGS, "Close: every later use raises ClosedError."},
    {NULL, NULL, 0, NULL}};

static PyMemberDef producer_members[] = {
    {"_topics", T_OBJECT, offsetof(ProducerObject, topics), READONLY, "Open topics; None when closed."},
    {"_sent", T_ULONGLONG, offsetof(ProducerObject, sent), 0, "Records appended."},
    {"_sent_bytes", T_ULONGLONG, offsetof(ProducerObject, sent_bytes), 0, "Their bytes."},
    {NULL, 0, 0, 0, NULL}};

PyTypeObject ProducerCoreType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.ProducerCore",
    .tp_basicsize = sizeof(ProducerObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)producer_init,
    .tp_dealloc = (destructor)producer_dealloc,
    .tp_traverse = (traverseproc)producer_traverse,
    .tp_clear = (inquiry)producer_clear,
    .tp_methods = producer_methods,
    .tp_members = producer_members,
};

int shmq_producer_prepare(void) {
    static const char *const names[ARGUMENTS] = {"topic", "value", "key", "headers", "partition", "timestamp_ms"};
    for (int index = 0; index < ARGUMENTS; index++)
        if (!(argument_names[index] = PyUnicode_InternFromString(names[index])))
            return -1;
    return PyType_Ready(&TopicType) < 0 || PyType_Ready(&ProducerCoreType) < 0 ? -1 : 0;
}
