/* Records that were given back: by their holders, or because these died or were late (Q2, Q4). */
#include "files.h"
#include "share_parts.h"

/* Somebody looks this often for records whose holder has died or whose time is up. */
#define WATCH_EVERY_MS 5

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
            shmq_window_give_back(share->window, offset, word) == SHMQ_OK)
            found = true;
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
            shmq_window_acquire(share->window, offset, word, shmq_share_name(share), deadline_ms, lease) == SHMQ_OK) {
            share->look_from = offset + 1;
            return SHMQ_OK;
        }
    }
    return SHMQ_NOTHING;
}

/* NOTHING: no record was given back. OK: leases[0] is one; where it lies, is for deliver_back(). */
static int find_back(void *argument) {
    struct shmq_taking *taking = argument;
    struct shmq_share *share = taking->share;
    struct shmq_window *window = share->window;
    if (shmq_partition_is_deleted(share->reader->partition))
        return SHMQ_E_DELETED;
    if (window->kind == SHMQ_WINDOW_CURSOR)
        return SHMQ_NOTHING;
    /* First: what was given back until then lies before `fresh`. */
    uint64_t returned = shmq_window_returned(window);
    taking->start = shmq_share_advance(share, &taking->wake);
    if (share->only_fresh)
        return SHMQ_NOTHING;
    uint64_t fresh = shmq_window_fresh(window), from = share->look_from;
    bool news = returned != share->seen_returned;
    share->seen_returned = returned;
    share->look_from = 0;
    if (taking->start == fresh)
        return SHMQ_NOTHING;
    uint64_t now = shmq_now_ms();
    taking->deadline_ms = share->lock_ms ? shmq_later_ms(now, share->lock_ms) : 0;
    if (shmq_window_watch(window, now, WATCH_EVERY_MS))
        news |= watch(share, taking->start, fresh, now);
    return news || from ? take_back(share, news ? 0 : from, fresh, taking->deadline_ms, &taking->leases[0]) : SHMQ_NOTHING;
}

/* More of the same segment. */
static int find_more_back(void *argument) {
    struct shmq_taking *taking = argument;
    struct shmq_share *share = taking->share;
    struct shmq_reader *back = &share->back;
    uint32_t end = shmq_journal_end(&back->segment.journal);
    uint64_t end_offset = back->segment.base_offset + shmq_word_count(shmq_journal_before(&back->segment.journal, end));
    uint64_t fresh = shmq_window_fresh(share->window);
    while (!share->alone && shmq_taking_has_room(taking) && share->look_from) {
        struct shmq_lease *lease = &taking->leases[taking->count];
        struct shmq_view *view = &taking->views[taking->count];
        int result = take_back(share, share->look_from, end_offset < fresh ? end_offset : fresh, taking->deadline_ms, lease);
        if (result != SHMQ_OK)
            return result;
        if (shmq_reader_stand_within(back, lease->offset) != SHMQ_OK || shmq_reader_next(back, view) != SHMQ_OK ||
            view->offset != lease->offset)
            return shmq_window_release(share->window, lease, 0); /* it lies elsewhere, or is damaged: alone, it is told */
        back->next_offset = view->offset + 1;
        shmq_taking_add(taking, view);
    }
    return SHMQ_OK;
}

static int settle_lost(void *argument) {
    struct shmq_taking *taking = argument;
    shmq_window_settle(taking->share->window, &taking->leases[0], SHMQ_SKIPPED);
    shmq_share_advance(taking->share, &taking->wake);
    return SHMQ_OK;
}

static int release_first(void *argument) {
    struct shmq_taking *taking = argument;
    return shmq_window_release(taking->share->window, &taking->leases[0], 0);
}

/* leases[0] was taken: get its record, and more. LOST: it was deleted meanwhile; look again. */
static int deliver_back(struct shmq_taking *taking) {
    struct shmq_share *share = taking->share;
    struct shmq_fail *fail = &share->back.fail;
    uint64_t offset = taking->leases[0].offset, begin, end;
    uint32_t count = 0;
    int result = shmq_reader_seek(&share->back, offset);
    if (result == SHMQ_OK)
        result = shmq_reader_fetch(&share->back, taking->views, 1, UINT64_MAX, &count);
    bool gone = result == SHMQ_E_OUT_OF_RANGE ? offset < fail->limit : count && taking->views[0].offset != offset;
    if (gone) {
        result = shmq_taking_guarded(taking, settle_lost);
        return result == SHMQ_OK ? SHMQ_LOST : result;
    }
    if (result == SHMQ_E_OUT_OF_RANGE || result > SHMQ_OK) { /* there is no such record, or not yet */
        result = shmq_reader_bounds(&share->back, &begin, &end);
        result = result == SHMQ_OK ? shmq_share_beyond(share->window, offset, end, fail) : result;
    }
    if (result != SHMQ_OK) {
        share->reader->fail = *fail;
        struct shmq_fail ignored; /* what failed first is told */
        shmq_guarded(release_first, taking, &ignored, share->window->path);
        return result;
    }
    shmq_taking_add(taking, &taking->views[0]);
    return shmq_taking_guarded(taking, find_more_back) < 0 ? SHMQ_E_STORAGE : SHMQ_OK;
}

int shmq_taking_back(struct shmq_taking *taking) {
    int result;
    do {
        result = shmq_taking_guarded(taking, find_back);
        if (result == SHMQ_OK)
            result = deliver_back(taking);
    } while (result == SHMQ_LOST);
    return result;
}
