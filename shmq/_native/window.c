#include "window.h"

#include "clock.h"
#include "fault.h"

#define TALLY_OFFSET_MASK ((UINT64_C(1) << SHMQ_TALLY_OFFSET_BITS) - 1)
#define TALLY_MOST_BEHIND (TALLY_OFFSET_MASK / 16)
#define TIME_MASK ((UINT64_C(1) << SHMQ_DEADLINE_BITS) - 1)

static shmq_a64 *word_at(const struct shmq_window *window, uint64_t offset) {
    return &window->words[offset & (window->length - 1)];
}

static shmq_a64 *deadline_at(const struct shmq_window *window, uint64_t offset) {
    return &window->deadlines[offset & (window->length - 1)];
}

static uint64_t lap_of(const struct shmq_window *window, uint64_t offset) {
    return offset >> window->lap_shift;
}

/* PAIR window_start: the CAS in shmq_window_advance(). Who sees `start` sees the words that it passed as settled (K4). */
uint64_t shmq_window_start(const struct shmq_window *window) {
    return shmq_load_acquire(&window->header->start.word);
}

static bool is_settled(uint64_t word) {
    return shmq_taken_state(word) >= SHMQ_ACCEPTED;
}

enum shmq_standing shmq_window_look(const struct shmq_window *window, uint64_t offset, uint64_t start, uint64_t *word) {
    *word = 0;
    if (offset < start)
        return SHMQ_STANDS_SETTLED;
    if (offset - start >= window->length)
        return SHMQ_STANDS_BEYOND;
    *word = shmq_load_acquire(word_at(window, offset)); /* PAIR taken: every CAS of a word */
    uint64_t lap = shmq_taken_lap(*word);
    if (lap != lap_of(window, offset))
        return lap < lap_of(window, offset) ? SHMQ_STANDS_FRESH : SHMQ_STANDS_SETTLED;
    switch (shmq_taken_state(*word)) {
    case SHMQ_READY:
        return shmq_taken_deliveries(*word) ? SHMQ_STANDS_BACK : SHMQ_STANDS_FRESH;
    case SHMQ_DELAYED:
        return SHMQ_STANDS_BACK;
    case SHMQ_ACQUIRED:
        return SHMQ_STANDS_HELD;
    default:
        return SHMQ_STANDS_SETTLED;
    }
}

/* ---- Deadlines ---- */

static uint64_t deadline_word(uint64_t word, uint64_t time_ms) {
    uint64_t tag = shmq_taken_deliveries(word) |
                   (shmq_taken_lap(word) & ((1u << SHMQ_DEADLINE_LAP_BITS) - 1)) << SHMQ_DELIVERY_BITS;
    return tag << SHMQ_DEADLINE_BITS | (time_ms < TIME_MASK ? time_ms : TIME_MASK);
}

static bool is_deadline_of(uint64_t deadline, uint64_t word) {
    return deadline >> SHMQ_DEADLINE_BITS == deadline_word(word, 0) >> SHMQ_DEADLINE_BITS;
}

static bool is_ours(const struct shmq_window *window, const struct shmq_lease *lease) {
    return shmq_load_acquire(word_at(window, lease->offset)) == lease->word; /* PAIR taken */
}

/* Of a record that is ours. Who is late all the same writes a tag that fits no word any more: then the record's next holder
 * has its time from when somebody looks (shmq_window_due_ms). LOST. */
static int set_deadline(struct shmq_window *window, const struct shmq_lease *lease, uint64_t time_ms) {
    uint64_t found = shmq_load_acquire(deadline_at(window, lease->offset)); /* PAIR deadline: the CAS below */
    uint64_t wanted = deadline_word(lease->word, time_ms);
    do {
        if (!is_ours(window, lease))
            return SHMQ_LOST;
    } while (!SHMQ_SHARED("window.deadline", shmq_cas(deadline_at(window, lease->offset), &found, wanted)));
    return SHMQ_OK;
}

