/* Counting what lies in a window, for users who ask and for producers who find it full. */
#include "files.h"
#include "guard.h"
#include "share.h"

struct walk {
    struct shmq_reader *reader;
    const struct shmq_window *window;
    bool give_up_dead;
    uint64_t from;                     /* where it begins; where the log begins later, there */
    uint64_t committed, aborted, gone; /* records; the last were deleted, or retired while we walked */
};

static uint64_t records_of(const struct walk *walk, const struct shmq_entry *entry) {
    uint64_t first = walk->reader->segment.base_offset + entry->first_count;
    uint64_t end = walk->reader->segment.base_offset + entry->end_count;
    return end - (first > walk->reader->next_offset ? first : walk->reader->next_offset);
}

static bool give_up(const struct walk *walk, const struct shmq_entry *entry) {
    struct shmq_reader *reader = walk->reader;
    return walk->give_up_dead &&
           shmq_owner_life(reader->partition->process, shmq_word_owner(entry->word)) != SHMQ_LIFE_ALIVE &&
           shmq_journal_abort(&reader->segment.journal, reader->index, entry->word) == SHMQ_OK;
}

/* To the end of the mapped segment. */
static int walk_segment(void *argument) {
    struct walk *walk = argument;
    struct shmq_reader *reader = walk->reader;
    for (;;) {
        struct shmq_entry entry;
        int result = shmq_journal_read(&reader->segment.journal, reader->index, reader->before, &entry);
        if (result == SHMQ_E_CORRUPT) {
            reader->fail.pos = SHMQ_PAGE_BYTES + 8 * (uint64_t)reader->index;
            return shmq_fail(&reader->fail, result, reader->partition->directory,
                             "a journal word of segment %llu breaks the format",
                             (unsigned long long)reader->segment.seq);
        }
        if (result != SHMQ_OK && result != SHMQ_LOST && result != SHMQ_PENDING)
            return result;
        walk->committed += result == SHMQ_OK ? records_of(walk, &entry) : 0;
        if (result == SHMQ_LOST || (result == SHMQ_PENDING && give_up(walk, &entry)))
            walk->aborted += records_of(walk, &entry);
        reader->before = entry.word;
        reader->index++;
    }
}

/* Stand at `offset`, or where the log begins. */
static int stand(struct walk *walk, uint64_t *offset) {
    struct shmq_reader *reader = walk->reader;
    int result = shmq_reader_seek(reader, *offset);
    while (result == SHMQ_E_OUT_OF_RANGE && reader->fail.limit > *offset) {
        walk->gone += reader->fail.limit - *offset;
        *offset = reader->fail.limit;
        result = shmq_reader_seek(reader, *offset);
    }
    if (result != SHMQ_E_OUT_OF_RANGE)
        return result;
    return shmq_share_beyond(walk->window, *offset, reader->fail.limit2, &reader->fail);
}

static int go_on(struct walk *walk) {
    struct shmq_reader *reader = walk->reader;
    int result = shmq_reader_follow(reader);
    if (result != SHMQ_E_OUT_OF_RANGE)
        return result;
    reader->next_offset = reader->segment.header ? reader->segment.base_offset + shmq_word_count(reader->before) : 0;
    uint64_t offset = reader->next_offset;
    result = shmq_reader_pass_by(reader);
    return result == SHMQ_E_OUT_OF_RANGE ? stand(walk, &offset) : result;
}

/* All records from walk->from on. */
static int walk_all(struct walk *walk) {
    struct shmq_reader *reader = walk->reader;
    int result = stand(walk, &walk->from);
    while (result == SHMQ_OK || result == SHMQ_SEALED) {
        result = reader->segment.header
                     ? shmq_guarded(walk_segment, walk, &reader->fail, reader->partition->directory)
                     : SHMQ_SEALED;
        if (result == SHMQ_SEALED)
            result = go_on(walk);
    }
    return result == SHMQ_NOTHING ? SHMQ_OK : result;
}

struct count {
    const struct shmq_window *window;
    struct shmq_counts *counts;
    uint64_t start, deleted_before;
};

static int take_census(void *argument) {
    struct count *count = argument;
    struct shmq_tallies *census = &count->counts->census;
    if (count->window->kind == SHMQ_WINDOW_RECORDS) {
        shmq_window_advance(count->window, count->deleted_before);
        shmq_window_census(count->window, shmq_now_ms(), census);
    } else {
        shmq_window_cursor_census(count->window, census);
    }
    return SHMQ_OK;
}

static int find_start(void *argument) {
    struct count *count = argument;
    count->start = shmq_window_start(count->window);
    return SHMQ_OK;
}

static int find_taken(void *argument) {
    struct count *count = argument;
    count->start = shmq_window_taken(count->window);
    return SHMQ_OK;
}

/* While others work, what they did between the two looks may be missed: then once more, but not for ever. */
#define COUNT_TRIES 3

int shmq_share_count(struct shmq_share *share, struct shmq_counts *counts) {
    struct shmq_reader reader;
    struct count count = {.window = share->window, .counts = counts};
    const char *path = share->window->path;
    int result = SHMQ_LOST;
    shmq_reader_init(&reader, share->reader->partition, false);
    for (uint32_t tries = 0; result == SHMQ_LOST && tries < COUNT_TRIES; tries++) {
        struct walk walk = {.reader = &reader, .window = share->window};
        result = shmq_guarded(find_start, &count, &reader.fail, path);
        walk.from = count.start;
        if (result == SHMQ_OK)
            result = walk_all(&walk);
        count.deleted_before = walk.from;
        if (result == SHMQ_OK)
            result = shmq_guarded(take_census, &count, &reader.fail, path);
        if (result != SHMQ_OK)
            break;
        const struct shmq_tallies *census = &counts->census;
        uint64_t taken = census->held + census->delayed + census->settled - census->settled_skipped;
        counts->ready = walk.committed > taken ? walk.committed - taken : 0;
        if (census->start != count.start)
            result = SHMQ_LOST;
    }
    if (result < 0)
        share->reader->fail = reader.fail;
    shmq_reader_close(&reader);
    return result == SHMQ_LOST ? SHMQ_OK : result;
}

int shmq_window_limit(const struct shmq_window *window, struct shmq_partition *partition, uint64_t *limit,
                      struct shmq_fail *fail) {
    struct shmq_reader reader;
    struct walk walk = {.reader = &reader, .window = window, .give_up_dead = true};
    struct count count = {.window = window};
    shmq_reader_init(&reader, partition, false);
    int result = shmq_guarded(find_taken, &count, &reader.fail, window->path);
    walk.from = count.start;
    if (result == SHMQ_OK)
        result = walk_all(&walk);
    *limit = count.start + window->max_items + walk.aborted + walk.gone;
    if (result < 0)
        *fail = reader.fail;
    shmq_reader_close(&reader);
    return result;
}
