/* (i) The window of a share group: takers take, settle, reject and give back records, of which any may die at any step and
 * be taken for dead without being so (window.h, K1 to K6).
 *
 * The taker below stands for share.c: `start` first, then what was given back, then what is fresh.
 *
 * PROPERTIES
 *   settled-twice  two were told that they have settled one record
 *   stolen         a record was given to another though its holder lives, and its time is not up; or settled by who had
 *                  it before
 *   passed         `start` went past a record that nobody has settled, or went back
 *   lost-record    all is still, somebody who takes lives, and a record is not settled
 *   miscounted     in the end the tallies do not say what was rejected and skipped */
#include <string.h>

#include "model.h"
#include "window.c"

#define LENGTH 2u
#define MAX_RECORDS 4u
#define MAX_TAKERS 3u

enum habit { ACCEPTS, REJECTS, RELEASES_ONCE, DELAYS_ONCE };

struct window_scenario {
    unsigned records, takers;
    enum habit habits[MAX_TAKERS];
    unsigned hole;   /* number of the offset without a record, + 1; 0: none */
    bool hasty;      /* the first taker may take a living one for dead, once */
    bool threads;    /* they are threads of one process */
    uint64_t lock_ms;
};

static const struct window_scenario *now;
static struct shmq_window_header header;
static shmq_a64 words[LENGTH], deadlines[LENGTH];
static struct shmq_window window = {
    .header = &header, .words = words, .deadlines = deadlines, .length = LENGTH, .lap_shift = 1};

static struct {
    uint8_t start;
    uint8_t settled[MAX_RECORDS], rejected;
    uint8_t holder[MAX_RECORDS]; /* actor + 1; 0: nobody, or it is letting go */
    uint8_t hasted;
    uint8_t gave_back[MAX_TAKERS];
} ghost;

/* ---- The taker ---- */

static bool is_there(uint64_t offset) {
    return now->hole != offset + 1;
}

static void work(unsigned me, const struct shmq_lease *lease) {
    unsigned offset = (unsigned)lease->offset;
    enum habit habit = now->habits[me];
    int result;
    if ((habit == RELEASES_ONCE || habit == DELAYS_ONCE) && !ghost.gave_back[me]) {
        ghost.gave_back[me] = 1;
        if (ghost.holder[offset] == me + 1)
            ghost.holder[offset] = 0;
        shmq_window_release(&window, lease, habit == DELAYS_ONCE ? 1 : 0);
        return;
    }
    if (ghost.holder[offset] == me + 1)
        ghost.holder[offset] = 0;
    result = shmq_window_settle(&window, lease, habit == REJECTS ? SHMQ_REJECTED : SHMQ_ACCEPTED);
    if (result == SHMQ_OK) {
        MODEL_CHECK(!ghost.settled[offset], "settled-twice", offset, me);
        MODEL_CHECK(!ghost.holder[offset], "stolen", offset, me); /* it was another's by then */
        ghost.settled[offset] = 1;
        ghost.rejected = (uint8_t)(ghost.rejected + (habit == REJECTS));
    }
    shmq_window_advance(&window, 0);
}

static bool take(unsigned me, uint64_t offset, uint64_t word) {
    struct shmq_lease lease;
    if (shmq_window_acquire(&window, offset, word, now->threads ? 0 : me, now->lock_ms, &lease) != SHMQ_OK)
        return false;
    if (model_newest(word_at(&window, offset)) == lease.word) { /* else it has gone to another since */
        MODEL_CHECK(!ghost.holder[offset], "stolen", offset, me);
        ghost.holder[offset] = (uint8_t)(me + 1);
    }
    model_turn(); /* its work takes a while */
    work(me, &lease);
    return true;
}

static bool is_due(unsigned me, uint64_t offset, uint64_t word) {
    if (shmq_taken_state(word) != SHMQ_ACQUIRED)
        return shmq_window_due_ms(&window, offset, word, 2, now->lock_ms) <= 2;
    if (model_is_killed(shmq_taken_holder(word)))
        return true;
    if (me != 0 || !now->hasty || ghost.hasted || (!now->threads && shmq_taken_holder(word) == me))
        return false;
    ghost.hasted = 1;
    return true;
}

/* As share.c does it. Did it find anything to do? */
static bool look_for_returned(unsigned me, uint64_t start) {
    uint64_t fresh = shmq_window_fresh(&window), word;
    for (uint64_t offset = start; offset < fresh; offset++) {
        enum shmq_standing standing = shmq_window_look(&window, offset, start, &word);
        if (standing == SHMQ_STANDS_BACK && shmq_taken_state(word) == SHMQ_READY && take(me, offset, word))
            return true;
        bool held = standing == SHMQ_STANDS_HELD || (standing == SHMQ_STANDS_BACK && shmq_taken_state(word) == SHMQ_DELAYED);
        if (held && is_due(me, offset, word)) {
            if (model_newest(word_at(&window, offset)) == word)
                ghost.holder[offset] = 0;
            shmq_window_give_back(&window, offset, word);
            return true;
        }
    }
    return false;
}

