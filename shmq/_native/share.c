#include "share.h"

#include <string.h>

#include "doorbell.h"
#include "files.h"
#include "guard.h"
#include "retention.h"
#include "waiters.h"

/* Somebody looks this often for records whose holder has died or whose time is up. */
#define WATCH_EVERY_MS 5

#define NOWHERE UINT64_MAX

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
    share->full_start = NOWHERE;
    shmq_reader_init(&share->back, reader->partition, reader->check_crc);
    shmq_reader_leave_hold(reader);
    return shmq_guarded(find_hold, share, &reader->fail, reader->partition->directory);
}

void shmq_share_close(struct shmq_share *share) {
    shmq_reader_close(&share->back);
}

static uint64_t now_ms(void) {
    return shmq_now_ns() / 1000000;
}

/* So long from `now` on, or for ever. */
static uint64_t later(uint64_t now, uint64_t ms) {
    return ms < UINT64_MAX - now ? now + ms : UINT64_MAX;
}

static uint32_t own_name(const struct shmq_share *share) {
    const struct shmq_process *process = share->reader->partition->process;
    return shmq_holder(process->slot, process->epoch);
}

struct wake {
    bool producers, readers;
    uint64_t producer_bits[SHMQ_MAX_SLOTS / 64], reader_bits[SHMQ_MAX_SLOTS / 64];
};

static void ring(struct shmq_share *share, const struct wake *wake) {
    if (wake->producers)
        shmq_doorbell_ring_all(share->reader->partition->process, wake->producer_bits);
    if (wake->readers)
        shmq_doorbell_ring_all(share->reader->partition->process, wake->reader_bits);
}

static void add_bits(bool *wake, uint64_t *bits, const uint64_t *woken) {
    for (uint32_t index = 0; index < SHMQ_MAX_SLOTS / 64; index++)
        bits[index] = (*wake ? bits[index] : 0) | woken[index];
    *wake = true;
}

/* May be called more than once before ring(): whose bit was taken before is not forgotten. */
static void wake_all(struct shmq_bitmap *waiters, bool *wake, uint64_t *bits) {
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    if (shmq_waiters_wake(waiters, woken))
        add_bits(wake, bits, woken);
}

static void wake_producers(struct shmq_share *share, struct wake *wake) {
    wake_all(&share->reader->partition->ring.control->producers_waiting, &wake->producers, wake->producer_bits);
}

static void wake_readers(struct shmq_share *share, struct wake *wake) {
    wake_all(&share->reader->partition->ring.control->readers_waiting, &wake->readers, wake->reader_bits);
}

/* Q3. By all who come by: who let `start` go on may have died before this. */
static void move_hold(struct shmq_share *share, uint64_t start, struct wake *wake) {
    struct shmq_partition *partition = share->reader->partition;
    struct shmq_hold *hold = &share->reader->hold;
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    bool woke;
    while (hold->entry >= 0 && hold->offset < start) {
        if (shmq_hold_move(partition, hold, start, &woke, woken) == SHMQ_OK)
            hold->offset = start;
        else
            shmq_hold_find(partition, share->group, hold); /* it was set anew, or is gone */
        if (woke)
            add_bits(&wake->producers, wake->producer_bits, woken);
    }
}

/* Let `start` go on, and who waited for that. */
static uint64_t advance(struct shmq_share *share, struct wake *wake) {
    struct shmq_window *window = share->window;
    uint64_t before = shmq_window_start(window);
    uint64_t start = shmq_window_advance(window, shmq_start_offset(share->reader->partition));
    move_hold(share, start, wake);
    if (start != before && shmq_window_fresh(window) - before >= window->length) /* it was full */
        wake_readers(share, wake);
    return start;
}

/* ---- Records that were given back ---- */

/* To be taken. A record before `fresh` is not fresh (K5), unless the file is damaged: then it is not lost. */
static bool is_ready(enum shmq_standing standing, uint64_t word) {
    return standing == SHMQ_STANDS_FRESH || (standing == SHMQ_STANDS_BACK && shmq_taken_state(word) == SHMQ_READY);
}

