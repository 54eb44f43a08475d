/* Reading items, many at a time: which of those that come next lie at equal distances. */
#include "reader.h"

/* Does the piece go on where the run ends? */
static bool joins(const struct shmq_run *run, uint32_t pieces, const struct shmq_piece *piece) {
    const struct shmq_piece *last = &run->piece[pieces - 1];
    if (piece->count != 1 || piece->item_bytes != last->item_bytes || piece->offset != last->offset + 1)
        return false;
    return piece->items > last->items && (pieces == 1 || (uint64_t)(piece->items - last->items) == run->stride);
}

static int no_fit(struct shmq_reader *reader, uint64_t bytes) {
    reader->fail.limit = bytes;
    return SHMQ_NO_FIT;
}

/* Look at what comes next, without going on: a copy of the cursor does. */
static int look(struct shmq_reader *reader, uint32_t most, struct shmq_batch_cursor *cursor, struct shmq_piece *piece) {
    for (;;) {
        int result = reader->in_batch ? SHMQ_OK : shmq_reader_enter(reader);
        if (result != SHMQ_OK)
            return result;
        uint64_t first = reader->segment.base_offset + shmq_word_count(reader->before), row = reader->next_offset - first;
        const char *what;
        *cursor = reader->cursor;
        if (reader->next_offset < first || row < cursor->row)
            row = cursor->row;
        piece->offset = first + row;
        result = shmq_batch_piece(cursor, row < cursor->header.count ? (uint32_t)row : cursor->header.count, most, piece, &what);
        if (result == SHMQ_E_CORRUPT)
            return reader->in_batch = false, shmq_reader_fail_corrupt(
                       reader, what, (uint64_t)(cursor->payload - (uint8_t *)reader->segment.header));
        if (result != SHMQ_NOTHING)
            return result == SHMQ_OK ? SHMQ_OK : no_fit(reader, 0);
        reader->in_batch = false;
        reader->before = reader->word;
        reader->index++;
    }
}

int shmq_reader_take_run(struct shmq_reader *reader, struct shmq_run *run, uint32_t *pieces) {
    int result = SHMQ_OK;
    run->count = 0;
    for (*pieces = 0; *pieces < SHMQ_RUN_PIECES && run->count < run->most;) {
        struct shmq_batch_cursor cursor;
        struct shmq_piece *piece = &run->piece[*pieces];
        if ((result = look(reader, run->most, &cursor, piece)) != SHMQ_OK)
            break;
        if (*pieces == 0 && run->item_bytes && piece->item_bytes != run->item_bytes)
            return no_fit(reader, piece->item_bytes);
        if (*pieces && !joins(run, *pieces, piece))
            break;
        run->stride = *pieces ? (uint64_t)(piece->items - piece[-1].items) : piece->item_bytes;
        run->count += piece->count;
        reader->cursor = cursor;
        reader->next_offset = reader->aborted_from = piece->offset + piece->count;
        if ((*pieces)++ == 0 && piece->count > 1)
            break;
    }
    return *pieces ? SHMQ_OK : result;
}
