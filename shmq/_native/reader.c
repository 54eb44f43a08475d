#include "reader.h"

#include <inttypes.h>
#include <string.h>

#include "doorbell.h"
#include "fault.h"
#include "files.h"
#include "guard.h"
#include "readers.h"
#include "retention.h"
#include "waiters.h"

/* A healer asks the kernel about a claim's owner at most this often. */
#define ASK_EVERY_NS UINT64_C(200000)
/* Time for a copy: far slower than any memory, so that only stopped or dead processes run out of it. */
#define TIMEOUT_NS_PER_MIB UINT64_C(100000000)

void shmq_reader_init(struct shmq_reader *reader, struct shmq_partition *partition, bool check_crc) {
    memset(reader, 0, offsetof(struct shmq_reader, fail));
    reader->partition = partition;
    reader->check_crc = check_crc;
    reader->registration.entry = reader->hold.entry = -1;
}

void shmq_reader_close(struct shmq_reader *reader) {
    shmq_reader_leave(reader);
    shmq_reader_leave_hold(reader);
    shmq_segment_unmap(&reader->segment);
    shmq_segment_unmap(&reader->head);
}

void shmq_reader_stand_at(struct shmq_reader *reader, uint32_t index, uint64_t before) {
    reader->index = index;
    reader->before = before;
    reader->in_batch = false;
    reader->blocked_word = 0;
    reader->next_offset = reader->aborted_from = reader->segment.base_offset + shmq_word_count(before);
}

int shmq_reader_fail_corrupt(struct shmq_reader *reader, const char *what, uint64_t pos) {
    struct shmq_segment *segment = &reader->segment;
    shmq_segment_path(reader->partition, segment->seq, segment->journal.incarnation, reader->fail.path);
    reader->fail.pos = pos;
    reader->fail.wanted = reader->next_offset;
    return shmq_fail(&reader->fail, SHMQ_E_CORRUPT, reader->fail.path, "%s", what);
}

static uint64_t word_pos(uint32_t index) {
    return SHMQ_PAGE_BYTES + 8 * (uint64_t)index;
}

int shmq_reader_enter(struct shmq_reader *reader) {
    for (;;) {
        struct shmq_entry entry;
        int result = shmq_journal_read(&reader->segment.journal, reader->index, reader->before, &entry);
        if (result == SHMQ_E_CORRUPT)
            return shmq_reader_fail_corrupt(reader, "a journal word breaks the format", word_pos(reader->index));
        if (result == SHMQ_PENDING && reader->blocked_word != entry.word) {
            reader->blocked_word = entry.word;
            reader->blocked_since_ns = reader->asked_ns = 0;
        }
        if (result != SHMQ_OK && result != SHMQ_LOST)
            return result;
        reader->blocked_word = 0;
        if (result == SHMQ_LOST) {
            reader->before = entry.word;
            reader->index++;
            if (reader->next_offset < reader->segment.base_offset + entry.end_count)
                reader->next_offset = reader->segment.base_offset + entry.end_count;
            continue;
        }
        const char *what;
        if (shmq_batch_open(&reader->segment, &entry, reader->check_crc, &reader->cursor, &what) != SHMQ_OK)
            return shmq_reader_fail_corrupt(reader, what,
                                            (uint64_t)(reader->segment.data - (uint8_t *)reader->segment.header) +
                                                (uint64_t)entry.start_pos * SHMQ_UNIT_BYTES);
        reader->in_batch = true;
        reader->word = entry.word;
        return SHMQ_OK;
    }
}

/* The next record of the batch that the reader is in; NOTHING behind its last one. */
static int step(struct shmq_reader *reader, struct shmq_view *view) {
    uint64_t first = reader->segment.base_offset + shmq_word_count(reader->before);
    const char *what;
    int result;
    do {
        view->offset = first + reader->cursor.row;
        result = shmq_batch_next(&reader->cursor, view, &what);
    } while (result == SHMQ_OK && view->offset < reader->next_offset); /* a seek into the middle of the batch */
    if (result == SHMQ_OK)
        return result;
    reader->in_batch = false;
    if (result == SHMQ_E_CORRUPT)
        return shmq_reader_fail_corrupt(reader, what, (uint64_t)(reader->cursor.payload - (uint8_t *)reader->segment.header));
    reader->before = reader->word;
    reader->index++;
    return result;
}

int shmq_reader_next(struct shmq_reader *reader, struct shmq_view *view) {
    for (;;) {
        int result = reader->in_batch ? SHMQ_OK : shmq_reader_enter(reader);
        if (result != SHMQ_OK)
            return result;
        result = step(reader, view);
        if (result != SHMQ_NOTHING)
            return result;
    }
}

/* Were records deleted that this reader has not passed? Only aborted claims between it and start_offset do not matter. */
static int check_start(struct shmq_reader *reader) {
    uint64_t start = shmq_start_offset(reader->partition);
    if (__builtin_expect(reader->next_offset >= start, 1))
        return SHMQ_OK;
    if (!reader->in_batch)
        shmq_reader_enter(reader);
    return reader->next_offset < start ? SHMQ_E_OUT_OF_RANGE : SHMQ_OK;
}