/* K2: give back what dead and late holders have, and what was delayed until now. Does anything lie there to be taken? Also
 * what nobody else was told of: who gave it back may have died before it counted that. */
static bool watch(struct shmq_share *share, uint64_t start, uint64_t fresh, uint64_t now) {
    const struct shmq_process *process = share->reader->partition->process;
    uint32_t asked = UINT32_MAX; /* mostly one holder has many in a row */
    bool dead = false, found = false;
    for (uint64_t offset = start; offset < fresh; offset++) {
        uint64_t word;
        enum shmq_standing standing = shmq_window_look(share->window, offset, start, &word);
        if (standing == SHMQ_STANDS_HELD && shmq_taken_holder(word) != asked) {
            asked = shmq_taken_holder(word);
            dead = shmq_holder_life(process, asked) != SHMQ_LIFE_ALIVE;
        }
        bool held = standing == SHMQ_STANDS_HELD;
        found |= is_ready(standing, word);
        if (!held && (standing != SHMQ_STANDS_BACK || shmq_taken_state(word) != SHMQ_DELAYED))
            continue;
        if (((held && dead) || shmq_window_due_ms(share->window, offset, word, now, share->lock_ms) <= now) &&
            shmq_window_give_back(share->window, offset, word) == SHMQ_OK) {
            share->given_back += held;
            found = true;
        }
    }
    return found;
}

/* Take the next record that was given back and lies in [from, to). NOTHING. */
static int take_back(struct shmq_share *share, uint64_t from, uint64_t to, uint64_t deadline_ms, struct shmq_lease *lease) {
    uint64_t start = shmq_window_start(share->window);
    for (uint64_t offset = from > start ? from : start; offset < to; offset++) {
        uint64_t word;
        enum shmq_standing standing = shmq_window_look(share->window, offset, start, &word);
        if (is_ready(standing, word) &&
            shmq_window_acquire(share->window, offset, word, own_name(share), deadline_ms, lease) == SHMQ_OK) {
            share->look_from = offset + 1;
            return SHMQ_OK;
        }
    }
    return SHMQ_NOTHING;
}

struct fetch {
    struct shmq_share *share;
    struct shmq_view *views;
    struct shmq_lease *leases;
    uint32_t most, count;
    uint64_t most_bytes, bytes;
    uint64_t start, deadline_ms;
    struct wake wake;
};

static bool has_room(const struct fetch *fetch) {
    return fetch->count < fetch->most && (fetch->count == 0 || fetch->bytes < fetch->most_bytes);
}

static void add(struct fetch *fetch, const struct shmq_view *view) {
    fetch->bytes += (uint64_t)(view->key_bytes > 0 ? view->key_bytes : 0) +
                    (uint64_t)(view->value_bytes > 0 ? view->value_bytes : 0) + view->headers_bytes;
    fetch->count++;
}

/* NOTHING: no record was given back. OK: leases[0] is one; where it lies, is for deliver_back(). */
static int find_back(void *argument) {
    struct fetch *fetch = argument;
    struct shmq_share *share = fetch->share;
    struct shmq_window *window = share->window;
    if (shmq_partition_is_deleted(share->reader->partition))
        return SHMQ_E_DELETED;
    if (window->kind == SHMQ_WINDOW_CURSOR)
        return SHMQ_NOTHING;
    /* First: what was given back until then lies before `fresh`. */
    uint64_t returned = shmq_window_returned(window);
    fetch->start = advance(share, &fetch->wake);
    if (share->only_fresh)
        return SHMQ_NOTHING;
    uint64_t fresh = shmq_window_fresh(window), from = share->look_from;
    bool news = returned != share->seen_returned;
    share->seen_returned = returned;
    share->look_from = 0;
    if (fetch->start == fresh)
        return SHMQ_NOTHING;
    uint64_t now = now_ms();
    fetch->deadline_ms = share->lock_ms ? later(now, share->lock_ms) : 0;
    if (shmq_window_watch(window, now, WATCH_EVERY_MS))
        news |= watch(share, fetch->start, fresh, now);
    return news || from ? take_back(share, news ? 0 : from, fresh, fetch->deadline_ms, &fetch->leases[0]) : SHMQ_NOTHING;
}

