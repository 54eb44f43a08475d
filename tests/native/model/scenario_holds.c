/* (g) Groups among the readers of retention "consumed": holds that are made, moved, set anew, released and given to another
 * group, by processes of which one may die, or be taken for dead, at any step (holds.h, H1 to H3).
 *
 * PROPERTIES
 *   passed       a segment was let go that a group needs
 *   moved        a move changed a hold that was set anew, or another group's, since the mover found its own
 *   twice        a group that two made at once has two holds, or none
 *   lost-wakeup  a producer sleeps though no group needs the oldest segment any more */
#define _GNU_SOURCE /* as readers.c */
#include <string.h>

#include "model.h"

static uint64_t next_ticket(void);
#define __atomic_add_fetch(counter, one, order) ((void)(counter), next_ticket())
#include "holds.c"
#include "readers.c"

#define ENTRIES 3u
#define PRODUCER 2u
#define GROUP 1u
#define OTHER 2u

/* Offsets are segments here: segment s holds offset s. */
enum what {
    NOTHING,
    MOVE,    /* as a member: found it at the start, moves it to 1, 2, ... `places` */
    SET,     /* GROUP to 0 */
    SET_FAR, /* GROUP to `places` */
    SWAP,    /* release GROUP, make OTHER at 0 */
    OTHERS,  /* make OTHER at 0 */
};

struct holds_scenario {
    enum what acts[2];
    unsigned places;
    bool fresh;    /* there is no hold at the start; else GROUP's in entry 0, at 0 */
    bool once;     /* the producer looks once, when process 1 is done; else it waits until all places are free */
    bool mistakes; /* a living process may be taken for dead, once */
};

static const struct holds_scenario *now;
static struct shmq_control control;
static struct shmq_process processes[3];
static struct shmq_partition partitions[3];
static shmq_a64 done; /* process 1 is */
static struct {
    uint8_t needs[3]; /* by group: first segment + 1 that must be kept; 0: nothing is promised */
    uint8_t tickets;
    bool mistaken;
} ghost;

static uint64_t next_ticket(void) {
    return ++ghost.tickets;
}

enum shmq_life shmq_tenant_life(const struct shmq_process *process, uint32_t slot, uint64_t epoch) {
    (void)epoch;
    if (model_is_killed(slot))
        return model_is_still() || model_choose(2) ? SHMQ_LIFE_DEAD : SHMQ_LIFE_ALIVE;
    if (process->slot == slot || !now->mistakes || ghost.mistaken || model_choose(2) == 0)
        return SHMQ_LIFE_ALIVE;
    ghost.mistaken = true;
    return SHMQ_LIFE_DEAD;
}

uint64_t shmq_fork_count(void) {
    return 0;
}

static void ring(bool wake, const uint64_t *woken) {
    if (wake && woken[0] >> PRODUCER & 1)
        model_post(0);
}

static void set(unsigned process, uint32_t group, uint64_t offset) {
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    bool wake;
    int result;
    do
        result = shmq_hold_set(&partitions[process], group, offset, &wake, woken);
    while (result == SHMQ_LOST); /* taken for dead; renewed */
    MODEL_CHECK(result == SHMQ_OK, "twice", result, group);
    ring(wake, woken);
}

static void move_on(unsigned process) {
    struct shmq_hold hold = {0, shmq_group_owner(GROUP), 1, 0};
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    bool wake, alone = now->acts[1] == NOTHING;
    for (uint64_t place = 1; place <= now->places; place++) {
        model_turn();
        if (alone)
            ghost.needs[GROUP] = (uint8_t)(place + 1); /* a little early: the CAS is in the call */
        int result = shmq_hold_move(&partitions[process], &hold, place, &wake, woken);
        MODEL_CHECK(result == SHMQ_OK || !alone, "moved", result, place);
        if (result != SHMQ_OK)
            return;
        ring(wake, woken);
    }
}

static void swap(unsigned process) {
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    ring(shmq_hold_release(&partitions[process], GROUP, woken), woken);
    set(process, OTHER, 0);
}

static void act(void *argument) {
    unsigned process = (unsigned)(uintptr_t)argument;
    switch (now->acts[process]) {
    case MOVE:
        move_on(process);
        break;
    case SET:
        set(process, GROUP, 0);
        break;
    case SET_FAR:
        set(process, GROUP, now->places);
        break;
    case SWAP:
        swap(process);
        break;
    case OTHERS:
        set(process, OTHER, 0);
        break;
    default:
        break;
    }
    if (process == 1) {
        ghost.needs[GROUP] = now->acts[1] == SET;
        ghost.needs[OTHER] = now->acts[1] == SWAP || now->acts[1] == OTHERS;
        if (now->once)
            shmq_store_release(&done, 1);
    }
}

