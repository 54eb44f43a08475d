/* ConsumerCore, in six files: py_consumer.c (the object, one thread at a time, iteration), py_poll.c (reading),
 * py_wait.c (waiting), py_taken.c (records that were read and not yet given out), py_take.c (values, for queues),
 * py_poll_items.c (reading items). */
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
    char values_in_place; /* poll() gives values as views of the log's own memory */
    int woken;    /* wakeup() was called */
    int nudged;   /* _on_attention() is wanted */
    unsigned long long attention_at_ns; /* and at this time; 0: never */
    unsigned long long polls;           /* calls of poll() and of iteration */
} ConsumerObject;

/* Read from the log: {TopicPartition: [record, ...]} of up to `most` records, {} when time ran out. NULL with an
 * exception set: what was read until then is in `taken`, so that it comes with the next call. */
PyObject *shmq_poll_log(ConsumerObject *self, uint64_t began_ns, uint64_t deadline_ns, long long most);

/* What one partition gives in a round: 0 to go on, 1 to end the round, -1 with an exception set. */
typedef int shmq_poll_step(ConsumerObject *self, void *poll, ReaderObject *reader);

/* One round over the partitions, beginning with another one each time. What one has given is delivered before the error of
 * another, which comes again with the next poll: 1 then. 0; -1 with an exception set. */
int shmq_poll_round(ConsumerObject *self, PyObject *result, void *poll, shmq_poll_step *step);

/* Nothing was read from a partition: find out why. 0: go on with the next one; -1: an exception is set. `*blocked`: by a
 * claim; `*moved`: look again. */
int shmq_poll_explain(ConsumerObject *self, ReaderObject *reader, int result, bool *blocked, bool *moved);

/* Stand before a record that could not be delivered. Keeps the exception that is set. */
void shmq_poll_stand_before(ConsumerObject *self, ReaderObject *reader, int64_t offset);

/* Method: _poll_items(timeout_ms, most_items, in_place), see py_poll_items.c. */
PyObject *shmq_py_poll_items(ConsumerObject *self, double timeout_ms, uint32_t most, bool in_place);

/* The records that were taken from the front of a partition's, as copied Items: NULL without an exception if there are none. */
PyObject *shmq_taken_items(ConsumerObject *self, ReaderObject *reader, uint32_t most);

/* The next record of a partition is no item of the size that it reads. */
void shmq_raise_not_items(const ReaderObject *reader, uint64_t offset, uint64_t record_bytes);

/* Was wakeup() called? Then 1, with WakeupError set. */
int shmq_wakeup_asked(ConsumerObject *self);

/* Call _on_attention() if somebody asked for it, or its time has come. 0; -1 with an exception set: it is wanted still. */
int shmq_attend(ConsumerObject *self);

/* When a call that began then has waited for so long. */
uint64_t shmq_consumer_deadline(uint64_t began_ns, double timeout_ms);

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
