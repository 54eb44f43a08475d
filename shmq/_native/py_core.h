/* The glue's own types: Python objects around the core. Nothing here knows Kafka's words beyond a record's fields. */
#ifndef SHMQ_PY_CORE_H
#define SHMQ_PY_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>

#include "appender.h"
#include "doorbell.h"
#include "partition.h"
#include "reader.h"
#include "share.h"

/* Copies larger than this let the GIL go. */
#define SHMQ_LONG_COPY_BYTES 65536
#define SHMQ_MAX_TIMESTAMP_MS (INT64_C(1) << 62)

typedef struct {
    PyObject_HEAD
    struct shmq_process *process; /* NULL when closed */
} ProcessObject;

typedef struct {
    PyObject_HEAD
    ProcessObject *process;
    struct shmq_partition *partition; /* NULL when closed */
    PyObject *topic;
    int number;
    struct shmq_segment newest; /* when prepare_spare() last looked */
} PartitionObject;

typedef struct {
    PyObject_HEAD
    struct shmq_window window; /* header NULL when closed */
    struct shmq_fail fail;
} WindowObject;

/* An appender is used by one thread at a time. Short appends hold the GIL from start to end; long ones count themselves
 * in `busy` under the GIL, let it go and take `mutex`. A short one that finds `busy` above 0 goes the long way. */
typedef struct {
    PyObject_HEAD
    PartitionObject *partition;
    struct shmq_appender appender;
    pthread_mutex_t mutex;
    int busy;
    WindowObject *window; /* NULL, or it bounds this appender */
} AppenderObject;

typedef struct {
    PyObject_HEAD
    PartitionObject *partition; /* NULL when closed */
    PyObject *key;              /* TopicPartition */
    struct shmq_reader reader;
    unsigned long long poll; /* number of the poll that took something last, */
    long long poll_bytes;    /* and how many bytes it has taken */
    char paused, unset, values_in_place;
    unsigned long long item_bytes; /* of the items that it reads; 0: any */
    WindowObject *window;       /* NULL, or records are taken through it */
    struct shmq_share *share;   /* if so */
} ReaderObject;

extern PyTypeObject ProcessType, PartitionType, AppenderType, ReaderType, RecordType, FutureType, TopicType,
    ProducerCoreType, ConsumerCoreType, OffsetsType, WindowType, QueueCoreType, ItemsType, ReservationType;

/* py_error.c: hooks that Python sets. */
extern PyObject *shmq_record_metadata; /* shmq.types.RecordMetadata */
extern PyObject *shmq_topic_partition; /* shmq.types.TopicPartition */
extern PyObject *shmq_create_doorbell, *shmq_unlink_doorbell;
PyObject *shmq_py_set_hooks(PyObject *module, PyObject *args, PyObject *kwargs);

/* Set the Python exception for a negative result; always returns NULL. */
PyObject *shmq_raise(int result, const struct shmq_fail *fail, PyObject *topic, int partition);
/* Set an exception by its code and a dict that is built by Py_BuildValue(format, ...). */
PyObject *shmq_raise_code(const char *code, const char *format, ...);
PyObject *shmq_raise_closed(const char *what);

/* py_process.c */
void shmq_py_release_process(struct shmq_process *process);
int shmq_py_ensure_doorbell(ProcessObject *self);
int shmq_parse_options(PyObject *kwargs, struct shmq_options *options);

/* py_care.c: methods of Partition. */
PyObject *shmq_py_prepare_spare(PartitionObject *self, PyObject *ignored);
PyObject *shmq_py_apply_retention(PartitionObject *self, PyObject *ignored);
PyObject *shmq_py_delete_records(PartitionObject *self, PyObject *offset);

/* py_appender.c: what to do to the log's end, one of three. */
struct shmq_work {
    struct shmq_row *rows; /* append these */
    uint32_t count;        /* rows, or items */
    struct shmq_items *items; /* or these */
    struct shmq_reservation *reservation; /* or reserve room for `count` items of `item_bytes` */
    uint64_t item_bytes;
    uint64_t bytes; /* to be copied; many: without the GIL */
};

/* Do it, with waiting for space; 0, or negative with an exception set: E_DELETED if the topic is gone. */
int shmq_py_append(AppenderObject *self, const struct shmq_work *work, uint64_t max_block_ms, struct shmq_appended *appended);

/* py_append_items.c: methods of Appender. */
PyObject *shmq_py_append_items(AppenderObject *self, PyObject *args, PyObject *kwargs);
PyObject *shmq_py_reserve(AppenderObject *self, PyObject *args);

