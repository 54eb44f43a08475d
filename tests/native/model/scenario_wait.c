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
    uint64_t before, blocked_word; /* the claim that its last look ended with, or 0 */
    struct shmq_journal journal;
};

/* Take everything there is. */
static void drain(struct sleeper *me) {
    for (;;) {
        struct shmq_entry entry;
        int result = shmq_journal_read(&me->journal, me->index, me->before, &entry);
        MODEL_CHECK(result >= 0, "corrupt", result, me->index);
        me->blocked_word = result == SHMQ_PENDING ? entry.word : 0;
        if (result != SHMQ_OK && result != SHMQ_LOST)
            return;
        if (result == SHMQ_OK) {
            uint64_t payload = model_data_load(&data[entry.start_pos]);
            MODEL_CHECK(payload == me->index + 1u, "torn", payload, me->index);
            ghost.delivered[me->number]++;
        }
        me->before = entry.word;
        me->index++;
    }
}

/* has_news() of reader.c: an empty word is none, nor is the claim that blocks this reader. */
static bool has_news(const struct sleeper *me) {
    uint64_t word = shmq_load_acquire(&words[me->index]);
    return shmq_word_state(word) != SHMQ_EMPTY && word != me->blocked_word;
}

static void sleeps(void *argument) {
    struct sleeper me = {.number = (unsigned)(uintptr_t)argument, .journal = journal_of_mine()};
    bool rung = true;
    ghost.killed[me.number] = true; /* unless it comes to its end */
    for (;;) {
        drain(&me);
        if (ghost.delivered[me.number] == now->producers * now->batches)
            break;
        if (!rung && !me.blocked_word)
            break; /* the bound ended the last sleep, everybody else was still, and there was nothing */
        if (!rung)
            shmq_journal_abort(&me.journal, me.index, me.blocked_word);
        shmq_waiters_enter(&bitmap, now->slots[me.number]);
        rung = has_news(&me) || model_wait(me.number);
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
    WAIT("two-sleepers-twice", 0, false, .sleepers = 2, .producers = 1, .batches = 2, .slots = {3, 9}),
    WAIT("two-producers-twice", 0, true, .sleepers = 1, .producers = 2, .batches = 2, .slots = {3}),
    WAIT("two-sleepers-deaths", 2, true, .sleepers = 2, .producers = 1, .batches = 2, .slots = {3, 9}),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