/* More of the same segment. */
static int find_more_back(void *argument) {
    struct fetch *fetch = argument;
    struct shmq_share *share = fetch->share;
    struct shmq_reader *back = &share->back;
    uint32_t end = shmq_journal_end(&back->segment.journal);
    uint64_t end_offset = back->segment.base_offset + shmq_word_count(shmq_journal_before(&back->segment.journal, end));
    uint64_t fresh = shmq_window_fresh(share->window);
    while (!share->alone && has_room(fetch) && share->look_from) {
        struct shmq_lease *lease = &fetch->leases[fetch->count];
        struct shmq_view *view = &fetch->views[fetch->count];
        int result = take_back(share, share->look_from, end_offset < fresh ? end_offset : fresh, fetch->deadline_ms, lease);
        if (result != SHMQ_OK)
            return result;
        if (shmq_reader_stand_within(back, lease->offset) != SHMQ_OK || shmq_reader_next(back, view) != SHMQ_OK ||
            view->offset != lease->offset)
            return shmq_window_release(share->window, lease, 0); /* it lies elsewhere, or is damaged: alone, it is told */
        back->next_offset = view->offset + 1;
        add(fetch, view);
    }
    return SHMQ_OK;
}

static int settle_lost(void *argument) {
    struct fetch *fetch = argument;
    shmq_window_settle(fetch->share->window, &fetch->leases[0], SHMQ_SKIPPED);
    advance(fetch->share, &fetch->wake);
    return SHMQ_OK;
}

static int release_first(void *argument) {
    struct fetch *fetch = argument;
    return shmq_window_release(fetch->share->window, &fetch->leases[0], 0);
}

static int under_guard(struct fetch *fetch, int (*what)(void *)) {
    struct shmq_share *share = fetch->share;
    return shmq_guarded(what, fetch, &share->reader->fail, share->window->path);
}

int shmq_share_beyond(const struct shmq_window *window, uint64_t offset, uint64_t end, struct shmq_fail *fail) {
    fail->pos = offsetof(struct shmq_window_header, start);
    return shmq_fail(fail, SHMQ_E_CORRUPT, window->path, "it goes on at offset %llu, the log ends at %llu",
                     (unsigned long long)offset, (unsigned long long)end);
}

/* leases[0] was taken: get its record, and more. LOST: it was deleted meanwhile; look again. */
static int deliver_back(struct fetch *fetch) {
    struct shmq_share *share = fetch->share;
    struct shmq_fail *fail = &share->back.fail;
    uint64_t offset = fetch->leases[0].offset, begin, end;
    uint32_t count = 0;
    int result = shmq_reader_seek(&share->back, offset);
    if (result == SHMQ_OK)
        result = shmq_reader_fetch(&share->back, fetch->views, 1, UINT64_MAX, &count);
    bool gone = result == SHMQ_E_OUT_OF_RANGE ? offset < fail->limit : count && fetch->views[0].offset != offset;
    if (gone) {
        result = under_guard(fetch, settle_lost);
        return result == SHMQ_OK ? SHMQ_LOST : result;
    }
    if (result == SHMQ_E_OUT_OF_RANGE || result > SHMQ_OK) { /* there is no such record, or not yet */
        result = shmq_reader_bounds(&share->back, &begin, &end);
        result = result == SHMQ_OK ? shmq_share_beyond(share->window, offset, end, fail) : result;
    }
    if (result != SHMQ_OK) {
        share->reader->fail = *fail;
        struct shmq_fail ignored; /* what failed first is told */
        shmq_guarded(release_first, fetch, &ignored, share->window->path);
        return result;
    }
    add(fetch, &fetch->views[0]);
    return under_guard(fetch, find_more_back) < 0 ? SHMQ_E_STORAGE : SHMQ_OK;
}

/* ---- Fresh records ---- */

