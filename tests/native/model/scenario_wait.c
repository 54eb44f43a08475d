/* (d) Sleepers and wakers. Without deaths no sleeper may be left asleep while the log holds something for it; with them
 * the bound on sleeping may rescue it, since the waker may have died before it rang. */
#include <string.h>

#include "journal.h"
#include "model.h"
#include "waiters.h"

#define MAX_WORDS 5u
#define INCARNATION 5u

struct wait_scenario {
    unsigned sleepers, producers, batches; /* of each producer */
    unsigned slots[2];                     /* of the sleepers */
};

static const struct wait_scenario *now;
static shmq_a64 words[MAX_WORDS], data[MAX_WORDS];
static struct shmq_bitmap bitmap;
static struct {
    uint8_t acknowledged, delivered[2];
    bool killed[2];
} ghost;

static struct shmq_journal journal_of_mine(void) {
    return (struct shmq_journal){words, MAX_WORDS, MAX_WORDS, INCARNATION, 0};
}

static void ring(const uint64_t *woken) {
    for (unsigned sleeper = 0; sleeper < now->sleepers; sleeper++)
        if (woken[now->slots[sleeper] / 64] >> now->slots[sleeper] % 64 & 1)
            model_post(sleeper);
}

static void produce(void *argument) {
    unsigned owner = (unsigned)(uintptr_t)argument;
    struct shmq_journal journal = journal_of_mine();
    for (unsigned batch = 0; batch < now->batches; batch++) {
        struct shmq_claim claim;
        int result = shmq_journal_claim(&journal, shmq_owner(owner, 1), 1, 1, &claim);
        MODEL_CHECK(result == SHMQ_OK, "corrupt", result, claim.index);
        model_data_store(&data[claim.start_pos], claim.index + 1);
        if (shmq_journal_commit(&journal, &claim) != SHMQ_OK)
            return; /* aborted at the end of a run with deaths; (a) has the retry */
        ghost.acknowledged++;
        uint64_t woken[SHMQ_MAX_SLOTS / 64] = {0};
        shmq_waiters_wake(&bitmap, woken);
        ring(woken);
    }
}

struct sleeper {
    unsigned number;
    uint32_t index;
    uint64_t before;
    struct shmq_journal journal;
};

/* Take everything there is; what the look ended with. */
static int drain(struct sleeper *me) {
    for (;;) {
        struct shmq_entry entry;
        int result = shmq_journal_read(&me->journal, me->index, me->before, &entry);
        MODEL_CHECK(result >= 0, "corrupt", result, me->index);
        if (result != SHMQ_OK && result != SHMQ_LOST)
            return result;
        if (result == SHMQ_OK) {
            uint64_t payload = model_data_load(&data[entry.start_pos]);
            MODEL_CHECK(payload == me->index + 1u, "torn", payload, me->index);
            ghost.delivered[me->number]++;
        }
        me->before = entry.word;
        me->index++;
    }
}

/* Somebody is in the middle of an append: a reader polls then, it does not sleep; in the end it heals. */
static void poll_claim(struct sleeper *me) {
    if (!model_pause())
        shmq_journal_abort(&me->journal, me->index, shmq_load_acquire(&words[me->index]));
}

static void sleeps(void *argument) {
    struct sleeper me = {.number = (unsigned)(uintptr_t)argument, .journal = journal_of_mine()};
    bool rung = true;
    ghost.killed[me.number] = true; /* unless it comes to its end */
    while (ghost.delivered[me.number] < now->producers * now->batches) {
        int result = drain(&me);
        if (result == SHMQ_PENDING) {
            poll_claim(&me);
            continue;
        }
        if (ghost.delivered[me.number] == now->producers * now->batches || !rung)
            break; /* not rung: the bound ended the last sleep, everybody else was still, and there was nothing */
        shmq_waiters_enter(&bitmap, now->slots[me.number]);
        if (shmq_word_state(shmq_load_acquire(&words[me.index])) == SHMQ_EMPTY) /* has_news() of reader.c */
            rung = model_wait(me.number);
    }
    ghost.killed[me.number] = false;
}

static void start(const void *parameters) {
    static const char *const names[] = {"sleeper 0", "sleeper 1", "producer 0", "producer 1"};
    now = parameters;
    memset(&ghost, 0, sizeof(ghost));
    model_ghost(&ghost, sizeof(ghost));
    for (unsigned index = 0; index < now->producers * now->batches + 1; index++) {
        model_word(&words[index], shmq_empty_word(INCARNATION), MODEL_JOURNAL, 0, "journal", index);
        model_word(&data[index], 0, MODEL_NUMBER, MODEL_EAGER, "data", index);
    }
    model_word(&bitmap.words[0], 0, MODEL_NUMBER, 0, "bitmap", 0);
    model_word(&bitmap.words[1], 0, MODEL_NUMBER, 0, "bitmap", 1);
    for (unsigned sleeper = 0; sleeper < now->sleepers; sleeper++)
        model_actor(names[sleeper], sleeps, (void *)(uintptr_t)sleeper, 0);
    for (unsigned owner = 0; owner < now->producers; owner++)
        model_actor(names[2 + owner], produce, (void *)(uintptr_t)owner, 0);
}

static void finish(void) {
    for (unsigned sleeper = 0; sleeper < now->sleepers; sleeper++)
        MODEL_CHECK(ghost.killed[sleeper] || ghost.delivered[sleeper] >= ghost.acknowledged, "lost-record", sleeper,
                    ghost.acknowledged);
}

#define WAIT(title, deaths, is_long, ...)                                                                              \
    {                                                                                                                  \
        .name = "wait-" title, .start = start, .finish = finish, .kills = deaths, .long_only = is_long,                \
        .parameters = &(const struct wait_scenario){__VA_ARGS__}                                                       \
    }

const struct model_scenario model_scenarios[] = {
    WAIT("one", 0, false, .sleepers = 1, .producers = 1, .batches = 2, .slots = {3}),
    WAIT("two-producers", 0, false, .sleepers = 1, .producers = 2, .batches = 1, .slots = {70}),
    WAIT("two-sleepers", 0, false, .sleepers = 2, .producers = 1, .batches = 1, .slots = {3, 9}),
    WAIT("two-words", 0, false, .sleepers = 2, .producers = 1, .batches = 1, .slots = {3, 70}),
    WAIT("deaths", 2, false, .sleepers = 1, .producers = 2, .batches = 1, .slots = {3}),
    WAIT("two-by-two", 0, true, .sleepers = 2, .producers = 2, .batches = 1, .slots = {3, 9}),
    WAIT("two-by-two-deaths", 2, true, .sleepers = 1, .producers = 2, .batches = 2, .slots = {3}),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
