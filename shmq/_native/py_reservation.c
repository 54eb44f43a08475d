/* Reservation: room in the log that its user fills in place, and then publishes as records, or gives up.
 *
 * Its memory stays as it is as long as it is open or a buffer of it lives. Only the process that made it may use it. */

#include "files.h"
#include "py_core.h"

#include <structmember.h>

enum state { OPEN, BUSY, PUBLISHED, CANCELLED };

typedef struct {
    PyObject_HEAD
    AppenderObject *appender;
    struct shmq_reservation reservation; /* mapping NULL: let go */
    uint32_t count, item_bytes;
    Py_ssize_t exports;
    uint64_t fork_count, pid;
    enum state state;
    char copied;
} ReservationObject;

PyObject *shmq_reservation_new(AppenderObject *appender, const struct shmq_reservation *reservation, uint32_t count,
                               uint32_t item_bytes) {
    ReservationObject *self = PyObject_New(ReservationObject, &ReservationType);
    if (!self) {
        shmq_mapping_let_go(reservation->mapping);
        return NULL;
    }
    self->appender = (AppenderObject *)Py_NewRef((PyObject *)appender);
    self->reservation = *reservation;
    self->count = count;
    self->item_bytes = item_bytes;
    self->exports = 0;
    self->fork_count = shmq_fork_count();
    self->pid = (uint64_t)getpid();
    self->state = OPEN;
    self->copied = 0;
    return (PyObject *)self;
}

static void let_go(ReservationObject *self) {
    if (self->reservation.mapping)
        shmq_mapping_let_go(self->reservation.mapping);
    self->reservation.mapping = NULL;
}

static void reservation_dealloc(ReservationObject *self) {
    let_go(self);
    Py_DECREF((PyObject *)self->appender);
    PyObject_Free(self);
}

/* 0 if it is open, and ours; -1 with an exception set. */
static int check(const ReservationObject *self) {
    static const char *const states[] = {"open", "being published", "published", "cancelled"};
    if (self->fork_count != shmq_fork_count())
        shmq_raise_code("forked", "{s:s,s:K,s:K}", "what", "reservation", "pid_made", (unsigned long long)self->pid,
                        "pid_now", (unsigned long long)getpid());
    else if (self->state != OPEN)
        PyErr_Format(PyExc_ValueError, "the reservation is %s already", states[self->state]);
    else
        return 0;
    return -1;
}

static int reservation_getbuffer(PyObject *object, Py_buffer *view, int flags) {
    ReservationObject *self = (ReservationObject *)object;
    view->obj = NULL;
    if (check(self) < 0 || PyBuffer_FillInfo(view, object, self->reservation.data,
                                             (Py_ssize_t)self->count * self->item_bytes, 0, flags) < 0)
        return -1;
    self->exports++;
    return 0;
}

static void reservation_releasebuffer(PyObject *object, Py_buffer *Py_UNUSED(view)) {
    ReservationObject *self = (ReservationObject *)object;
    if (--self->exports == 0 && self->state > BUSY)
        let_go(self);
}

static PyObject *reservation_publish(ReservationObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"max_block_ms", "keys", "timestamp_ms", NULL};
    unsigned long long max_block_ms;
    PyObject *keys = Py_None;
    long long timestamp_ms = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "K|OL:publish", names, &max_block_ms, &keys, &timestamp_ms) ||
        check(self) < 0)
        return NULL;
    struct shmq_items items = {.items = self->reservation.data,
                               .count = self->count,
                               .item_bytes = self->item_bytes,
                               .timestamp_ms = timestamp_ms,
                               .incarnation = self->reservation.incarnation,
                               .unit = self->reservation.unit};
    self->state = BUSY;
    PyObject *result = shmq_py_append_checked(self->appender, &items, keys, max_block_ms);
    self->state = result ? PUBLISHED : OPEN;
    self->copied = result && items.incarnation == 0;
    if (result && self->exports == 0)
        let_go(self);
    return result;
}

static PyObject *reservation_cancel(ReservationObject *self, PyObject *Py_UNUSED(ignored)) {
    if (check(self) < 0)
        return NULL;
    self->state = CANCELLED;
    if (self->exports == 0)
        let_go(self);
    Py_RETURN_NONE;
}

static PyBufferProcs reservation_buffer = {reservation_getbuffer, reservation_releasebuffer};

static PyMethodDef reservation_methods[] = {
    {"publish", (PyCFunction)(void (*)(void))reservation_publish, METH_VARARGS | METH_KEYWORDS,
     "publish(max_block_ms, keys=None, timestamp_ms=-1) -> (base_offset, timestamp_ms): append what was written, in place if "
     "its segment is the newest still and has room for the note that says so, else by copying. After an error it is open "
     "still."},
    {"cancel", (PyCFunction)reservation_cancel, METH_NOARGS, "Append nothing. The room is lost until its segment goes."},
    {NULL, NULL, 0, NULL}};

static PyMemberDef reservation_members[] = {
    {"copied", T_BOOL, offsetof(ReservationObject, copied), READONLY, "Whether publish() had to copy."},
    {NULL, 0, 0, 0, NULL}};

PyTypeObject ReservationType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.Reservation",
    .tp_basicsize = sizeof(ReservationObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "Room in the log: a writable buffer until publish() or cancel(). Made by Appender.reserve().",
    .tp_dealloc = (destructor)reservation_dealloc,
    .tp_as_buffer = &reservation_buffer,
    .tp_methods = reservation_methods,
    .tp_members = reservation_members,
};