static bool look_for_fresh(unsigned me, uint64_t start) {
    uint64_t word;
    bool passed = false; /* then there may be more to give back: the product looks again in a while */
    for (uint64_t offset = shmq_window_fresh(&window); offset < now->records; offset++) {
        enum shmq_standing standing = shmq_window_look(&window, offset, start, &word);
        if (standing == SHMQ_STANDS_BEYOND)
            break;
        if (standing == SHMQ_STANDS_FRESH && !is_there(offset))
            shmq_window_skip(&window, offset, word);
        bool taken = standing == SHMQ_STANDS_FRESH && is_there(offset) && take(me, offset, word);
        shmq_window_pass(&window, offset + 1);
        if (taken)
            return true;
        passed = true;
    }
    return passed;
}

static void run_taker(void *argument) {
    unsigned me = (unsigned)(uintptr_t)argument;
    for (;;) {
        uint64_t start = shmq_window_advance(&window, 0);
        if (start >= now->records)
            return;
        if (look_for_returned(me, start) || look_for_fresh(me, start))
            continue;
        if (!model_pause())
            return;
    }
}

/* ---- Judgement ---- */

static void watch(void) {
    uint64_t start = model_newest(&header.start.word);
    MODEL_CHECK(start >= ghost.start, "passed", start, ghost.start);
    for (uint64_t offset = ghost.start; offset < start; offset++) {
        uint64_t word = model_newest(word_at(&window, offset));
        enum shmq_record_state state = shmq_taken_state(word);
        bool settled = state == SHMQ_ACCEPTED || state == SHMQ_REJECTED || state == SHMQ_SKIPPED;
        MODEL_CHECK(settled && shmq_taken_lap(word) == offset / LENGTH, "passed", offset, word);
    }
    ghost.start = (uint8_t)start;
}

static void finish(void) {
    uint64_t start = model_newest(&header.start.word);
    bool lives = false;
    for (unsigned taker = 0; taker < now->takers; taker++)
        lives |= !model_is_killed(taker);
    if (!lives)
        return;
    MODEL_CHECK(start == now->records, "lost-record", start, now->records);
    uint64_t rejected = model_newest(&header.tallies[SHMQ_TALLY_REJECTED].word) >> SHMQ_TALLY_OFFSET_BITS;
    uint64_t skipped = model_newest(&header.tallies[SHMQ_TALLY_SKIPPED].word) >> SHMQ_TALLY_OFFSET_BITS;
    /* Who was killed right after its CAS could not say so to the ghost. */
    MODEL_CHECK(rejected >= ghost.rejected && rejected <= ghost.rejected + model_killed(), "miscounted", rejected,
                ghost.rejected);
    MODEL_CHECK(skipped == (now->hole != 0), "miscounted", skipped, now->hole);
}

static void start(const void *parameters) {
    static const char *const names[MAX_TAKERS] = {"taker 0", "taker 1", "taker 2"};
    now = parameters;
    memset(&ghost, 0, sizeof(ghost));
    model_ghost(&ghost, sizeof(ghost));
    model_word(&header.start.word, 0, MODEL_NUMBER, 0, "start", 0);
    model_word(&header.fresh.word, 0, MODEL_NUMBER, 0, "fresh", 0);
    model_word(&header.returned.word, 0, MODEL_NUMBER, 0, "returned", 0);
    model_word(&header.watched.word, 0, MODEL_NUMBER, 0, "watched", 0);
    for (unsigned tally = 0; tally < SHMQ_TALLIES; tally++)
        model_word(&header.tallies[tally].word, 0, MODEL_NUMBER, 0, "tally", tally);
    for (unsigned index = 0; index < LENGTH; index++) {
        model_word(&words[index], 0, MODEL_NUMBER, 0, "word", index);
        model_word(&deadlines[index], 0, MODEL_NUMBER, 0, "deadline", index);
    }
    for (unsigned taker = 0; taker < now->takers; taker++)
        model_actor(names[taker], run_taker, (void *)(uintptr_t)taker, 0);
}

#define WINDOW(title, deaths, is_long, ...)                                                                            \
    {                                                                                                                  \
        .name = "window-" title, .start = start, .check = watch, .finish = finish, .kills = deaths,                   \
        .long_only = is_long, .parameters = &(const struct window_scenario){__VA_ARGS__}                               \
    }

const struct model_scenario model_scenarios[] = {
    WINDOW("one", 0, false, .records = 1, .takers = 2),
    WINDOW("two", 0, false, .records = 2, .takers = 2),
    WINDOW("lap", 0, false, .records = 3, .takers = 2, .habits = {ACCEPTS, REJECTS}, .hole = 2),
    WINDOW("given-back", 0, false, .records = 1, .takers = 2, .habits = {RELEASES_ONCE, DELAYS_ONCE}, .lock_ms = 5),
    WINDOW("hasty", 0, false, .records = 1, .takers = 2, .habits = {ACCEPTS, RELEASES_ONCE}, .hasty = true, .lock_ms = 5),
    WINDOW("threads", 0, false, .records = 1, .takers = 2, .hasty = true, .threads = true),
    WINDOW("death", 1, false, .records = 2, .takers = 2, .habits = {REJECTS, ACCEPTS}),
    WINDOW("death-in-lap", 1, false, .records = 3, .takers = 2, .habits = {ACCEPTS, REJECTS}, .hole = 1),
    WINDOW("three", 1, true, .records = 2, .takers = 3, .habits = {ACCEPTS, RELEASES_ONCE, REJECTS}),
    WINDOW("two-deaths", 2, true, .records = 2, .takers = 3, .hasty = true),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
