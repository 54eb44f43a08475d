#include "share.h"

#include <string.h>

#include "files.h"
#include "share_parts.h"

static int find_hold(void *argument) {
    struct shmq_share *share = argument;
    shmq_hold_find(share->reader->partition, share->group, &share->reader->hold);
    return SHMQ_OK;
}

int shmq_share_init(struct shmq_share *share, struct shmq_reader *reader, struct shmq_window *window, uint32_t group) {
    memset(share, 0, offsetof(struct shmq_share, back));
    share->reader = reader;
    share->window = window;
    share->group = group;
    share->full_start = SHMQ_NOWHERE;
    shmq_reader_init(&share->back, reader->partition, reader->check_crc);
    shmq_reader_leave_hold(reader);
    return shmq_guarded(find_hold, share, &reader->fail, reader->partition->directory);
}

void shmq_share_close(struct shmq_share *share) {
    shmq_reader_close(&share->back);
}

int shmq_share_beyond(const struct shmq_window *window, uint64_t offset, uint64_t end, struct shmq_fail *fail) {
    fail->pos = offsetof(struct shmq_window_header, start);
    return shmq_fail(fail, SHMQ_E_CORRUPT, window->path, "it goes on at offset %llu, the log ends at %llu",
                     (unsigned long long)offset, (unsigned long long)end);
}

/* ---- Fresh records ---- */

/* The window is full, unless `start` has moved meanwhile: stand before `offset` again. */
static int stop_before(struct shmq_taking *taking, uint64_t offset) {
    struct shmq_share *share = taking->share;
    uint64_t start = shmq_share_advance(share, &taking->wake);
    if (start != taking->start) {
        taking->start = start;
        return SHMQ_OK;
    }
    share->full_start = start;
    share->reader->in_batch = false;
    share->reader->next_offset = share->reader->aborted_from = offset;
    return SHMQ_NOTHING;
}

/* [from, to) has no records. NOTHING: the window ends before. */
static int skip(struct shmq_taking *taking, uint64_t from, uint64_t to) {
    struct shmq_window *window = taking->share->window;
    for (uint64_t offset = from, word; offset < to;) {
        enum shmq_standing standing = shmq_window_look(window, offset, taking->start, &word);
        if (standing == SHMQ_STANDS_BEYOND) {
            shmq_window_pass(window, offset);
            if (stop_before(taking, offset) != SHMQ_OK)
                return SHMQ_NOTHING;
            continue;
        }
        if (standing == SHMQ_STANDS_FRESH)
            shmq_window_skip(window, offset, word);
        offset++;
    }
    return SHMQ_OK;
}

/* The record at the reader's place: taken or stepped over. Else why not. */
static int take_next(struct shmq_taking *taking) {
    struct shmq_share *share = taking->share;
    struct shmq_reader *reader = share->reader;
    struct shmq_view *view = &taking->views[taking->count];
    struct shmq_lease *lease = &taking->leases[taking->count];
    uint64_t begin = reader->next_offset, word;
    while (begin > taking->start && begin - taking->start >= share->window->length) /* others may have passed it meanwhile */
        if (stop_before(taking, begin) != SHMQ_OK)
            return SHMQ_NOTHING;
    int result = shmq_reader_next(reader, view);
    if (skip(taking, begin, result == SHMQ_OK ? view->offset : reader->next_offset) != SHMQ_OK)
        return SHMQ_NOTHING;
    if (result != SHMQ_OK)
        return result;
    uint64_t at = view->offset;
    enum shmq_standing standing;
    while ((standing = shmq_window_look(share->window, at, taking->start, &word)) == SHMQ_STANDS_BEYOND)
        if (stop_before(taking, at) != SHMQ_OK)
            return SHMQ_NOTHING;
    reader->next_offset = reader->aborted_from = at + 1;
    if (standing == SHMQ_STANDS_FRESH &&
        shmq_window_acquire(share->window, at, word, shmq_share_name(share), taking->deadline_ms, lease) == SHMQ_OK)
        shmq_taking_add(taking, view);
    return SHMQ_OK;
}

static int take_fresh(struct shmq_taking *taking) {
    struct shmq_share *share = taking->share;
    struct shmq_reader *reader = share->reader;
    uint64_t fresh = shmq_window_fresh(share->window);
    if (reader->next_offset != fresh && shmq_reader_stand_within(reader, fresh) != SHMQ_OK)
        return SHMQ_LOST;
    if (!taking->deadline_ms && share->lock_ms)
        taking->deadline_ms = shmq_later_ms(shmq_now_ms(), share->lock_ms);
    int result = SHMQ_OK;
    share->full_start = SHMQ_NOWHERE;
    while (result == SHMQ_OK && shmq_taking_has_room(taking))
        result = take_next(taking);
    shmq_window_pass(share->window, reader->next_offset);
    if (share->window->max_items && taking->count)
        shmq_share_wake_producers(share, &taking->wake);
    return taking->count ? SHMQ_OK : result;
}

/* Read what lies next without a gap, from `*first` on, which aborted claims may precede; take nothing yet. Why it ended there. */
static int read_run(struct shmq_taking *taking, uint64_t *first) {
    struct shmq_reader *reader = taking->share->reader;
    int result = SHMQ_OK;
    for (taking->count = 0, taking->bytes = 0; shmq_taking_has_room(taking);) {
        struct shmq_view *view = &taking->views[taking->count];
        result = shmq_reader_next(reader, view);
        uint64_t at = result == SHMQ_OK ? view->offset : reader->next_offset;
        if (taking->count && (result != SHMQ_OK || at != *first + taking->count)) {
            reader->in_batch = false; /* aborted claims lie in between: for the next time */
            break;
        }
        if (!taking->count)
            *first = at;
        if (result != SHMQ_OK)
            break;
        reader->next_offset = reader->aborted_from = at + 1;
        shmq_taking_add(taking, view);
    }
    return result;
}