/* The window is full, unless `start` has moved meanwhile: stand before `offset` again. */
static int stop_before(struct fetch *fetch, uint64_t offset) {
    struct shmq_share *share = fetch->share;
    uint64_t start = advance(share, &fetch->wake);
    if (start != fetch->start) {
        fetch->start = start;
        return SHMQ_OK;
    }
    share->full_start = start;
    share->reader->in_batch = false;
    share->reader->next_offset = share->reader->aborted_from = offset;
    return SHMQ_NOTHING;
}

/* [from, to) has no records. NOTHING: the window ends before. */
static int skip(struct fetch *fetch, uint64_t from, uint64_t to) {
    struct shmq_window *window = fetch->share->window;
    for (uint64_t offset = from, word; offset < to;) {
        enum shmq_standing standing = shmq_window_look(window, offset, fetch->start, &word);
        if (standing == SHMQ_STANDS_BEYOND) {
            shmq_window_pass(window, offset);
            if (stop_before(fetch, offset) != SHMQ_OK)
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
static int take_next(struct fetch *fetch) {
    struct shmq_share *share = fetch->share;
    struct shmq_reader *reader = share->reader;
    struct shmq_view *view = &fetch->views[fetch->count];
    struct shmq_lease *lease = &fetch->leases[fetch->count];
    uint64_t begin = reader->next_offset, word;
    while (begin > fetch->start && begin - fetch->start >= share->window->length) /* others may have passed it meanwhile */
        if (stop_before(fetch, begin) != SHMQ_OK)
            return SHMQ_NOTHING;
    int result = shmq_reader_next(reader, view);
    if (skip(fetch, begin, result == SHMQ_OK ? view->offset : reader->next_offset) != SHMQ_OK)
        return SHMQ_NOTHING;
    if (result != SHMQ_OK)
        return result;
    uint64_t at = view->offset;
    enum shmq_standing standing;
    while ((standing = shmq_window_look(share->window, at, fetch->start, &word)) == SHMQ_STANDS_BEYOND)
        if (stop_before(fetch, at) != SHMQ_OK)
            return SHMQ_NOTHING;
    reader->next_offset = reader->aborted_from = at + 1;
    if (standing == SHMQ_STANDS_FRESH &&
        shmq_window_acquire(share->window, at, word, own_name(share), fetch->deadline_ms, lease) == SHMQ_OK)
        add(fetch, view);
    return SHMQ_OK;
}

static int take_fresh(struct fetch *fetch) {
    struct shmq_share *share = fetch->share;
    struct shmq_reader *reader = share->reader;
    uint64_t fresh = shmq_window_fresh(share->window);
    if (reader->next_offset != fresh && shmq_reader_stand_within(reader, fresh) != SHMQ_OK)
        return SHMQ_LOST;
    if (!fetch->deadline_ms && share->lock_ms)
        fetch->deadline_ms = later(now_ms(), share->lock_ms);
    int result = SHMQ_OK;
    share->full_start = NOWHERE;
    while (result == SHMQ_OK && has_room(fetch))
        result = take_next(fetch);
    shmq_window_pass(share->window, reader->next_offset);
    if (share->window->max_items && fetch->count)
        wake_producers(share, &fetch->wake);
    return fetch->count ? SHMQ_OK : result;
}

/* Kind cursor: what lies next is read, and then taken by one CAS. */
static int take_at_cursor(struct fetch *fetch) {
    struct shmq_share *share = fetch->share;
    struct shmq_reader *reader = share->reader;
    for (;;) {
        uint64_t start = shmq_window_start(share->window), deleted_before = shmq_start_offset(reader->partition);
        move_hold(share, start, &fetch->wake);
        if (start < deleted_before) {
            shmq_window_leap(share->window, start, deleted_before);
            continue;
        }
        move_hold(share, start, &fetch->wake);
        if (reader->next_offset != start && shmq_reader_stand_within(reader, start) != SHMQ_OK)
            return SHMQ_LOST;
        int result = SHMQ_OK;
        uint64_t first = NOWHERE;
        for (fetch->count = 0, fetch->bytes = 0; has_room(fetch);) {
            struct shmq_view *view = &fetch->views[fetch->count];
            result = shmq_reader_next(reader, view);
            uint64_t at = result == SHMQ_OK ? view->offset : reader->next_offset;
            if (fetch->count && (result != SHMQ_OK || at != first + fetch->count)) {
                reader->in_batch = false; /* aborted claims lie in between: for the next time */
                break;
            }
            if (!fetch->count)
                first = at;
            if (result != SHMQ_OK)
                break;
            reader->next_offset = reader->aborted_from = at + 1;
            add(fetch, view);
        }
        uint64_t until = first + fetch->count;
        if (until == start)
            return result;
        if ((first != start && shmq_window_leap(share->window, start, first) != SHMQ_OK) ||
            (fetch->count && shmq_window_take(share->window, first, fetch->count) != SHMQ_OK))
            continue; /* others were faster */
        move_hold(share, until, &fetch->wake);
        if (share->window->max_items)
            wake_producers(share, &fetch->wake);
        if (fetch->count) {
            for (uint32_t index = 0; index < fetch->count; index++)
                fetch->leases[index] = (struct shmq_lease){first + index, 0};
            return SHMQ_OK;
        }
    }
}

static int find_fresh(void *argument) {
    struct fetch *fetch = argument;
    if (shmq_partition_is_deleted(fetch->share->reader->partition))
        return SHMQ_E_DELETED;
    return fetch->share->window->kind == SHMQ_WINDOW_CURSOR ? take_at_cursor(fetch) : take_fresh(fetch);
}

struct raise {
    struct fetch *fetch;
    uint64_t begin;
};

/* Retention has passed the window's start by: what is gone counts as skipped. */
static int raise_start(void *argument) {
    struct raise *raise = argument;
    struct shmq_window *window = raise->fetch->share->window;
    if (window->kind == SHMQ_WINDOW_RECORDS)
        raise->begin = shmq_window_advance(window, raise->begin);
    else
        for (uint64_t start; (start = shmq_window_start(window)) < raise->begin;)
            shmq_window_leap(window, start, raise->begin);
    move_hold(raise->fetch->share, shmq_window_start(window), &raise->fetch->wake);
    raise->begin = shmq_window_taken(window);
    return SHMQ_OK;
}

static int place(void *argument) {
    struct raise *raise = argument;
    raise->begin = shmq_window_taken(raise->fetch->share->window);
    return SHMQ_OK;
}

/* The reader stands where no segment is, or in another than the window's fresh records: go there. */
static int go_there(struct fetch *fetch) {
    struct shmq_share *share = fetch->share;
    struct raise raise = {.fetch = fetch};
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
static int fetch_fresh(struct fetch *fetch) {
    struct shmq_reader *reader = fetch->share->reader;
    int result;
    do {
        bool first = !reader->segment.header;
        uint64_t next = first ? 0 : reader->segment.seq + 1;
        result = first ? SHMQ_SEALED : under_guard(fetch, find_fresh);
        if (result == SHMQ_SEALED)
            result = shmq_reader_follow(reader);
        bool retired = result == SHMQ_E_OUT_OF_RANGE;
        if (result == SHMQ_LOST || retired || (result == SHMQ_OK && first))
            result = go_there(fetch);
        if (result == SHMQ_OK && retired && (!reader->segment.header || reader->segment.seq <= next))
            result = shmq_fail(&reader->fail, SHMQ_E_CORRUPT, reader->partition->directory,
                               "control: segment %llu is gone, but older ones are not", (unsigned long long)next);
    } while (result == SHMQ_OK && !fetch->count);
    return result;
}

int shmq_share_fetch(struct shmq_share *share, struct shmq_view *views, struct shmq_lease *leases, uint32_t most,
                     uint64_t most_bytes, uint32_t *count) {
    struct fetch fetch; /* member by member: `wake` needs few zeros */
    fetch.share = share;
    fetch.views = views;
    fetch.leases = leases;
    fetch.most = most;
    fetch.most_bytes = most_bytes;
    fetch.count = 0;
    fetch.bytes = fetch.start = fetch.deadline_ms = 0;
    fetch.wake.producers = fetch.wake.readers = false;
    int result;
    do {
        result = under_guard(&fetch, find_back);
        if (result == SHMQ_OK)
            result = deliver_back(&fetch);
    } while (result == SHMQ_LOST);
    if (result == SHMQ_NOTHING)
        result = fetch_fresh(&fetch);
    ring(share, &fetch.wake);
    *count = fetch.count;
    return fetch.count ? SHMQ_OK : result;
}

/* ---- News ---- */

static int has_news(void *argument) {
    const struct shmq_share *share = argument;
    const struct shmq_window *window = share->window;
    if (shmq_window_returned(window) != share->seen_returned || share->look_from)
        return SHMQ_OK;
    return share->full_start != NOWHERE && share->full_start == shmq_window_start(window) ? SHMQ_NOTHING : SHMQ_PENDING;
}

bool shmq_share_has_news(struct shmq_share *share, bool settled) {
    int result = SHMQ_PENDING;
    if (share->window->kind == SHMQ_WINDOW_RECORDS)
        result = shmq_guarded(has_news, share, &share->reader->fail, share->window->path);
    return result == SHMQ_PENDING ? shmq_reader_has_news(share->reader, settled) : result != SHMQ_NOTHING;
}

static int is_watching(void *argument) {
    const struct shmq_share *share = argument;
    return shmq_window_start(share->window) < shmq_window_fresh(share->window) ? SHMQ_OK : SHMQ_NOTHING;
}

bool shmq_share_is_watching(struct shmq_share *share) {
    return share->window->kind == SHMQ_WINDOW_RECORDS &&
           shmq_guarded(is_watching, share, &share->reader->fail, share->window->path) == SHMQ_OK;
}

/* ---- Acknowledging ---- */

struct acknowledge {
    struct shmq_share *share;
    struct shmq_lease lease;
    enum shmq_acknowledge what;
    uint64_t delay_ms;
    struct wake wake;
};

static int acknowledge(void *argument) {
    struct acknowledge *call = argument;
    struct shmq_share *share = call->share;
    struct shmq_window *window = share->window;
    int result;
    switch (call->what) {
    case SHMQ_RENEW:
        return shmq_window_renew(window, &call->lease, share->lock_ms ? later(now_ms(), share->lock_ms) : UINT64_MAX);
    case SHMQ_RELEASE:
        result = shmq_window_release(window, &call->lease, call->delay_ms ? later(now_ms(), call->delay_ms) : 0);
        if (result == SHMQ_OK)
            wake_readers(share, &call->wake);
        return result;
    default:
        result = shmq_window_settle(window, &call->lease, call->what == SHMQ_ACCEPT ? SHMQ_ACCEPTED : SHMQ_REJECTED);
        if (result == SHMQ_OK)
            advance(share, &call->wake);
        return result;
    }
}

int shmq_share_acknowledge(struct shmq_share *share, uint64_t offset, uint32_t deliveries, enum shmq_acknowledge what,
                           uint64_t delay_ms) {
    if (share->window->kind == SHMQ_WINDOW_CURSOR)
        return SHMQ_OK; /* it was settled when it was taken, and has no word */
    uint64_t lap = offset >> share->window->lap_shift;
    struct acknowledge call; /* member by member: `wake` needs few zeros */
    call.share = share;
    call.lease = (struct shmq_lease){offset, shmq_taken_word(SHMQ_ACQUIRED, deliveries, own_name(share), lap)};
    call.what = what;
    call.delay_ms = delay_ms;
    call.wake.producers = call.wake.readers = false;
    int result = shmq_guarded(acknowledge, &call, &share->reader->fail, share->window->path);
    ring(share, &call.wake);
    if (result != SHMQ_LOST)
        return result;
    /* Perhaps since this process was taken for dead: then what it takes from now on would not be its own either. */
    int renewed = shmq_process_renew(share->reader->partition->process, &share->reader->fail);
    return renewed == SHMQ_OK ? result : renewed;
}
