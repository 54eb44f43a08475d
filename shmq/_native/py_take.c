/* _take_values(): values alone, of one partition that is read through a window, for queues. */
#include "files.h"
#include "py_consumer.h"

#define FIRST_SLEEP_NS UINT64_C(50000000)

struct taken {
    struct shmq_view views[SHMQ_CHUNK];
    struct shmq_lease leases[SHMQ_CHUNK];
    struct shmq_copy_job jobs[SHMQ_CHUNK];
    uint32_t count;
};

/* Give back what cannot be handed out. Keeps the exception that is set. */
static void give_back(ReaderObject *reader, const struct taken *taken) {
    for (uint32_t index = 0; index < taken->count; index++)
        if (taken->leases[index].word)
            shmq_share_acknowledge(reader->share, taken->leases[index].offset,
                                   shmq_taken_deliveries(taken->leases[index].word), SHMQ_RELEASE, 0);
}

static PyObject *as_list(ReaderObject *reader, struct taken *taken) {
    size_t jobs = 0;
    PyObject *list = PyList_New(taken->count);
    for (uint32_t index = 0; list && index < taken->count; index++) {
        const struct shmq_view *view = &taken->views[index];
        uint64_t word = taken->leases[index].word;
        PyObject *value = shmq_py_bytes(view->value, view->value_bytes > 0 ? view->value_bytes : 0, taken->jobs, &jobs);
        PyObject *item = value ? Py_BuildValue("(NKI)", value, (unsigned long long)view->offset,
                                               word ? shmq_taken_deliveries(word) : 1)
                               : NULL;
        if (item)
            PyList_SET_ITEM(list, index, item);
        else
            Py_CLEAR(list);
    }
    int result = list ? shmq_py_copy_out(reader, taken->jobs, jobs) : SHMQ_OK;
    if (result != SHMQ_OK) {
        shmq_py_reader_raise(reader, result);
        Py_CLEAR(list);
    }
    if (!list)
        give_back(reader, taken);
    return list;
}

/* Nothing was taken. 0: wait or look again; -1: an exception is set. */
static int explain(ReaderObject *reader, int result, bool *blocked, bool *again) {
    if (result == SHMQ_PENDING) {
        result = shmq_reader_heal(&reader->reader);
        *blocked = result == SHMQ_PENDING;
        *again = result == SHMQ_OK;
    }
    return result < 0 ? (shmq_py_reader_raise(reader, result), -1) : 0;
}

static PyObject *take_from(ConsumerObject *self, ReaderObject *reader, double timeout_ms, uint32_t most) {
    struct taken taken;
    uint64_t began_ns = timeout_ms > 0 ? shmq_now_ns() : 0, bound_ns = FIRST_SLEEP_NS;
    uint64_t deadline_ns = shmq_consumer_deadline(began_ns, timeout_ms);
    for (;;) {
        bool blocked = false, again = false;
        if (!self->readers || !reader->share)
            return shmq_raise_closed("reader");
        if (shmq_wakeup_asked(self))
            return NULL;
        reader->share->lock_ms = self->lock_ms;
        int result = shmq_share_fetch(reader->share, taken.views, taken.leases, most, SHMQ_CHUNK_BYTES, &taken.count);
        if (result == SHMQ_OK)
            return as_list(reader, &taken);
        if (explain(reader, result, &blocked, &again) < 0)
            return NULL;
        if (again)
            continue;
        if (deadline_ns <= began_ns || shmq_now_ns() >= deadline_ns)
            return PyList_New(0);
        if (shmq_consumer_wait(self, blocked, deadline_ns, &bound_ns) < 0)
            return NULL;
    }
}

PyObject *shmq_py_take_now(ConsumerObject *self, uint64_t *offset, uint32_t *deliveries) {
    struct shmq_view view;
    struct shmq_lease lease;
    struct shmq_copy_job job;
    uint32_t count;
    size_t jobs = 0;
    if (!self->readers || PyList_GET_SIZE(self->readers) != 1 || self->owner || self->woken ||
        self->fork_count != shmq_fork_count())
        return NULL;
    ReaderObject *reader = (ReaderObject *)PyList_GET_ITEM(self->readers, 0);
    if (!reader->share)
        return NULL;
    reader->share->lock_ms = self->lock_ms;
    if (shmq_share_fetch(reader->share, &view, &lease, 1, 1, &count) != SHMQ_OK)
        return NULL;
    *offset = view.offset;
    *deliveries = lease.word ? shmq_taken_deliveries(lease.word) : 1;
    PyObject *value = shmq_py_bytes(view.value, view.value_bytes > 0 ? view.value_bytes : 0, &job, &jobs);
    int result = value && jobs ? shmq_py_copy_out(reader, &job, jobs) : SHMQ_OK;
    if (value && result == SHMQ_OK)
        return value;
    if (value)
        shmq_py_reader_raise(reader, result);
    Py_CLEAR(value);
    if (lease.word)
        shmq_share_acknowledge(reader->share, *offset, *deliveries, SHMQ_RELEASE, 0);
    return NULL;
}

PyObject *shmq_py_take(ConsumerObject *self, double timeout_ms, uint32_t most) {
    if (PyList_GET_SIZE(self->readers) != 1)
        return PyErr_Format(PyExc_ValueError, "_take_values() reads one partition");
    ReaderObject *reader = (ReaderObject *)Py_NewRef(PyList_GET_ITEM(self->readers, 0));
    PyObject *result = reader->share ? take_from(self, reader, timeout_ms, most)
                                     : PyErr_Format(PyExc_ValueError, "this reader has no window");
    Py_DECREF((PyObject *)reader);
    return result;
}
