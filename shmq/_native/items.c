/* Batches of items: writing them, and reading them one by one or many at a time. */
#include <string.h>

#include "batch.h"
#include "crc32c.h"

uint64_t shmq_items_bytes(const struct shmq_items *items) {
    uint64_t inside = items->incarnation ? 0 : (uint64_t)items->count * items->item_bytes;
    uint64_t bytes = SHMQ_UNIT_BYTES + inside + items->keys_bytes;
    return bytes <= INT32_MAX ? bytes : UINT64_MAX;
}

void shmq_items_write(uint8_t *data, const struct shmq_items *items, uint64_t batch_bytes, uint8_t attempt,
                      uint8_t attributes, bool crc, uint32_t crc_seed) {
    struct shmq_batch header = {
        .payload_bytes = (uint32_t)(batch_bytes - sizeof header),
        .timestamp_ms = (uint64_t)items->timestamp_ms,
        .count = items->count,
        .kind = items->incarnation ? SHMQ_KIND_REFERENCE : SHMQ_KIND_ITEMS,
        .attributes = attributes,
        .attempt = attempt,
    };
    struct shmq_items_header more = {.item_bytes = items->item_bytes, .keys_bytes = items->keys_bytes};
    uint8_t *at = data + SHMQ_UNIT_BYTES;
    /* The header first: a healer that waits for a slow copy reads `attempt` from it. */
    memcpy(data, &header, sizeof header);
    if (items->incarnation) {
        more.items_unit = items->unit;
        more.items_crc = crc ? items->crc : 0;
    } else {
        memcpy(at, items->items, (size_t)items->count * items->item_bytes);
        at += (size_t)items->count * items->item_bytes;
    }
    memcpy(data + sizeof header, &more, sizeof more);
    if (items->keys_bytes)
        memcpy(at, items->keys, items->keys_bytes);
    if (crc) {
        uint32_t sum = shmq_crc32c(crc_seed, data + 4, (size_t)batch_bytes - 4);
        memcpy(data, &sum, 4);
    }
}

uint32_t shmq_items_crc(const struct shmq_segment *segment, uint32_t unit, uint64_t bytes) {
    return shmq_crc32c(shmq_batch_seed(segment, unit), segment->data + (uint64_t)unit * SHMQ_UNIT_BYTES, (size_t)bytes);
}

int shmq_items_open(const struct shmq_segment *segment, const struct shmq_entry *entry, bool check_crc,
                    struct shmq_batch_cursor *cursor, const char **what) {
    struct shmq_items_header header;
    const struct shmq_batch *batch = &cursor->header;
    if (batch->payload_bytes < sizeof header)
        return *what = "payload_bytes has no room for the items' header", SHMQ_E_CORRUPT;
    memcpy(&header, cursor->payload, sizeof header);
    bool elsewhere = batch->kind == SHMQ_KIND_REFERENCE;
    uint64_t bytes = (uint64_t)batch->count * header.item_bytes, inside = elsewhere ? 0 : bytes;
    if (header.item_bytes == 0 || header.item_bytes > INT32_MAX)
        return *what = "item_bytes is out of range", SHMQ_E_CORRUPT;
    if (sizeof header + inside + header.keys_bytes != batch->payload_bytes)
        return *what = "its items and keys do not fill the batch", SHMQ_E_CORRUPT;
    if (header.keys_bytes && header.keys_bytes < 4 * (uint64_t)batch->count)
        return *what = "keys_bytes has no room for the lengths of its keys", SHMQ_E_CORRUPT;
    if (header.reserved[0] || header.reserved[1] || header.reserved[2])
        return *what = "reserved bytes of the items' header are not 0", SHMQ_E_CORRUPT;
    if (elsewhere && (uint64_t)header.items_unit * SHMQ_UNIT_BYTES + bytes > (uint64_t)entry->start_pos * SHMQ_UNIT_BYTES)
        return *what = "the items of a reference do not lie in front of it", SHMQ_E_CORRUPT;
    if ((!elsewhere && header.items_unit) || ((!elsewhere || !segment->crc) && header.items_crc))
        return *what = "items_unit and items_crc are for references", SHMQ_E_CORRUPT;
    if (elsewhere && check_crc && segment->crc && shmq_items_crc(segment, header.items_unit, bytes) != header.items_crc)
        return *what = "CRC32C of the items", SHMQ_E_CORRUPT;
    cursor->items = elsewhere ? segment->data + (uint64_t)header.items_unit * SHMQ_UNIT_BYTES : cursor->payload + sizeof header;
    cursor->item_bytes = header.item_bytes;
    cursor->keys = header.keys_bytes ? cursor->payload + sizeof header + inside : NULL;
    cursor->keys_bytes = header.keys_bytes;
    return SHMQ_OK;
}

