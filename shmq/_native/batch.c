#include "batch.h"

#include <string.h>

#include "crc32c.h"

static bool is_plain(const struct shmq_row *rows, uint32_t count) {
    return count == 1 && rows->key_bytes < 0 && rows->value_bytes >= 0 && rows->headers_bytes == 0;
}

static uint64_t present(int64_t bytes) {
    return bytes < 0 ? 0 : (uint64_t)bytes;
}

uint64_t shmq_batch_bytes(const struct shmq_row *rows, uint32_t count) {
    uint64_t bytes = sizeof(struct shmq_batch);
    if (is_plain(rows, count))
        return rows->value_bytes <= INT32_MAX ? bytes + (uint64_t)rows->value_bytes : UINT64_MAX;
    for (uint32_t row = 0; row < count; row++) {
        if (rows[row].key_bytes > INT32_MAX || rows[row].value_bytes > INT32_MAX)
            return UINT64_MAX;
        bytes += sizeof(struct shmq_row_header) + present(rows[row].key_bytes) + present(rows[row].value_bytes) +
                 rows[row].headers_bytes;
    }
    return bytes <= INT32_MAX ? bytes : UINT64_MAX;
}

static uint8_t *put(uint8_t *at, const void *bytes, int64_t length) {
    if (length <= 0)
        return at;
    memcpy(at, bytes, (size_t)length);
    return at + length;
}

static void write_rows(uint8_t *at, const struct shmq_row *rows, uint32_t count, bool stamp, int64_t now_ms) {
    for (uint32_t row = 0; row < count; row++) {
        struct shmq_row_header header = {.key_bytes = (int32_t)(rows[row].key_bytes < 0 ? -1 : rows[row].key_bytes),
                                         .value_bytes = (int32_t)(rows[row].value_bytes < 0 ? -1 : rows[row].value_bytes),
                                         .headers_bytes = rows[row].headers_bytes,
                                         .timestamp_ms = stamp ? now_ms : rows[row].timestamp_ms};
        at = put(at, &header, sizeof header);
        at = put(at, rows[row].key, rows[row].key_bytes);
        at = put(at, rows[row].value, rows[row].value_bytes);
        at = put(at, rows[row].headers, rows[row].headers_bytes);
    }
}

void shmq_batch_write(uint8_t *data, const struct shmq_row *rows, uint32_t count, uint64_t batch_bytes, uint8_t attempt,
                      uint8_t attributes, bool crc, uint32_t crc_seed) {
    bool plain = is_plain(rows, count);
    struct shmq_batch header = {
        .payload_bytes = (uint32_t)(batch_bytes - sizeof header),
        .timestamp_ms = (uint64_t)rows->timestamp_ms,
        .count = count,
        .kind = plain ? SHMQ_KIND_VALUE : SHMQ_KIND_ROWS,
        .attributes = attributes,
        .attempt = attempt,
    };
    /* The header first: a healer that waits for a slow copy reads `attempt` from it. */
    memcpy(data, &header, sizeof header);
    if (plain)
        put(data + sizeof header, rows->value, rows->value_bytes);
    else
        write_rows(data + sizeof header, rows, count, attributes & SHMQ_ATTRIBUTE_LOG_APPEND_TIME, rows->timestamp_ms);
    if (crc) {
        /* Over the bytes as copied: another thread may be changing the source. */
        uint32_t sum = shmq_crc32c(crc_seed, data + 4, (size_t)batch_bytes - 4);
        memcpy(data, &sum, 4);
    }
}

int shmq_batch_open(const struct shmq_segment *segment, const struct shmq_entry *entry, bool check_crc,
                    struct shmq_batch_cursor *cursor, const char **what) {
    const uint8_t *data = segment->data + (uint64_t)entry->start_pos * SHMQ_UNIT_BYTES;
    struct shmq_batch *header = &cursor->header;
    memcpy(header, data, sizeof *header);
    uint64_t units = shmq_batch_units(sizeof *header + (uint64_t)header->payload_bytes);
    if (units != entry->end_pos - entry->start_pos)
        return *what = "payload_bytes does not fit the batch's units", SHMQ_E_CORRUPT;
    if (header->count != entry->end_count - entry->first_count)
        return *what = "count is not the one of its journal word", SHMQ_E_CORRUPT;
    if (header->kind != SHMQ_KIND_ROWS && !(header->kind == SHMQ_KIND_VALUE && header->count == 1) &&
        header->kind != SHMQ_KIND_ITEMS && header->kind != SHMQ_KIND_REFERENCE)
        return *what = "unknown kind of batch", SHMQ_E_CORRUPT;
    if (check_crc && segment->crc &&
        shmq_crc32c(shmq_batch_seed(segment, entry->first_count), data + 4,
                    sizeof *header - 4 + (size_t)header->payload_bytes) != header->crc)
        return *what = "CRC32C of the batch", SHMQ_E_CORRUPT;
    cursor->payload = data + sizeof *header;
    cursor->row = cursor->row_pos = 0;
    return shmq_batch_has_items(header) ? shmq_items_open(segment, entry, check_crc, cursor, what) : SHMQ_OK;
}

static int next_row(struct shmq_batch_cursor *cursor, struct shmq_view *view, const char **what) {
    struct shmq_row_header row;
    uint64_t rest = cursor->header.payload_bytes - cursor->row_pos;
    if (rest < sizeof row)
        return *what = "a row's header passes the end of its batch", SHMQ_E_CORRUPT;
    memcpy(&row, cursor->payload + cursor->row_pos, sizeof row);
    uint64_t bytes =
        sizeof row + present(row.key_bytes) + present(row.value_bytes) + (uint64_t)row.headers_bytes;
    if (bytes > rest || row.key_bytes < -1 || row.value_bytes < -1)
        return *what = "a row passes the end of its batch", SHMQ_E_CORRUPT;
    view->timestamp_ms = row.timestamp_ms;
    view->key = cursor->payload + cursor->row_pos + sizeof row;
    view->key_bytes = row.key_bytes;
    view->value = view->key + present(row.key_bytes);
    view->value_bytes = row.value_bytes;
    view->headers = view->value + present(row.value_bytes);
    view->headers_bytes = row.headers_bytes;
    cursor->row_pos += (uint32_t)bytes;
    return SHMQ_OK;
}

int shmq_batch_next(struct shmq_batch_cursor *cursor, struct shmq_view *view, const char **what) {
    const struct shmq_batch *header = &cursor->header;
    if (shmq_batch_has_items(header))
        return shmq_items_next(cursor, view, what);
    if (cursor->row == header->count)
        return header->kind == SHMQ_KIND_VALUE || cursor->row_pos == header->payload_bytes
                   ? SHMQ_NOTHING
                   : (*what = "its rows do not fill the batch", SHMQ_E_CORRUPT);
    cursor->row++;
    view->attributes = header->attributes;
    if (header->kind == SHMQ_KIND_ROWS)
        return next_row(cursor, view, what);
    view->timestamp_ms = (int64_t)header->timestamp_ms;
    view->key = view->headers = NULL;
    view->key_bytes = -1;
    view->headers_bytes = 0;
    view->value = cursor->payload;
    view->value_bytes = (int32_t)header->payload_bytes;
    return header->payload_bytes <= INT32_MAX ? SHMQ_OK : (*what = "payload_bytes is out of range", SHMQ_E_CORRUPT);
}
