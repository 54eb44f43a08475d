/* (f) Retention "consumed": producers keep what registered readers still need, even if a reader was wrongly taken for
 * dead and its entry given to another, whom its late stores then disturb (readers.h, G1 and G2).
 *
 * PROPERTIES
 *   passed       a segment was let go that a living reader needs, who was never taken for dead
 *   lost-wakeup  a producer sleeps though no reader needs the oldest segment any more */
#define _GNU_SOURCE /* as readers.c */
#include <string.h>

#include "model.h"

static uint64_t next_ticket(void);
/* A static counter of each process, which the explorer could not restore. */
#define __atomic_add_fetch(counter, one, order) ((void)(counter), next_ticket())
#include "holds.c"
#include "readers.c"

#define ENTRIES 3u
#define PRODUCER 2u

struct readers_scenario {
    unsigned places;   /* that each reader moves to, one segment after the other */
    unsigned mistakes; /* how often a living reader is taken for dead */
    bool newcomer;     /* reader 1 registers only now, and the producer begins after it; else both stand at segment 0 */
    bool all_new;      /* reader 0 registers only now, too */
    bool late;         /* reader 1 registers at the last place, at any time */
    bool alone;        /* there is no reader 1 */
    bool leaves;       /* reader 0 leaves at once */
};

static const struct readers_scenario *now;
static struct shmq_control control;
static struct shmq_process processes[3];
static struct shmq_partition partitions[3];
static shmq_a64 newcomer_is_here;
static struct {
    uint8_t needs[2]; /* first segment + 1 that must be kept for each reader; 0: nothing is promised */
    uint8_t mistakes, tickets;
    bool mistaken[2];
} ghost;

static uint64_t next_ticket(void) {
    return ++ghost.tickets; /* one counter for all: a process's own would tell fewer places apart, but costs states */
}

/* What readers.c asks for. The truth, or a mistake about the living; one may also be late to notice a death. */
enum shmq_life shmq_tenant_life(const struct shmq_process *process, uint32_t slot, uint64_t epoch) {
    (void)process;
    (void)epoch;
    if (model_is_killed(slot))
        return model_is_still() || model_choose(2) ? SHMQ_LIFE_DEAD : SHMQ_LIFE_ALIVE;
    if (process->slot == slot || ghost.mistakes == now->mistakes || model_choose(2) == 0)
        return SHMQ_LIFE_ALIVE;
    ghost.mistakes++;
    ghost.mistaken[slot] = true;
    return SHMQ_LIFE_DEAD;
}

uint64_t shmq_fork_count(void) {
    return 0;
}

static void ring(bool wake, const uint64_t *woken) {
    if (wake && woken[0] >> PRODUCER & 1)
        model_post(0);
}

static void leave(unsigned reader, const struct shmq_registration *registration) {
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    ring(shmq_readers_leave(&partitions[reader], registration, woken), woken);
}

static struct shmq_registration enter(unsigned reader, uint64_t seq) {
    struct shmq_registration registration;
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    bool wake;
    int result;
    do
        result = shmq_readers_register(&partitions[reader], 0, seq, &registration, &wake, woken);
    while (result == SHMQ_LOST);
    ring(wake, woken);
    MODEL_CHECK(result == SHMQ_OK, "corrupt", result, reader);
    return registration;
}

/* One fetch that ended in segment `seq`. */
static void move(unsigned reader, struct shmq_registration *registration, uint64_t seq) {
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    bool wake;
    model_turn();
    if (ghost.needs[reader])
        ghost.needs[reader] = (uint8_t)(seq + 1); /* a little early: the store is in the call */
    int result = shmq_readers_move(&partitions[reader], registration, 0, seq, &wake, woken);
    ring(wake, woken);
    if (result == SHMQ_LOST) { /* as shmq_reader_register_anew(); nothing is promised to it in between */
        ghost.needs[reader] = 0;
        leave(reader, registration);
        *registration = enter(reader, seq);
    }
}

static void read_on(unsigned reader, struct shmq_registration registration) {
    for (uint64_t seq = 1; seq <= now->places && !(now->leaves && reader == 0); seq++)
        move(reader, &registration, seq);
    while (now->mistakes && model_rest())
        move(reader, &registration, now->places); /* its sleep is bounded: it finds what others did to its entry */
    if (now->leaves && reader == 0) {
        ghost.needs[reader] = 0;
        leave(reader, &registration);
    }
}