struct fetch {
    struct shmq_reader *reader;
    struct shmq_view *views; /* NULL: pieces are wanted */
    uint32_t most, count;
    uint64_t most_bytes, bytes;
    struct shmq_run *run;
    bool wake;
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
};

static int fetch_views(struct fetch *fetch) {
    struct shmq_reader *reader = fetch->reader;
    int result = SHMQ_OK;
    while (fetch->count < fetch->most && (fetch->count == 0 || fetch->bytes < fetch->most_bytes)) {
        struct shmq_view *view = &fetch->views[fetch->count];
        if ((result = shmq_reader_next(reader, view)) != SHMQ_OK)
            break;
        fetch->bytes += shmq_view_bytes(view);
        reader->next_offset = reader->aborted_from = view->offset + 1;
        fetch->count++;
    }
    return result;
}

static int fetch_guarded(void *argument) {
    struct fetch *fetch = argument;
    struct shmq_reader *reader = fetch->reader;
    if (shmq_partition_is_deleted(reader->partition))
        return SHMQ_E_DELETED;
    int result = check_start(reader);
    if (result != SHMQ_OK)
        return result;
    if (__builtin_expect(fetch->views != NULL, 1))
        result = fetch_views(fetch);
    else
        result = shmq_reader_take_run(reader, fetch->run, &fetch->count);
    if (reader->registration.entry >= 0)
        reader->evicted = shmq_readers_move(reader->partition, &reader->registration, reader->next_offset,
                                            reader->segment.seq, &fetch->wake, fetch->woken) != SHMQ_OK;
    else if (reader->hold.entry >= 0)
        fetch->wake = shmq_reader_carry_hold(reader, fetch->woken);
    return fetch->count ? SHMQ_OK : result;
}

int shmq_reader_follow(struct shmq_reader *reader) {
    bool first = !reader->segment.header;
    uint64_t seq = first ? 0 : reader->segment.seq + 1;
    uint64_t offset = first ? 0 : reader->segment.base_offset + shmq_word_count(reader->before);
    struct shmq_segment next = {0};
    int result = shmq_segment_map_seq(reader->partition, seq, &next, &reader->fail);
    if (result != SHMQ_OK)
        return result;
    uint64_t base_offset = next.base_offset;
    if (base_offset != offset) {
        shmq_segment_path(reader->partition, seq, next.journal.incarnation, reader->fail.path);
        shmq_segment_unmap(&next);
        reader->fail.pos = offsetof(struct shmq_segment_header, base_offset);
        return shmq_fail(&reader->fail, SHMQ_E_CORRUPT, reader->fail.path,
                         "base_offset %" PRIu64 " does not follow the segment before it, which ends at %" PRIu64,
                         base_offset, offset);
    }
    shmq_segment_unmap(&reader->segment);
    reader->segment = next;
    shmq_reader_stand_at(reader, 0, 0);
    return SHMQ_OK;
}

static int fail_deleted(struct shmq_reader *reader) {
    uint64_t begin, end;
    int result = shmq_reader_bounds(reader, &begin, &end);
    reader->fail.limit = begin;
    reader->fail.limit2 = end;
    return result == SHMQ_OK ? SHMQ_E_OUT_OF_RANGE : result;
}

int shmq_reader_pass_by(struct shmq_reader *reader) {
    uint64_t begin, end, retired = reader->segment.header ? reader->segment.seq + 1 : 0;
    int result = shmq_reader_bounds(reader, &begin, &end);
    if (result != SHMQ_OK)
        return result;
    reader->fail.limit = begin;
    reader->fail.limit2 = end;
    if (reader->next_offset < begin || reader->next_offset > end)
        return SHMQ_E_OUT_OF_RANGE;
    result = shmq_reader_seek(reader, reader->next_offset);
    if (result == SHMQ_OK && (!reader->segment.header || reader->segment.seq <= retired))
        result = shmq_fail(&reader->fail, SHMQ_E_CORRUPT, reader->partition->directory,
                           "control: segment %" PRIu64 " is gone, but older ones are not", retired);
    return result;
}

static int fetch_all(struct fetch *fetch, uint32_t *count) {
    struct shmq_reader *reader = fetch->reader;
    fetch->count = 0;
    fetch->bytes = 0;
    fetch->wake = false;
    int result = SHMQ_SEALED;
    do {
        if (reader->segment.header)
            result = shmq_guarded(fetch_guarded, fetch, &reader->fail, reader->partition->directory);
        if (result == SHMQ_E_OUT_OF_RANGE)
            result = fail_deleted(reader);
        if (result != SHMQ_SEALED)
            break;
        result = shmq_reader_follow(reader);
        if (result == SHMQ_E_OUT_OF_RANGE)
            result = shmq_reader_pass_by(reader);
    } while (result == SHMQ_OK);
    if (fetch->wake)
        shmq_doorbell_ring_all(reader->partition->process, fetch->woken);
    if (__builtin_expect(reader->evicted, 0)) {
        int again = shmq_reader_register_anew(reader);
        result = again == SHMQ_OK || fetch->count ? result : again; /* if it failed, the next fetch tries it again */
    }
    *count = fetch->count;
    reader->fail.wanted = reader->next_offset;
    return result;
}