uint64_t shmq_window_due_ms(const struct shmq_window *window, uint64_t offset, uint64_t word, uint64_t now_ms,
                            uint64_t lock_ms) {
    uint64_t found = shmq_load_acquire(deadline_at(window, offset)); /* PAIR deadline */
    if (is_deadline_of(found, word))
        return found & TIME_MASK;
    if (shmq_taken_state(word) == SHMQ_DELAYED)
        return 0;
    if (!lock_ms)
        return UINT64_MAX;
    /* Between its taking and this its holder was stopped, or is just now here too: whoever is first sets the time. */
    uint64_t until_ms = shmq_later_ms(now_ms, lock_ms);
    SHMQ_SHARED("window.observe", shmq_cas(deadline_at(window, offset), &found, deadline_word(word, until_ms)));
    return until_ms;
}

/* ---- Records ---- */

/* K1. PAIR taken: release side. */
static bool change(struct shmq_window *window, uint64_t offset, uint64_t from, uint64_t to) {
    return SHMQ_SHARED("window.word", shmq_cas(word_at(window, offset), &from, to));
}

int shmq_window_acquire(struct shmq_window *window, uint64_t offset, uint64_t word, uint32_t holder, uint64_t deadline_ms,
                        struct shmq_lease *lease) {
    uint64_t lap = lap_of(window, offset);
    uint32_t deliveries = shmq_taken_lap(word) == lap ? shmq_taken_deliveries(word) : 0;
    deliveries += deliveries < SHMQ_MAX_DELIVERIES;
    *lease = (struct shmq_lease){offset, shmq_taken_word(SHMQ_ACQUIRED, deliveries, holder, lap)};
    uint64_t found = deadline_ms ? shmq_load_acquire(deadline_at(window, offset)) : 0; /* PAIR deadline */
    if (!change(window, offset, word, lease->word))
        return SHMQ_LOST;
    /* If it fails, somebody looked just now and has set it; or we were stopped here, and the record is another's by now. */
    if (deadline_ms)
        SHMQ_SHARED("window.lock", shmq_cas(deadline_at(window, offset), &found, deadline_word(lease->word, deadline_ms)));
    return SHMQ_OK;
}

void shmq_window_skip(struct shmq_window *window, uint64_t offset, uint64_t word) {
    change(window, offset, word, shmq_taken_word(SHMQ_SKIPPED, 0, 0, lap_of(window, offset)));
}

static uint64_t word_with_state(uint64_t word, enum shmq_record_state state) {
    return (word & ~(uint64_t)((1u << SHMQ_STATE_BITS) - 1)) | (uint64_t)state;
}

int shmq_window_settle(struct shmq_window *window, const struct shmq_lease *lease, enum shmq_record_state state) {
    return change(window, lease->offset, lease->word, word_with_state(lease->word, state)) ? SHMQ_OK : SHMQ_LOST;
}

int shmq_window_release(struct shmq_window *window, const struct shmq_lease *lease, uint64_t not_before_ms) {
    /* First the time, then the word that says what it is for: if we die in between, the record comes back at once. */
    if (not_before_ms && set_deadline(window, lease, not_before_ms) != SHMQ_OK)
        return SHMQ_LOST;
    uint64_t word = word_with_state(lease->word, not_before_ms ? SHMQ_DELAYED : SHMQ_READY);
    if (!change(window, lease->offset, lease->word, word))
        return SHMQ_LOST;
    SHMQ_SHARED("window.returned", shmq_fetch_add(&window->header->returned.word, 1)); /* PAIR returned */
    return SHMQ_OK;
}

int shmq_window_give_back(struct shmq_window *window, uint64_t offset, uint64_t word) {
    if (!change(window, offset, word, word_with_state(word, SHMQ_READY)))
        return SHMQ_LOST;
    SHMQ_SHARED("window.given_back", shmq_fetch_add(&window->header->returned.word, 1)); /* PAIR returned */
    return SHMQ_OK;
}

bool shmq_window_watch(struct shmq_window *window, uint64_t now_ms, uint64_t period_ms) {
    uint64_t watched = shmq_load_relaxed(&window->header->watched.word); /* PAIR watched: a clock, it guards nothing */
    if (now_ms - watched < period_ms)
        return false;
    return SHMQ_SHARED("window.watch", shmq_cas(&window->header->watched.word, &watched, now_ms)); /* PAIR watched */
}

int shmq_window_renew(struct shmq_window *window, const struct shmq_lease *lease, uint64_t deadline_ms) {
    int result = set_deadline(window, lease, deadline_ms);
    return result == SHMQ_OK && is_ours(window, lease) ? SHMQ_OK : SHMQ_LOST;
}

