/* QueueCore: the part of a queue that runs for every item. It does what is quick: a plain object put where there is room, an
 * item taken that is there, by a thread that has nothing else to see to. All else is its Python half's: _put() and _get(). */
#include "files.h"
#include "guard.h"
#include "py_consumer.h"

typedef struct {
    PyObject_HEAD
    AppenderObject *appender; /* NULL: this process has not opened the queue, or not any more */
    PyObject *takers;         /* a threading.local, whose `taker` is the thread's ConsumerCore */
    PyObject *loads;          /* what makes an object of a pickle */
    Py_buffer words;          /* mapped; obj NULL with `appender` */
    shmq_a64 *shut;           /* in there: not 0 once the queue is shut down */
    uint64_t fork_count;
    uint64_t thread;          /* the thread that took last, by a number that no other ever has, 0: none; */
    ConsumerObject *taker;    /* and its ConsumerCore: not ours, but as long as that thread asks, it is there */
    char closed;
    char busy;                /* takers have to look after more than the next item */
} QueueObject;

static int queue_traverse(QueueObject *self, visitproc visit, void *arg) {
    Py_VISIT(self->appender);
    Py_VISIT(self->takers);
    Py_VISIT(self->loads);
    return 0;
}

static int queue_clear(QueueObject *self) {
    Py_CLEAR(self->appender);
    Py_CLEAR(self->takers);
    Py_CLEAR(self->loads);
    self->thread = 0;
    if (self->words.obj)
        PyBuffer_Release(&self->words);
    self->shut = NULL;
    return 0;
}