int shmq_reader_fetch(struct shmq_reader *reader, struct shmq_view *views, uint32_t most, uint64_t most_bytes,
                      uint32_t *count) {
    struct fetch fetch; /* member by member: `woken` needs no zeros */
    fetch.reader = reader;
    fetch.views = views;
    fetch.most = most;
    fetch.most_bytes = most_bytes;
    return fetch_all(&fetch, count);
}

int shmq_reader_fetch_run(struct shmq_reader *reader, struct shmq_run *run) {
    struct fetch fetch;
    fetch.reader = reader;
    fetch.views = NULL;
    fetch.run = run;
    return fetch_all(&fetch, &run->pieces);
}

struct news {
    struct shmq_reader *reader;
    bool settled;
};

static int has_news(void *argument) {
    const struct news *call = argument;
    struct shmq_reader *reader = call->reader;
    const struct shmq_journal *journal = &reader->segment.journal;
    uint64_t incarnation;
    if (shmq_partition_is_deleted(reader->partition))
        return SHMQ_OK;
    if (!reader->segment.header)
        return shmq_ring_look(&reader->partition->ring, 0, &incarnation) == SHMQ_SEQ_FUTURE ? SHMQ_NOTHING : SHMQ_OK;
    if (reader->in_batch || reader->index >= journal->length)
        return SHMQ_OK;
    uint64_t word = shmq_load_acquire(&journal->words[reader->index]); /* PAIR publish */
    if (shmq_word_state(word) == SHMQ_SEAL)
        return shmq_ring_look(&reader->partition->ring, reader->segment.seq + 1, &incarnation) == SHMQ_SEQ_FUTURE
                   ? SHMQ_NOTHING
                   : SHMQ_OK;
    bool open = shmq_word_state(word) == SHMQ_EMPTY || word == reader->blocked_word ||
                (call->settled && shmq_word_state(word) == SHMQ_CLAIMED);
    return open ? SHMQ_NOTHING : SHMQ_OK;
}

bool shmq_reader_has_news(struct shmq_reader *reader, bool settled) {
    struct news call = {reader, settled};
    /* An error is news too: the fetch that follows reports it. */
    return shmq_guarded(has_news, &call, &reader->fail, reader->partition->directory) != SHMQ_NOTHING;
}

struct heal {
    struct shmq_reader *reader;
    uint64_t now_ns;
};

static uint64_t patience_ns(struct shmq_reader *reader, uint64_t word) {
    uint32_t start = shmq_word_pos(reader->before), units = shmq_word_pos(word) - start;
    uint8_t attempt; /* not yet written if the claimer was stopped at once: then 0 */
    memcpy(&attempt, reader->segment.data + (uint64_t)start * SHMQ_UNIT_BYTES + offsetof(struct shmq_batch, attempt), 1);
    uint64_t patience = shmq_options_now(reader->partition).claim_timeout_ms * 1000000 +
                        TIMEOUT_NS_PER_MIB * units * SHMQ_UNIT_BYTES / (1u << 20);
    return patience << (attempt < 3 ? attempt : 3);
}

static int heal(void *argument) {
    struct heal *heal = argument;
    struct shmq_reader *reader = heal->reader;
    uint64_t word = reader->blocked_word;
    if (!reader->blocked_since_ns)
        reader->blocked_since_ns = reader->asked_ns = heal->now_ns;
    bool give_up = heal->now_ns - reader->blocked_since_ns > patience_ns(reader, word);
    if (!give_up && heal->now_ns - reader->asked_ns >= ASK_EVERY_NS) {
        reader->asked_ns = heal->now_ns;
        give_up = shmq_owner_life(reader->partition->process, shmq_word_owner(word)) != SHMQ_LIFE_ALIVE;
    }
    if (!give_up)
        return SHMQ_PENDING;
    if (shmq_journal_abort(&reader->segment.journal, reader->index, word) == SHMQ_OK)
        reader->healed++;
    return SHMQ_OK;
}

int shmq_reader_heal(struct shmq_reader *reader) {
    if (!reader->blocked_word)
        return SHMQ_OK;
    struct heal call = {reader, shmq_now_ns()};
    return shmq_guarded(heal, &call, &reader->fail, reader->partition->directory);
}

struct copy {
    void *to;
    const uint8_t *from;
    size_t bytes;
};

static int copy(void *argument) {
    struct copy *call = argument;
    memcpy(call->to, call->from, call->bytes);
    return SHMQ_OK;
}

int shmq_reader_copy(struct shmq_reader *reader, void *to, const uint8_t *from, size_t bytes) {
    struct copy call = {to, from, bytes};
    return shmq_guarded(copy, &call, &reader->fail, reader->partition->directory);
}