/* ---- The ends of the window ---- */

/* How many of [from, to) belong to this tally. Those before `deleted_before` that nobody settled are skipped ones. */
static uint64_t count_of(const struct shmq_window *window, enum shmq_tally tally, uint64_t from, uint64_t to,
                         uint64_t deleted_before) {
    uint64_t count = 0, most = from + window->length, end = to < most ? to : most;
    for (uint64_t offset = from; offset < end; offset++) {
        uint64_t word = shmq_load_acquire(word_at(window, offset)); /* PAIR taken */
        uint64_t lap = shmq_taken_lap(word), own_lap = lap_of(window, offset);
        bool settled = lap == own_lap && is_settled(word);
        bool skipped = settled ? shmq_taken_state(word) == SHMQ_SKIPPED : lap <= own_lap && offset < deleted_before;
        count += tally == SHMQ_TALLY_SKIPPED ? skipped : settled && shmq_taken_state(word) == SHMQ_REJECTED;
    }
    return count + (tally == SHMQ_TALLY_SKIPPED ? to - end : 0);
}

/* The offset that a tally names, which lies within half of what its bits can tell of `start`. */
static uint64_t tally_offset(uint64_t tally, uint64_t start) {
    uint64_t ahead = (tally - start) & TALLY_OFFSET_MASK, behind = (start - tally) & TALLY_OFFSET_MASK;
    return ahead < behind ? start + ahead : start - behind;
}

/* K6: count what lies before `end`. */
static void tally_up(const struct shmq_window *window, enum shmq_tally tally, uint64_t start, uint64_t end,
                     uint64_t deleted_before) {
    shmq_a64 *place = &window->header->tallies[tally].word;
    uint64_t found = shmq_load_acquire(place), wanted; /* PAIR tally: the CAS below */
    do {
        uint64_t from = tally_offset(found, start);
        bool far_behind = from + TALLY_MOST_BEHIND < end; /* let its few bits never be ambiguous */
        from = from > start ? from : start;
        uint64_t count = from < end ? count_of(window, tally, from, end, deleted_before) : 0;
        if (!count && !far_behind)
            return;
        wanted = (end & TALLY_OFFSET_MASK) | ((found >> SHMQ_TALLY_OFFSET_BITS) + count) << SHMQ_TALLY_OFFSET_BITS;
    } while (!SHMQ_SHARED("window.tally", shmq_cas(place, &found, wanted)));
}

static uint64_t end_of_settled(const struct shmq_window *window, uint64_t start, uint64_t deleted_before) {
    uint64_t end = start, word;
    while (end < deleted_before || shmq_window_look(window, end, start, &word) == SHMQ_STANDS_SETTLED)
        end = end < deleted_before && end - start >= window->length ? deleted_before : end + 1;
    return end;
}

uint64_t shmq_window_advance(const struct shmq_window *window, uint64_t deleted_before) {
    for (;;) {
        uint64_t start = shmq_window_start(window);
        uint64_t end = end_of_settled(window, start, deleted_before);
        if (end == start)
            return start;
        tally_up(window, SHMQ_TALLY_REJECTED, start, end, deleted_before);
        tally_up(window, SHMQ_TALLY_SKIPPED, start, end, deleted_before);
        /* PAIR window_start. If another was faster, it may have stopped at what we have just settled: look again (K3). */
        if (SHMQ_SHARED("window.start", shmq_cas(&window->header->start.word, &start, end)))
            return end;
    }
}

/* PAIR fresh: a hint; who sees it sees the words that it passed (K5). It is within the window, unless the file is damaged:
 * then nobody shall walk to the end of the numbers. */
uint64_t shmq_window_fresh(const struct shmq_window *window) {
    uint64_t fresh = shmq_load_acquire(&window->header->fresh.word), start = shmq_window_start(window);
    if (fresh <= start)
        return start;
    return fresh - start <= window->length ? fresh : start + window->length;
}

void shmq_window_pass(struct shmq_window *window, uint64_t offset) {
    uint64_t found = shmq_load_acquire(&window->header->fresh.word); /* PAIR fresh: the CAS below */
    while (found < offset && !SHMQ_SHARED("window.fresh", shmq_cas(&window->header->fresh.word, &found, offset))) {
    }
}

