/* (c) The ring alone, as small as it can be, through several laps: each roller retires the oldest segment when the ring
 * is full and publishes the next one, each possibly dying between a word and its hint; a looker asks for the oldest and
 * the newest at any time, however slowly. */
#include <string.h>

#include "log.h"

struct retire_scenario {
    unsigned rollers, rounds, looks;
    unsigned slots;
};

static const struct retire_scenario *now;

/* One round of roll() in log.c, without journals: as if each segment were full at once. */
static void roll_once(uint64_t incarnation) {
    uint64_t head, tail, live;
    int result = shmq_ring_head(&log_ring, &head, &live);
    MODEL_CHECK(result >= 0, "corrupt", result, 0);
    uint64_t next = result == SHMQ_NOTHING ? 0 : head + 1;
    while (result != SHMQ_NOTHING) {
        result = shmq_ring_tail(&log_ring, &tail, &live);
        MODEL_CHECK(result == SHMQ_OK, "corrupt", result, next);
        if (tail + 1 >= next || next - tail < log_ring.slots)
            break;
        shmq_ring_retire(&log_ring, tail, live);
    }
    shmq_ring_publish(&log_ring, next, incarnation);
}

static void rolls(void *argument) {
    unsigned roller = (unsigned)(uintptr_t)argument;
    for (unsigned round = 0; round < now->rounds; round++)
        roll_once(1 + roller + LOG_OWNERS * round);
}

/* What one process learns never goes back, though segments come and go. */
static void looks(void *unused) {
    (void)unused;
    uint64_t known = 0;
    for (unsigned look = 0; look < now->looks; look++) {
        uint64_t seq = 0, incarnation = 0;
        bool newest = model_choose(2);
        int result = newest ? shmq_ring_head(&log_ring, &seq, &incarnation)
                            : shmq_ring_tail(&log_ring, &seq, &incarnation);
        MODEL_CHECK(result == SHMQ_OK || (result == SHMQ_NOTHING && known == 0), "corrupt", result, newest);
        if (result != SHMQ_OK)
            continue;
        MODEL_CHECK(log_was_live(seq, incarnation), "live-run", seq, incarnation);
        MODEL_CHECK(!newest || seq + 1 >= known, "live-run", seq, known);
        known = newest ? seq + 1 : known > seq ? known : seq + 1;
    }
}

static void start(const void *parameters) {
    static const char *const names[] = {"roller 0", "roller 1"};
    now = parameters;
    log_begin(&(struct log_shape){.owners = 0, .ring_slots = now->slots});
    for (unsigned roller = 0; roller < now->rollers; roller++)
        model_actor(names[roller], rolls, (void *)(uintptr_t)roller, 0);
    if (now->looks)
        model_actor("looker", looks, NULL, MODEL_IMMORTAL);
}

#define RETIRE(title, deaths, is_long, ...)                                                                            \
    {                                                                                                                  \
        .name = "retire-" title, .start = start, .check = log_check, .kills = deaths, .long_only = is_long,            \
        .parameters = &(const struct retire_scenario){__VA_ARGS__}                                                     \
    }

const struct model_scenario model_scenarios[] = {
    RETIRE("looker", 1, false, .rollers = 1, .rounds = 5, .looks = 2, .slots = 2),
    RETIRE("two", 2, false, .rollers = 2, .rounds = 3, .looks = 0, .slots = 2),
    RETIRE("two-looker", 2, false, .rollers = 2, .rounds = 2, .looks = 1, .slots = 2),
    RETIRE("three-slots", 2, false, .rollers = 2, .rounds = 3, .looks = 1, .slots = 3),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
