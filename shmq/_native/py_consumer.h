/* ConsumerCore, in five files: py_consumer.c (the object, one thread at a time, iteration), py_poll.c (reading),
 * py_wait.c (waiting), py_taken.c (records that were read and not yet given out), py_take.c (values, for queues). */
#ifndef SHMQ_PY_CONSUMER_H
#define SHMQ_PY_CONSUMER_H

#include "py_reader.h"

typedef struct {
    PyObject_HEAD
    PyObject *readers; /* list of Reader; NULL when closed */
    PyObject *key_deserializer, *value_deserializer; /* f(topic, headers, bytes), or NULL */
    PyObject *taken;      /* list: records read from the log, by rising offset in each partition; NULL if none */
    Py_ssize_t given_out; /* how many of these, from the front; None stands in their places */
    Py_ssize_t next;      /* reader to begin the next round with */
    unsigned long owner;  /* thread inside, 0 if none */
    int depth;            /* how many calls that thread has made while the consumer was lent to it */
    char lent;            /* the owner is in a callback of the user's, which may call us */
    uint64_t fork_count, pid;
    long long max_poll_records, fetch_min_bytes, fetch_max_wait_ms, fetch_max_bytes, max_partition_fetch_bytes, spin_us;
    double iteration_timeout_ms;
    char alone_again; /* a record that comes again through a window comes alone */
    unsigned long long lock_ms; /* how long a record that is read through a window is ours; 0: as long as this process lives */
    unsigned long long received, received_bytes, slept, rescued;
    char pausing; /* a partition is paused */
    int woken;    /* wakeup() was called */
    int nudged;   /* _on_attention() is wanted */
    unsigned long long attention_at_ns; /* and at this time; 0: never */
    unsigned long long polls;           /* calls of poll() and of iteration */
} ConsumerObject;

/* Read from the log: {TopicPartition: [record, ...]} of up to `most` records, {} when time ran out. NULL with an
 * exception set: what was read until then is in `taken`, so that it comes with the next call. */
PyObject *shmq_poll_log(ConsumerObject *self, uint64_t began_ns, uint64_t deadline_ns, long long most);

/* Was wakeup() called? Then 1, with WakeupError set. */
int shmq_wakeup_asked(ConsumerObject *self);

/* Call _on_attention() if somebody asked for it, or its time has come. 0; -1 with an exception set: it is wanted still. */
int shmq_attend(ConsumerObject *self);

/* Does somebody want this thread back from its wait? */
bool shmq_consumer_is_called(ConsumerObject *self);

/* Wait for news until `deadline_ns` at the latest; `blocked` by a claim, look again soon. 0; -1 with an exception set. */
int shmq_consumer_wait(ConsumerObject *self, bool blocked, uint64_t deadline_ns, uint64_t *bound_ns);

/* Put the records of a poll's result behind those that are taken, or before them. Keeps the exception that is set. */
int shmq_taken_add(ConsumerObject *self, PyObject *result, bool in_front);

/* The next record of a partition that is not paused, or NULL. */
PyObject *shmq_taken_next(ConsumerObject *self);

/* The same for up to `most` records, as poll() gives them; {} if there are none. */
PyObject *shmq_taken_poll(ConsumerObject *self, long long most);

/* Method: _take_values(timeout_ms, most=1), see py_take.c. */
PyObject *shmq_py_take(ConsumerObject *self, double timeout_ms, uint32_t most);

/* The next value of the first partition, if there is one now and nothing else is to be seen to: else NULL without an
 * exception, and _take_values() finds out. */
PyObject *shmq_py_take_now(ConsumerObject *self, uint64_t *offset, uint32_t *deliveries);

/* Methods: _drop(Reader) forgets a partition's records; _first_taken(Reader) is the offset of the first, or None. */
PyObject *shmq_taken_drop(ConsumerObject *self, PyObject *reader);
PyObject *shmq_taken_first(ConsumerObject *self, PyObject *reader);

#endif
