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
    uint32_t row, row_pos; /* row_pos: of items, in the keys of the key section */
    /* Of items only: */
    const uint8_t *items, *keys; /* the key section, NULL without keys */
    uint32_t item_bytes, keys_bytes;
};

static inline bool shmq_batch_has_items(const struct shmq_batch *header) {
    return header->kind >= SHMQ_KIND_ITEMS;
}

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

/* ---- items.c: records of one size, one after the other. ---- */

/* Items to append. */
struct shmq_items {
    const void *items;
    uint32_t count, item_bytes;
    const void *keys; /* the key section, encoded as it is stored */
    uint32_t keys_bytes, largest_key;
    int64_t timestamp_ms; /* below 0: now */
    /* They lie where they are to be read, in units that were reserved in this incarnation; 0: they are to be copied. */
    uint64_t incarnation;
    uint32_t unit, crc;
    bool summed; /* `crc` is theirs */
};

/* As shmq_batch_bytes() and shmq_batch_write(). */
uint64_t shmq_items_bytes(const struct shmq_items *items);
void shmq_items_write(uint8_t *data, const struct shmq_items *items, uint64_t batch_bytes, uint8_t attempt,
                      uint8_t attributes, bool crc, uint32_t crc_seed);

/* items_crc of what lies at `unit`. */
uint32_t shmq_items_crc(const struct shmq_segment *segment, uint32_t unit, uint64_t bytes);

/* Parts of shmq_batch_open() and shmq_batch_next(). */
int shmq_items_open(const struct shmq_segment *segment, const struct shmq_entry *entry, bool check_crc,
                    struct shmq_batch_cursor *cursor, const char **what);
int shmq_items_next(struct shmq_batch_cursor *cursor, struct shmq_view *view, const char **what);

/* Several items of one batch, or the value of one record. */
struct shmq_piece {
    uint64_t offset; /* of the first; the caller's to fill */
    int64_t timestamp_ms;
    const uint8_t *items;
    uint32_t count, item_bytes;
    const uint8_t *key_lengths, *keys; /* NULL: no keys */
    uint32_t keys_bytes;
};

/* Up to `most` items from row `row` on, which is not before the cursor's, and go behind them.
 *
 * OK. NOTHING: there is no such row. NO_FIT: these are rows, not items; E_CORRUPT. */
int shmq_batch_piece(struct shmq_batch_cursor *cursor, uint32_t row, uint32_t most, struct shmq_piece *piece,
                     const char **what);

#endif