/* An encoded key section, for as many items. 0; -1 with an exception set. Free `keys` by PyMem_Free(). */
int shmq_py_encode_keys(PyObject *keys, struct shmq_items *items);
/* Append items, with all checks: (base_offset, timestamp_ms), or NULL with an exception set. */
PyObject *shmq_py_append_checked(AppenderObject *self, struct shmq_items *items, PyObject *keys, uint64_t max_block_ms);

/* py_reservation.c */
PyObject *shmq_reservation_new(AppenderObject *appender, const struct shmq_reservation *reservation, uint32_t count,
                               uint32_t item_bytes);

/* py_kept.c: segments that views of this process keep as they are, whatever becomes of the log. */
struct shmq_kept;
/* One more view of it. NULL: it would pass the limit, or cannot be; copy. */
struct shmq_kept *shmq_kept_take(const struct shmq_partition *partition, const struct shmq_segment *segment);
void shmq_kept_drop(struct shmq_kept *kept); /* NULL: nothing happens */
PyObject *shmq_py_set_kept_limit(PyObject *module, PyObject *bytes);
PyObject *shmq_py_kept(PyObject *module, PyObject *ignored);

/* py_items.c. Items of a run that the reader has just fetched, or a read-only view of bytes in its segment: NULL without an
 * exception where the bytes must be copied. */
PyObject *shmq_items_new(ReaderObject *reader, const struct shmq_run *run, bool in_place, int *result);
PyObject *shmq_items_of(uint64_t base_offset, uint32_t count, uint32_t item_bytes, PyObject *timestamps, PyObject *keys,
                        uint8_t **bytes);
PyObject *shmq_view_in_place(ReaderObject *reader, const uint8_t *bytes, uint32_t length);
uint32_t shmq_items_count(PyObject *items);
uint64_t shmq_items_base(PyObject *items);
uint64_t shmq_items_bytes_of(PyObject *items);

/* py_cells.c: functions, and lives(slot, epoch) of Process. */
PyObject *shmq_py_cell_load(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *shmq_py_cell_store(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *shmq_py_cell_cas(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *shmq_py_copy_in(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *shmq_py_cells_out(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *shmq_py_blank(PyObject *module, PyObject *bytes);
PyObject *shmq_py_lives(ProcessObject *self, PyObject *const *args, Py_ssize_t count);

/* py_pickle.c */
PyObject *shmq_py_pickle_plain(PyObject *module, PyObject *object); /* a pickle, or None */

/* py_offsets.c */
PyObject *shmq_py_create_offsets(PyObject *module, PyObject *args);

/* py_window.c */
PyObject *shmq_py_create_window(PyObject *module, PyObject *args, PyObject *kwargs);

/* py_share.c: methods of Reader */
PyObject *shmq_py_share(ReaderObject *self, PyObject *args);
PyObject *shmq_py_settle(ReaderObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *shmq_py_counts(ReaderObject *self, PyObject *ignored);
PyObject *shmq_py_standing(ReaderObject *self, PyObject *offset);
PyObject *shmq_py_in_flight(ReaderObject *self, PyObject *ignored);
void shmq_py_end_share(ReaderObject *self);

/* py_holds.c: methods of Partition */
PyObject *shmq_py_hold(PartitionObject *self, PyObject *args);
PyObject *shmq_py_move_hold(PartitionObject *self, PyObject *args);
PyObject *shmq_py_release(PartitionObject *self, PyObject *args);
PyObject *shmq_py_holds(PartitionObject *self, PyObject *ignored);

/* py_future.c */
PyObject *shmq_future_new(PyObject *topic, int partition, uint64_t offset, int64_t timestamp_ms,
                          const struct shmq_row *row);

/* py_record.c */
typedef struct {
    PyObject_HEAD
    PyObject *topic, *key, *value, *headers; /* NULL key or value: None; NULL headers: an empty list on demand */
    int64_t offset, timestamp_ms;
    int partition, leader_epoch, timestamp_type;
    int key_bytes, value_bytes, headers_bytes;
    int delivery_count; /* -1: it was not read through a window */
} RecordObject;

/* Serialized size -1 where there is none. */
RecordObject *shmq_record_new(PyObject *topic, int partition, const struct shmq_view *view);

/* py_headers.c: encode [(str, bytes)] to bytes or NULL with an exception; decode to a new list. */
PyObject *shmq_headers_encode(PyObject *headers);
PyObject *shmq_headers_decode(const uint8_t *bytes, uint32_t length);
/* Bytes of the keys and values alone, as Kafka counts them; -1 without headers. */
int shmq_headers_size(const void *encoded, uint32_t length);

/* py_murmur.c: Java's murmur2, as Kafka's clients place keys by. */
uint32_t shmq_murmur2(const uint8_t *data, size_t bytes);

#endif
