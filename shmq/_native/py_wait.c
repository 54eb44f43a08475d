/* How a consumer waits for records: it spins a while, then it sleeps by its doorbell. */
#include "files.h"
#include "py_consumer.h"

/* Sleeps are bounded, since a producer may die between its commit and its ring: from the first bound, doubling. */
#define LONGEST_SLEEP_NS UINT64_C(250000000)
/* While a claim blocks a reader: how soon to ask again whether its owner is dead. */
#define BLOCKED_SLEEP_NS UINT64_C(1000000)
/* While records are held through a window: how soon to look whether their holders are dead. */
#define WATCH_SLEEP_NS UINT64_C(5000000)
/* A ring comes this soon after the commit that it is for, unless the producer died in between. */
#define RING_DELAY_NS UINT64_C(2000000)
/* A long spin looks for signals this often. */
#define SPIN_SLICE_NS UINT64_C(10000000)

static uint64_t earlier(uint64_t left, uint64_t right) {
    return left < right ? left : right;
}

static bool has_news(ConsumerObject *self, bool settled) {
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(self->readers); index++) {
        ReaderObject *reader = (ReaderObject *)PyList_GET_ITEM(self->readers, index);
        if (reader->paused || !reader->partition)
            continue;
        if (reader->share ? shmq_share_has_news(reader->share, settled) : shmq_reader_has_news(&reader->reader, settled))
            return true;
    }
    return false;
}

static bool is_watching(ConsumerObject *self) {
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(self->readers); index++) {
        ReaderObject *reader = (ReaderObject *)PyList_GET_ITEM(self->readers, index);
        if (reader->share && !reader->paused && reader->partition && shmq_share_is_watching(reader->share))
            return true;
    }
    return false;
}

bool shmq_consumer_is_called(ConsumerObject *self) {
    return __atomic_load_n(&self->woken, __ATOMIC_SEQ_CST) || __atomic_load_n(&self->nudged, __ATOMIC_SEQ_CST);
}

static bool spin_once(ConsumerObject *self, uint64_t until_ns) {
    bool news;
    Py_BEGIN_ALLOW_THREADS;
    do {
        for (int turn = 0; turn < 16 && !(news = has_news(self, true)); turn++)
            shmq_cpu_relax();
    } while (!news && !shmq_consumer_is_called(self) && shmq_now_ns() < until_ns);
    Py_END_ALLOW_THREADS;
    return news;
}

/* 1: there is something to do; 0: the time is up; -1: an exception is set. */
static int spin(ConsumerObject *self, uint64_t now, uint64_t deadline_ns) {
    if (self->spin_us <= 0 || PyList_GET_SIZE(self->readers) == 0)
        return now >= deadline_ns;
    uint64_t until = earlier(deadline_ns, now + (uint64_t)self->spin_us * 1000);
    for (; now < until; now = shmq_now_ns()) {
        if (spin_once(self, earlier(until, now + SPIN_SLICE_NS)) || shmq_consumer_is_called(self))
            return 1;
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
    return now >= deadline_ns;
}

/* Set this process's bit in every partition. -1 with an exception set. */
static int announce(ConsumerObject *self) {
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(self->readers); index++) {
        ReaderObject *reader = (ReaderObject *)PyList_GET_ITEM(self->readers, index);
        if (reader->paused || !reader->partition)
            continue;
        int result = shmq_partition_await(reader->partition->partition, SHMQ_WAIT_FOR_RECORDS, &reader->reader.fail);
        if (result < 0)
            return shmq_py_reader_raise(reader, result), -1;
    }
    return 0;
}

static int sleep_until(ConsumerObject *self, struct shmq_process *process, uint64_t bound_ns, uint64_t deadline_ns) {
    uint64_t ticket = shmq_doorbell_ticket(process);
    if (announce(self) < 0)
        return -1;
    if (has_news(self, false) || shmq_consumer_is_called(self))
        return 0;
    if (bound_ns > WATCH_SLEEP_NS && is_watching(self))
        bound_ns = WATCH_SLEEP_NS;
    uint64_t until = earlier(deadline_ns, shmq_now_ns() + bound_ns);
    self->slept++;
    Py_BEGIN_ALLOW_THREADS;
    int result = shmq_doorbell_wait(process, ticket, until);
    /* Ended by the bound although there is news: either its ring is just coming, or it was lost and we were rescued. */
    if (result == SHMQ_TIMEOUT && bound_ns > BLOCKED_SLEEP_NS && has_news(self, false) &&
        (result = shmq_doorbell_wait(process, ticket, shmq_now_ns() + RING_DELAY_NS)) == SHMQ_TIMEOUT)
        self->rescued++;
    Py_END_ALLOW_THREADS;
    /* Always: a signal may have come just before the sleep, or in another thread, and so not have ended it. */
    return PyErr_CheckSignals();
}

int shmq_consumer_wait(ConsumerObject *self, bool blocked, uint64_t deadline_ns, uint64_t *bound_ns) {
    int result = spin(self, shmq_now_ns(), deadline_ns);
    if (result)
        return result < 0 ? -1 : 0;
    PyObject *process = PyObject_GetAttrString((PyObject *)self, "_process");
    if (!process || Py_TYPE(process) != &ProcessType) {
        Py_XDECREF(process);
        return PyErr_Occurred() ? -1 : (PyErr_SetString(PyExc_TypeError, "_process must be a Process"), -1);
    }
    result = shmq_py_ensure_doorbell((ProcessObject *)process);
    if (result == 0) {
        struct shmq_process *held = ((ProcessObject *)process)->process; /* it may be closed while we sleep */
        shmq_process_hold(held);
        result = sleep_until(self, held, blocked ? BLOCKED_SLEEP_NS : *bound_ns, deadline_ns);
        shmq_py_release_process(held);
    }
    Py_DECREF(process);
    if (!blocked)
        *bound_ns = earlier(*bound_ns * 2, LONGEST_SLEEP_NS);
    return result;
}