/* Kind cursor: what lies next is read, and then taken by one CAS. */
static int take_at_cursor(struct shmq_taking *taking) {
    struct shmq_share *share = taking->share;
    struct shmq_reader *reader = share->reader;
    for (;;) {
        uint64_t start = shmq_window_start(share->window), deleted_before = shmq_start_offset(reader->partition);
        shmq_share_move_hold(share, start, &taking->wake);
        if (start < deleted_before) {
            shmq_window_leap(share->window, start, deleted_before);
            continue;
        }
        if (reader->next_offset != start && shmq_reader_stand_within(reader, start) != SHMQ_OK)
            return SHMQ_LOST;
        uint64_t first = SHMQ_NOWHERE;
        int result = read_run(taking, &first);
        uint64_t until = first + taking->count;
        if (until == start)
            return result;
        if ((first != start && shmq_window_leap(share->window, start, first) != SHMQ_OK) ||
            (taking->count && shmq_window_take(share->window, first, taking->count) != SHMQ_OK))
            continue; /* others were faster */
        shmq_share_move_hold(share, until, &taking->wake);
        if (share->window->max_items)
            shmq_share_wake_producers(share, &taking->wake);
        if (taking->count) {
            for (uint32_t index = 0; index < taking->count; index++)
                taking->leases[index] = (struct shmq_lease){first + index, 0};
            return SHMQ_OK;
        }
    }
}

static int find_fresh(void *argument) {
    struct shmq_taking *taking = argument;
    if (shmq_partition_is_deleted(taking->share->reader->partition))
        return SHMQ_E_DELETED;
    return taking->share->window->kind == SHMQ_WINDOW_CURSOR ? take_at_cursor(taking) : take_fresh(taking);
}

struct raise {
    struct shmq_taking *taking;
    uint64_t begin;
};

/* Retention has passed the window's start by: what is gone counts as skipped. */
static int raise_start(void *argument) {
    struct raise *raise = argument;
    struct shmq_window *window = raise->taking->share->window;
    if (window->kind == SHMQ_WINDOW_RECORDS)
        raise->begin = shmq_window_advance(window, raise->begin);
    else
        for (uint64_t start; (start = shmq_window_start(window)) < raise->begin;)
            shmq_window_leap(window, start, raise->begin);
    shmq_share_move_hold(raise->taking->share, shmq_window_start(window), &raise->taking->wake);
    raise->begin = shmq_window_taken(window);
    return SHMQ_OK;
}

static int place(void *argument) {
    struct raise *raise = argument;
    raise->begin = shmq_window_taken(raise->taking->share->window);
    return SHMQ_OK;
}

/* The reader stands where no segment is, or in another than the window's fresh records: go there. */
static int go_there(struct shmq_taking *taking) {
    struct shmq_share *share = taking->share;
    struct raise raise = {.taking = taking};
    int result = shmq_guarded(place, &raise, &share->reader->fail, share->window->path);
    if (result == SHMQ_OK)
        result = shmq_reader_seek(share->reader, raise.begin);
    while (result == SHMQ_E_OUT_OF_RANGE && share->reader->fail.limit > raise.begin) {
        raise.begin = share->reader->fail.limit;
        result = shmq_guarded(raise_start, &raise, &share->reader->fail, share->window->path);
        if (result == SHMQ_OK)
            result = shmq_reader_seek(share->reader, raise.begin);
    }
    struct shmq_fail *fail = &share->reader->fail;
    return result == SHMQ_E_OUT_OF_RANGE ? shmq_share_beyond(share->window, raise.begin, fail->limit2, fail) : result;
}

/* Others may be far ahead. */
static int fetch_fresh(struct shmq_taking *taking) {
    struct shmq_reader *reader = taking->share->reader;
    int result;
    do {
        bool first = !reader->segment.header;
        uint64_t next = first ? 0 : reader->segment.seq + 1;
        result = first ? SHMQ_SEALED : shmq_taking_guarded(taking, find_fresh);
        if (result == SHMQ_SEALED)
            result = shmq_reader_follow(reader);
        bool retired = result == SHMQ_E_OUT_OF_RANGE;
        if (result == SHMQ_LOST || retired || (result == SHMQ_OK && first))
            result = go_there(taking);
        if (result == SHMQ_OK && retired && (!reader->segment.header || reader->segment.seq <= next))
            result = shmq_fail(&reader->fail, SHMQ_E_CORRUPT, reader->partition->directory,
                               "control: segment %llu is gone, but older ones are not", (unsigned long long)next);
    } while (result == SHMQ_OK && !taking->count);
    return result;
}

int shmq_share_fetch(struct shmq_share *share, struct shmq_view *views, struct shmq_lease *leases, uint32_t most,
                     uint64_t most_bytes, uint32_t *count) {
    struct shmq_taking taking; /* member by member: `wake` needs few zeros */
    taking.share = share;
    taking.views = views;
    taking.leases = leases;
    taking.most = most;
    taking.most_bytes = most_bytes;
    taking.count = 0;
    taking.bytes = taking.start = taking.deadline_ms = 0;
    taking.wake.producers = taking.wake.readers = false;
    int result = shmq_taking_back(&taking);
    if (result == SHMQ_NOTHING)
        result = fetch_fresh(&taking);
    shmq_share_ring(share, &taking.wake);
    *count = taking.count;
    return taking.count ? SHMQ_OK : result;
}