/* Where the keys begin, behind their lengths. */
static uint64_t keys_pos(const struct shmq_batch_cursor *cursor) {
    return 4 * (uint64_t)cursor->header.count + cursor->row_pos;
}

/* Go `count` items on. `*keys_bytes`: of their keys. */
static int pass(struct shmq_batch_cursor *cursor, uint32_t count, uint32_t *keys_bytes, const char **what) {
    *keys_bytes = 0;
    for (uint32_t end = cursor->row + count; cursor->keys && cursor->row < end; cursor->row++) {
        int32_t bytes;
        memcpy(&bytes, cursor->keys + 4 * (size_t)cursor->row, sizeof bytes);
        if (bytes < -1 || (bytes > 0 && (uint64_t)bytes > cursor->keys_bytes - keys_pos(cursor)))
            return *what = "a key passes the end of the key section", SHMQ_E_CORRUPT;
        cursor->row_pos += bytes > 0 ? (uint32_t)bytes : 0;
        *keys_bytes += bytes > 0 ? (uint32_t)bytes : 0;
    }
    cursor->row += cursor->keys ? 0 : count;
    return SHMQ_OK;
}

static int end(const struct shmq_batch_cursor *cursor, const char **what) {
    return !cursor->keys || keys_pos(cursor) == cursor->keys_bytes
               ? SHMQ_NOTHING
               : (*what = "its keys do not fill the key section", SHMQ_E_CORRUPT);
}

int shmq_items_next(struct shmq_batch_cursor *cursor, struct shmq_view *view, const char **what) {
    if (cursor->row == cursor->header.count)
        return end(cursor, what);
    view->attributes = cursor->header.attributes;
    view->timestamp_ms = (int64_t)cursor->header.timestamp_ms;
    view->value = cursor->items + (uint64_t)cursor->row * cursor->item_bytes;
    view->value_bytes = (int32_t)cursor->item_bytes;
    view->headers = NULL;
    view->headers_bytes = 0;
    view->key_bytes = -1;
    view->key = cursor->keys;
    uint32_t key_bytes;
    if (cursor->keys) {
        memcpy(&view->key_bytes, cursor->keys + 4 * (size_t)cursor->row, sizeof view->key_bytes);
        view->key = cursor->keys + keys_pos(cursor);
    }
    return pass(cursor, 1, &key_bytes, what);
}

static int value_piece(struct shmq_batch_cursor *cursor, struct shmq_piece *piece, const char **what) {
    const struct shmq_batch *header = &cursor->header;
    if (header->kind != SHMQ_KIND_VALUE || header->payload_bytes == 0)
        return SHMQ_NO_FIT;
    if (header->payload_bytes > INT32_MAX)
        return *what = "payload_bytes is out of range", SHMQ_E_CORRUPT;
    piece->items = cursor->payload;
    piece->item_bytes = header->payload_bytes;
    piece->count = cursor->row = 1;
    piece->key_lengths = NULL;
    return SHMQ_OK;
}

int shmq_batch_piece(struct shmq_batch_cursor *cursor, uint32_t row, uint32_t most, struct shmq_piece *piece,
                     const char **what) {
    const struct shmq_batch *header = &cursor->header;
    uint32_t ignored, rest = header->count > row ? header->count - row : 0;
    piece->timestamp_ms = (int64_t)header->timestamp_ms;
    if (!shmq_batch_has_items(header))
        return rest ? value_piece(cursor, piece, what) : SHMQ_NOTHING;
    int result = pass(cursor, (rest ? row : header->count) - cursor->row, &ignored, what);
    if (result != SHMQ_OK || !rest)
        return result == SHMQ_OK ? end(cursor, what) : result;
    piece->items = cursor->items + (uint64_t)row * cursor->item_bytes;
    piece->item_bytes = cursor->item_bytes;
    piece->count = rest < most ? rest : most;
    piece->key_lengths = cursor->keys ? cursor->keys + 4 * (size_t)row : NULL;
    piece->keys = cursor->keys ? cursor->keys + keys_pos(cursor) : NULL;
    return pass(cursor, piece->count, &piece->keys_bytes, what);
}