static bool may_go(uint64_t seq) {
    bool only_self, ask_again;
    if (shmq_readers_passed(&partitions[PRODUCER], seq, seq + 1, &only_self, &ask_again) != SHMQ_OK)
        return false;
    for (unsigned group = GROUP; group <= OTHER; group++)
        MODEL_CHECK(!ghost.needs[group] || ghost.needs[group] > seq + 1, "passed", group, seq);
    return true;
}

/* As shmq_retention_make_room() and the sleep around it. */
static void produce(void *unused) {
    (void)unused;
    bool rung = true;
    if (now->once) {
        while (!shmq_load_acquire(&done))
            if (!model_pause())
                return;
        may_go(0);
        return;
    }
    for (uint64_t seq = 0; seq < now->places && rung;)
        if (may_go(seq)) {
            seq++;
        } else {
            shmq_waiters_enter(&control.producers_waiting, PRODUCER);
            if (!may_go(seq))
                rung = model_wait(0);
        }
}

/* What stands there in the end. */
static void finish(void) {
    unsigned found[3] = {0};
    for (unsigned index = 0; index < ENTRIES; index++) {
        uint64_t owner = model_newest(&control.readers[index].owner), word = model_newest(&control.readers[index].hold);
        if (!shmq_is_group(owner))
            continue;
        unsigned group = shmq_group_number(owner);
        found[group]++;
        MODEL_CHECK(!ghost.needs[group] || shmq_hold_offset(word) + 1 == ghost.needs[group], "moved", group,
                    shmq_hold_offset(word));
    }
    /* Who dies between making one and looking for another leaves two, for the next who looks. */
    for (unsigned group = GROUP; group <= OTHER; group++)
        MODEL_CHECK(found[group] <= 1 + model_killed() && (found[group] || !ghost.needs[group]), "twice", group, found[group]);
}

static void add_entry(unsigned index, bool taken) {
    struct shmq_reader_entry *entry = &control.readers[index];
    model_word(&entry->owner, taken ? shmq_group_owner(GROUP) : 0, MODEL_NUMBER, 0, "owner", index);
    model_word(&entry->hold, taken ? shmq_hold_word(1, 0) : 0, MODEL_NUMBER, 0, "hold", index);
}

static void start(const void *parameters) {
    now = parameters;
    memset(&ghost, 0, sizeof(ghost));
    ghost.needs[GROUP] = !now->fresh && now->acts[1] == NOTHING;
    model_ghost(&ghost, sizeof(ghost));
    for (unsigned slot = 0; slot < 3; slot++) {
        processes[slot].slot = slot;
        processes[slot].epoch = 1;
        processes[slot].owner = shmq_owner(slot, 1);
        partitions[slot] = (struct shmq_partition){.process = &processes[slot], .ring = {&control, 4}};
    }
    for (unsigned index = 0; index < ENTRIES; index++)
        add_entry(index, index == 0 && !now->fresh);
    model_word(&control.producers_waiting.words[0], 0, MODEL_NUMBER, 0, "producers_waiting", 0);
    model_word(&done, 0, MODEL_NUMBER, 0, "done", 0);
    model_actor("process 0", act, (void *)0, 0);
    model_actor("process 1", act, (void *)1, 0);
    model_actor("producer", produce, NULL, MODEL_IMMORTAL);
}

#define HOLDS(title, deaths, is_long, ...)                                                                             \
    {                                                                                                                  \
        .name = "holds-" title, .start = start, .finish = finish, .kills = deaths, .long_only = is_long,              \
        .parameters = &(const struct holds_scenario){__VA_ARGS__}                                                      \
    }

const struct model_scenario model_scenarios[] = {
    HOLDS("move", 0, false, .acts = {MOVE}, .places = 2),
    HOLDS("move-deaths", 1, false, .acts = {MOVE}, .places = 2),
    HOLDS("make", 0, false, .acts = {SET_FAR}, .places = 1, .fresh = true),
    HOLDS("late-move", 0, false, .acts = {MOVE, SET}, .places = 1, .once = true),
    HOLDS("late-move-of-another", 0, false, .acts = {MOVE, SWAP}, .places = 1, .once = true),
    HOLDS("late-set-of-another", 0, false, .acts = {SET_FAR, SWAP}, .places = 1, .once = true),
    HOLDS("two-makers", 0, false, .acts = {SET_FAR, SET_FAR}, .places = 1, .fresh = true),
    HOLDS("mistaken-maker", 0, false, .acts = {SET_FAR, OTHERS}, .places = 1, .fresh = true, .once = true, .mistakes = true),
    HOLDS("dead-maker", 1, false, .acts = {SET_FAR, SET_FAR}, .places = 1, .fresh = true),
    HOLDS("dead-or-mistaken-maker", 1, true, .acts = {SET_FAR, SET_FAR}, .places = 1, .fresh = true, .mistakes = true),
    HOLDS("mistaken-twin", 0, true, .acts = {SET_FAR, SET_FAR}, .places = 1, .fresh = true, .mistakes = true),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
