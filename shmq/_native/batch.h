/* Batches: records as bytes in a segment's data area, and back. Layout: layout.h.
 *
 * Everything here touches mapped memory and runs under guard (guard.h). Decoding trusts nothing it reads: each length is
 * checked against the batch's own end before it is used, and each header is read once. */
#ifndef SHMQ_BATCH_H
#define SHMQ_BATCH_H

#include "journal.h"
#include "segment.h"

/* A record to append. A length of -1 means: none (Kafka's null). */
struct shmq_row {
    const void *key, *value, *headers; /* headers are encoded already: layout.h */
    int64_t key_bytes, value_bytes;
    uint32_t headers_bytes;
    int64_t timestamp_ms;
};

/* A record as read: pointers into the mapped segment, good until the reader moves to another one. */
struct shmq_view {
    uint64_t offset;
    int64_t timestamp_ms;
    const uint8_t *key, *value, *headers;
    int32_t key_bytes, value_bytes;
    uint32_t headers_bytes;
    uint32_t attributes;
};

static inline uint64_t shmq_view_bytes(const struct shmq_view *view) {
    return (uint64_t)(view->key_bytes > 0 ? view->key_bytes : 0) +
           (uint64_t)(view->value_bytes > 0 ? view->value_bytes : 0) + view->headers_bytes;
}

/* Where a reader stands within a batch. */
struct shmq_batch_cursor {
    struct shmq_batch header; /* as read once */
    const uint8_t *payload;
    uint32_t row, row_pos;
};

/* Bytes of the batch, header included; UINT64_MAX if a length is out of range. */
uint64_t shmq_batch_bytes(const struct shmq_row *rows, uint32_t count);

static inline uint64_t shmq_batch_units(uint64_t bytes) {
    return (bytes + SHMQ_UNIT_BYTES - 1) / SHMQ_UNIT_BYTES;
}

/* Copy the rows to `data` and check-sum what lies there then. */
void shmq_batch_write(uint8_t *data, const struct shmq_row *rows, uint32_t count, uint64_t batch_bytes, uint8_t attempt,
                      uint8_t attributes, bool crc, uint32_t crc_seed);

/* Begin to read the batch of `entry`: OK, or E_CORRUPT with the broken rule in `*what`. */
int shmq_batch_open(const struct shmq_segment *segment, const struct shmq_entry *entry, bool check_crc,
                    struct shmq_batch_cursor *cursor, const char **what);

/* The next record of the batch, all but its offset: OK, NOTHING behind the last one, or E_CORRUPT. */
int shmq_batch_next(struct shmq_batch_cursor *cursor, struct shmq_view *view, const char **what);

#endif
