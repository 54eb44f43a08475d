/* atomic.h's operations, as actors call them: each leaves a request in the world and switches to the explorer. */
#include <stdio.h>
#include <stdlib.h>

#include "step.h"

shmq_a64 model_spare;

/* Without a turn of its own: by checks, on the main stack, and for words that nobody registered, which never change. */
static bool is_plain(const shmq_a64 *word, int *number) {
    *number = memory_find(word);
    return step_actor < 0 || *number < 0;
}

static uint64_t plain(const shmq_a64 *word, int number) {
    return number < 0 ? word->raw : memory_newest(&world.memory, (unsigned)number);
}

static uint64_t ask(enum world_kind kind, unsigned place, uint64_t expected, uint64_t value) {
    struct world_actor *me = &world.actors[step_actor];
    me->pending = (struct world_op){(uint8_t)kind, (uint8_t)place, expected, value};
    step_back();
    return world.actors[step_actor].reply;
}

static uint64_t load(enum world_kind kind, const shmq_a64 *word) {
    int number;
    if (is_plain(word, &number))
        return plain(word, number);
    return ask(kind, (unsigned)number, 0, 0);
}

static uint64_t change(enum world_kind kind, const shmq_a64 *word, uint64_t expected, uint64_t value) {
    int number;
    bool plain_word = is_plain(word, &number);
    if (plain_word && kind == WORLD_AND && word->raw == 0)
        return 0; /* changes nothing: the rest of a bitmap */
    if (plain_word)
        model_fail("registered", "a write to a word that the scenario does not know", (uint64_t)(uintptr_t)word, value);
    return ask(kind, (unsigned)number, expected, value);
}

uint64_t shmq_load_acquire(const shmq_a64 *word) {
    return load(WORLD_LOAD_ACQUIRE, word);
}

uint64_t shmq_load_relaxed(const shmq_a64 *word) {
    return load(WORLD_LOAD_RELAXED, word);
}

uint64_t shmq_store_release(shmq_a64 *word, uint64_t value) {
    change(WORLD_STORE_RELEASE, word, 0, value);
    return value;
}

uint64_t shmq_store_relaxed(shmq_a64 *word, uint64_t value) {
    change(WORLD_STORE_RELAXED, word, 0, value);
    return value;
}

static bool cas(enum world_kind kind, shmq_a64 *word, uint64_t *expected, uint64_t desired) {
    uint64_t found = change(kind, word, *expected, desired);
    if (world.actors[step_actor].reply_ok)
        return true;
    *expected = found;
    return false;
}

bool shmq_cas(shmq_a64 *word, uint64_t *expected, uint64_t desired) {
    return cas(WORLD_CAS, word, expected, desired);
}

bool model_cas_relaxed(shmq_a64 *word, uint64_t *expected, uint64_t desired) {
    return cas(WORLD_CAS_RELAXED, word, expected, desired);
}

uint64_t shmq_fetch_add(shmq_a64 *word, uint64_t value) {
    return change(WORLD_ADD, word, 0, value);
}

uint64_t shmq_fetch_or(shmq_a64 *word, uint64_t value) {
    return change(WORLD_OR, word, 0, value);
}

uint64_t shmq_fetch_and(shmq_a64 *word, uint64_t value) {
    return change(WORLD_AND, word, 0, value);
}

void shmq_fence(void) {
    ask(WORLD_FENCE, 0, 0, 0);
}

void shmq_fence_after_rmw(void) {
    ask(WORLD_FENCE_AFTER_RMW, 0, 0, 0);
}

void model_fence_none(void) {
}

void model_data_store(shmq_a64 *word, uint64_t value) {
    shmq_store_relaxed(word, value);
}

uint64_t model_data_load(const shmq_a64 *word) {
    return shmq_load_relaxed(word);
}

unsigned model_choose(unsigned options) {
    return (unsigned)ask(WORLD_CHOOSE, options, 0, 0);
}

void model_turn(void) {
    ask(WORLD_TURN, 0, 0, 0);
}

void model_post(unsigned bell) {
    ask(WORLD_POST, bell, 0, 0);
}

bool model_wait(unsigned bell) {
    return ask(WORLD_WAIT, bell, 0, 0);
}

bool model_pause(void) {
    return ask(WORLD_PAUSE, 0, 0, 0);
}

bool model_rest(void) {
    return ask(WORLD_PAUSE, 1, 0, 0);
}

void model_drop(void) {
    ask(WORLD_DROP, 0, 0, 0);
    abort();
}

uint64_t model_newest(const shmq_a64 *word) {
    return plain(word, memory_find(word));
}

unsigned model_killed(void) {
    return world.kills;
}

bool model_is_killed(unsigned actor) {
    return world.actors[actor].status == WORLD_KILLED;
}

bool model_is_still(void) {
    return world.actors[step_actor].fresh;
}

void model_fail(const char *property, const char *what, uint64_t a, uint64_t b) {
    if (!world_failure.property)
        world_failure = (struct world_failure){property, what, a, b};
    if (step_actor >= 0)
        step_back(); /* for good: the exploration ends here */
}