static void reader_0(void *unused) {
    (void)unused;
    read_on(0, now->all_new ? enter(0, 0) : (struct shmq_registration){0, owner_of(&processes[0])});
}

static void reader_1(void *unused) {
    (void)unused;
    struct shmq_registration registration = {1, owner_of(&processes[1])};
    if (now->late) {
        enter(1, now->places);
        return;
    }
    if (now->newcomer) {
        registration = enter(1, 0);
        ghost.needs[1] = 1;
        shmq_store_release(&newcomer_is_here, 1);
    }
    read_on(1, registration);
}

static void nobody(void *unused) {
    (void)unused;
}

static bool may_go(uint64_t seq) {
    bool only_self, ask_again;
    if (shmq_readers_passed(&partitions[PRODUCER], seq, UINT64_MAX, &only_self, &ask_again) != SHMQ_OK)
        return false;
    for (unsigned reader = 0; reader < 2; reader++)
        MODEL_CHECK(!ghost.needs[reader] || ghost.mistaken[reader] || model_is_killed(reader) ||
                        ghost.needs[reader] > seq + 1,
                    "passed", reader, seq);
    return true;
}

/* As a producer that waits for space: shmq_retention_make_room() and the sleep around it. */
static void produce(void *unused) {
    (void)unused;
    if (now->newcomer)
        while (!shmq_load_acquire(&newcomer_is_here))
            if (!model_pause())
                return;
    bool rung = true;
    for (uint64_t seq = 0; seq < now->places && rung;)
        if (may_go(seq)) {
            seq++;
        } else {
            shmq_waiters_enter(&control.producers_waiting, PRODUCER);
            if (!may_go(seq))
                rung = model_wait(0);
        }
}

static void add_entry(unsigned index, bool taken) {
    struct shmq_reader_entry *entry = &control.readers[index];
    uint64_t owner = owner_of(&processes[index]);
    model_word(&entry->owner, taken ? owner : 0, MODEL_NUMBER, 0, "owner", index);
    model_word(&entry->seq, taken ? shmq_owner(index, 1) : 0, MODEL_NUMBER, 0, "seq", index);
    /* For display, and for the thread that would wait for itself, which is not asked here. */
    model_word(&entry->offset, 0, MODEL_NUMBER, MODEL_EAGER, "offset", index);
    model_word(&entry->thread, 0, MODEL_NUMBER, MODEL_EAGER, "thread", index);
}

static void start(const void *parameters) {
    now = parameters;
    memset(&ghost, 0, sizeof(ghost));
    model_ghost(&ghost, sizeof(ghost));
    for (unsigned slot = 0; slot < 3; slot++) {
        processes[slot].slot = slot;
        processes[slot].epoch = 1;
        processes[slot].owner = shmq_owner(slot, 1);
        partitions[slot] = (struct shmq_partition){.process = &processes[slot], .ring = {&control, 4}};
    }
    for (unsigned index = 0; index < ENTRIES; index++)
        add_entry(index, (index == 0 && !now->all_new) || (index == 1 && !now->newcomer && !now->alone && !now->late));
    ghost.needs[0] = !now->all_new;
    ghost.needs[1] = !now->newcomer && !now->alone && !now->late;
    model_word(&control.producers_waiting.words[0], 0, MODEL_NUMBER, 0, "producers_waiting", 0);
    model_word(&newcomer_is_here, 0, MODEL_NUMBER, 0, "newcomer_is_here", 0);
    model_actor("reader 0", reader_0, NULL, 0);
    model_actor("reader 1", now->alone ? nobody : reader_1, NULL, 0);
    model_actor("producer", produce, NULL, MODEL_IMMORTAL);
}

#define READERS(title, deaths, is_long, ...)                                                                           \
    {                                                                                                                  \
        .name = "readers-" title, .start = start, .kills = deaths, .long_only = is_long,                              \
        .parameters = &(const struct readers_scenario){__VA_ARGS__}                                                    \
    }

const struct model_scenario model_scenarios[] = {
    READERS("one", 0, false, .places = 2, .alone = true),
    READERS("two", 0, false, .places = 2),
    READERS("leaving", 0, false, .places = 1, .leaves = true),
    READERS("deaths", 1, false, .places = 2),
    READERS("joining", 0, false, .places = 1, .late = true),
    READERS("takeover", 0, false, .places = 1, .mistakes = 1, .newcomer = true),
    READERS("takeover-joining", 0, true, .places = 1, .mistakes = 1, .newcomer = true, .all_new = true),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