static void queue_dealloc(QueueObject *self) {
    PyObject_GC_UnTrack(self);
    queue_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* _arm(appender, takers, words, pos, loads) */
static PyObject *queue_arm(QueueObject *self, PyObject *args) {
    PyObject *appender, *takers, *words, *loads;
    Py_ssize_t pos;
    if (!PyArg_ParseTuple(args, "O!OOnO:_arm", &AppenderType, &appender, &takers, &words, &pos, &loads))
        return NULL;
    queue_clear(self);
    if (PyObject_GetBuffer(words, &self->words, PyBUF_WRITABLE) < 0)
        return NULL;
    if (pos < 0 || pos > self->words.len - 8 || ((uintptr_t)self->words.buf + (size_t)pos) % 8) {
        PyErr_Format(PyExc_ValueError, "no word at %zd of %zd bytes", pos, self->words.len);
        queue_clear(self);
        return NULL;
    }
    self->shut = (shmq_a64 *)((char *)self->words.buf + pos);
    self->appender = (AppenderObject *)Py_NewRef(appender);
    self->takers = Py_NewRef(takers);
    self->loads = Py_NewRef(loads);
    self->fork_count = shmq_fork_count();
    Py_RETURN_NONE;
}

static PyObject *queue_disarm(QueueObject *self, PyObject *Py_UNUSED(ignored)) {
    queue_clear(self);
    Py_RETURN_NONE;
}

static int load_shut(void *argument) {
    /* PAIR cell: as cell_load(). */
    return shmq_load_acquire((const shmq_a64 *)argument) ? SHMQ_NOTHING : SHMQ_OK;
}

/* Open in this process, and not shut down? */
static bool is_quick(QueueObject *self) {
    struct shmq_fail fail;
    return self->appender && !self->closed && self->fork_count == shmq_fork_count() &&
           shmq_guarded(load_shut, self->shut, &fail, "the words of a queue") == SHMQ_OK;
}

/* (item,) block=True, timeout=None: are they given so that nothing has to be looked at? */
static bool has_defaults(PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    return !keywords && (count < 1 || args[0] == Py_True) && (count < 2 || args[1] == Py_None) && count <= 2;
}

static PyObject *call_slow(QueueObject *self, const char *name, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    PyObject *method = PyObject_GetAttrString((PyObject *)self, name);
    PyObject *result = method ? PyObject_Vectorcall(method, args, (size_t)count, keywords) : NULL;
    Py_XDECREF(method);
    return result;
}

/* Is it appended? Where it could not be, for whatever reason, nothing was, and the slow way says why. */
static bool put_now(QueueObject *self, PyObject *object) {
    PyObject *plain = shmq_py_pickle_plain(NULL, object);
    bool done = false;
    if (plain && plain != Py_None) {
        struct shmq_appended appended;
        struct shmq_row row = {.value = PyBytes_AS_STRING(plain),
                               .key_bytes = -1,
                               .value_bytes = PyBytes_GET_SIZE(plain),
                               .timestamp_ms = -1};
        struct shmq_work work = {.rows = &row, .count = 1, .bytes = (uint64_t)row.value_bytes};
        done = shmq_py_append(self->appender, &work, 0, &appended) == 0;
    }
    Py_XDECREF(plain);
    if (!done)
        PyErr_Clear();
    return done;
}

static PyObject *queue_put(QueueObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    if (count >= 1 && has_defaults(args + 1, count - 1, keywords) && is_quick(self) && put_now(self, args[0]))
        Py_RETURN_NONE;
    return call_slow(self, "_put", args, count, keywords);
}

/* An item that was taken: the object. What is no plain pickle, and what cannot be read, is the Python half's. */
static PyObject *hand_out(QueueObject *self, PyObject *taker, PyObject *value, uint64_t offset, uint32_t deliveries) {
    bool pickled = PyBytes_GET_SIZE(value) && (uint8_t)*PyBytes_AS_STRING(value) == 0x80;
    PyObject *object = NULL;
    if (!pickled)
        return PyObject_CallMethod((PyObject *)self, "_object", "O(OKI)", taker, value, (unsigned long long)offset,
                                   deliveries);
    object = PyObject_CallOneArg(self->loads, value);
    if (object)
        return object;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    PyObject *done = PyObject_CallMethod((PyObject *)self, "_explain", "OK", error, (unsigned long long)offset);
    if (!done)
        PyErr_Clear(); /* the error itself matters more than the note on it */
    Py_XDECREF(done);
    PyErr_Restore(type, error, traceback);
    return NULL;
}

/* This thread's; NULL: it has none yet. New reference. */
static ConsumerObject *find_taker(QueueObject *self) {
    uint64_t thread = PyThreadState_GetID(PyThreadState_Get());
    if (thread == self->thread)
        return (ConsumerObject *)Py_NewRef((PyObject *)self->taker);
    PyObject *taker = PyObject_GetAttrString(self->takers, "taker");
    if (taker && PyObject_TypeCheck(taker, &ConsumerCoreType)) {
        self->thread = thread;
        self->taker = (ConsumerObject *)taker;
        return (ConsumerObject *)taker;
    }
    PyErr_Clear();
    Py_XDECREF(taker);
    return NULL;
}

/* NULL without an exception: nothing is there now, or the slow way must find out. */
static PyObject *get_now(QueueObject *self) {
    uint64_t offset;
    uint32_t deliveries;
    ConsumerObject *taker = find_taker(self);
    PyObject *value = taker ? shmq_py_take_now(taker, &offset, &deliveries) : NULL;
    PyObject *object = value ? hand_out(self, (PyObject *)taker, value, offset, deliveries) : NULL;
    Py_XDECREF(value);
    Py_XDECREF((PyObject *)taker);
    return object;
}

static PyObject *queue_get(QueueObject *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    if (has_defaults(args, count, keywords) && !self->busy && is_quick(self)) {
        PyObject *object = get_now(self);
        if (object || PyErr_Occurred())
            return object;
    }
    return call_slow(self, "_get", args, count, keywords);
}

static PyMethodDef queue_methods[] = {
    {"put", (PyCFunction)(void (*)(void))queue_put, METH_FASTCALL | METH_KEYWORDS,
     "put(obj, block=True, timeout=None)\n--\n\n"
     "Put an item.\n\n"
     "obj: anything that can be pickled; it may be changed afterwards.\n"
     "block: whether to wait for room if there are `maxsize` items.\n"
     "timeout: longest wait in seconds; None: for ever.\n\n"
     "Raises queue.Full: there was no room in time; QueueMemoryError, a kind of it: no memory is left, for which nobody\n"
     "waits in a queue without `maxsize`; ValueError: this queue was closed; ShutDown: it was shut down; and what pickling\n"
     "raises: nothing was put then."},
    {"get", (PyCFunction)(void (*)(void))queue_get, METH_FASTCALL | METH_KEYWORDS,
     "get(block=True, timeout=None)\n--\n\n"
     "Take the oldest item.\n\n"
     "block: whether to wait if there is none.\n"
     "timeout: longest wait in seconds; None: for ever.\n\n"
     "Raises queue.Empty: there was none in time; ValueError: this queue was closed; ShutDown: it was shut down and nothing\n"
     "is left in it, or it was shut down at once; and whatever unpickling raises, with a note that says which item it was:\n"
     "it is done, the queue goes on."},
    {"_arm", (PyCFunction)queue_arm, METH_VARARGS,
     "_arm(appender, takers, words, pos, loads): this process has opened the queue; takers is a threading.local whose `taker`\n"
     "takes, from its first get() to the thread's end, and the word at `pos` is not 0 once the queue is shut down."},
    {"_disarm", (PyCFunction)queue_disarm, METH_NOARGS, "Undo _arm()."},
    {NULL, NULL, 0, NULL}};

static PyMemberDef queue_members[] = {
    {"_closed", Py_T_BOOL_COMPAT, offsetof(QueueObject, closed), 0, "Nothing is put or taken here any more."},
    {"_busy", Py_T_BOOL_COMPAT, offsetof(QueueObject, busy), 0, "get() has to go through _get()."},
    {NULL, 0, 0, 0, NULL}};

PyTypeObject QueueCoreType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.QueueCore",
    .tp_basicsize = sizeof(QueueObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_new = PyType_GenericNew,
    .tp_dealloc = (destructor)queue_dealloc,
    .tp_traverse = (traverseproc)queue_traverse,
    .tp_clear = (inquiry)queue_clear,
    .tp_methods = queue_methods,
    .tp_members = queue_members,
};