uint64_t shmq_window_taken(const struct shmq_window *window) {
    return window->kind == SHMQ_WINDOW_CURSOR ? shmq_window_start(window) : shmq_window_fresh(window);
}

/* K6 for kind cursor: count [start, end), unless that was done. Where nothing lies between, note how far the window is. */
static void tally_leap(const struct shmq_window *window, uint64_t start, uint64_t end) {
    shmq_a64 *place = &window->header->tallies[SHMQ_TALLY_SKIPPED].word;
    uint64_t found = shmq_load_acquire(place), wanted; /* PAIR tally: the CAS below */
    do {
        uint64_t from = tally_offset(found, start);
        if (from >= end)
            return;
        uint64_t count = end - (from > start ? from : start);
        wanted = (end & TALLY_OFFSET_MASK) | ((found >> SHMQ_TALLY_OFFSET_BITS) + count) << SHMQ_TALLY_OFFSET_BITS;
    } while (!SHMQ_SHARED("window.leap", shmq_cas(place, &found, wanted)));
}

int shmq_window_leap(struct shmq_window *window, uint64_t start, uint64_t end) {
    tally_leap(window, start, end);
    return SHMQ_SHARED("window.leap_start", shmq_cas(&window->header->start.word, &start, end)) ? SHMQ_OK : SHMQ_LOST;
}

int shmq_window_take(struct shmq_window *window, uint64_t offset, uint64_t count) {
    if ((offset ^ (offset + count)) > TALLY_MOST_BEHIND) /* once in a while: its few bits are never ambiguous */
        tally_leap(window, offset, offset);
    return SHMQ_SHARED("window.take", shmq_cas(&window->header->start.word, &offset, offset + count)) ? SHMQ_OK : SHMQ_LOST;
}

uint64_t shmq_window_returned(const struct shmq_window *window) {
    return shmq_load_acquire(&window->header->returned.word); /* PAIR returned: the release that it is counted after */
}

/* ---- Counting ---- */

static uint64_t tallied(const struct shmq_window *window, enum shmq_tally tally, uint64_t start, uint64_t *until) {
    uint64_t found = shmq_load_acquire(&window->header->tallies[tally].word); /* PAIR tally */
    *until = tally_offset(found, start);
    return found >> SHMQ_TALLY_OFFSET_BITS;
}

/* While others let `start` go on, no look is exact. */
#define CENSUS_TRIES 3

void shmq_window_cursor_census(const struct shmq_window *window, struct shmq_tallies *census) {
    uint64_t counted;
    uint32_t tries = 0;
    do {
        *census = (struct shmq_tallies){.start = shmq_window_start(window)};
        census->skipped = tallied(window, SHMQ_TALLY_SKIPPED, census->start, &counted);
        census->skipped -= counted > census->start ? counted - census->start : 0; /* who counted them is not there yet */
    } while (shmq_window_start(window) != census->start && ++tries < CENSUS_TRIES);
}

void shmq_window_census(const struct shmq_window *window, uint64_t now_ms, struct shmq_tallies *census) {
    uint64_t counted_rejected, counted_skipped, word;
    uint32_t tries = 0;
    do {
        *census = (struct shmq_tallies){.start = shmq_window_advance(window, 0)};
        census->rejected = tallied(window, SHMQ_TALLY_REJECTED, census->start, &counted_rejected);
        census->skipped = tallied(window, SHMQ_TALLY_SKIPPED, census->start, &counted_skipped);
        for (uint64_t offset = census->start; offset - census->start < window->length; offset++) {
            enum shmq_standing standing = shmq_window_look(window, offset, census->start, &word);
            enum shmq_record_state state = shmq_taken_state(word);
            census->held += standing == SHMQ_STANDS_HELD;
            census->delayed += standing == SHMQ_STANDS_BACK && state == SHMQ_DELAYED &&
                               shmq_window_due_ms(window, offset, word, now_ms, 0) > now_ms;
            if (standing != SHMQ_STANDS_SETTLED)
                continue;
            census->settled++;
            census->settled_skipped += state == SHMQ_SKIPPED;
            census->rejected += state == SHMQ_REJECTED && offset >= counted_rejected;
            census->skipped += state == SHMQ_SKIPPED && offset >= counted_skipped;
        }
    } while (shmq_window_start(window) != census->start && ++tries < CENSUS_TRIES);
}
