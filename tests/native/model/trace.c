/* A failing execution as text, one operation a line. */
#include <inttypes.h>
#include <stdio.h>

#include "layout.h"
#include "world.h"

static const char *const names[] = {
    [WORLD_START] = "begins",
    [WORLD_LOAD_ACQUIRE] = "load",
    [WORLD_LOAD_RELAXED] = "load relaxed",
    [WORLD_STORE_RELEASE] = "store",
    [WORLD_STORE_RELAXED] = "store relaxed",
    [WORLD_CAS] = "cas",
    [WORLD_CAS_RELAXED] = "cas relaxed",
    [WORLD_ADD] = "add",
    [WORLD_OR] = "or",
    [WORLD_AND] = "and",
    [WORLD_FENCE] = "fence",
    [WORLD_FENCE_AFTER_RMW] = "fence after rmw",
    [WORLD_CHOOSE] = "chooses",
    [WORLD_TURN] = "lets others go on",
    [WORLD_POST] = "rings",
    [WORLD_WAIT] = "sleeps",
    [WORLD_PAUSE] = "waits for news",
    [WORLD_DROP] = "drops",
};

static void print_journal_word(uint64_t value) {
    static const char *const states[] = {"?0", "EMPTY", "CLAIMED", "COMMITTED", "ABORTED", "SEALED", "RESERVED", "?7"};
    printf("%s(", states[shmq_word_state(value)]);
    if (shmq_word_state(value) == SHMQ_EMPTY)
        printf("%" PRIu64 ")", value >> 3);
    else
        printf("owner %u, end %u, count %u)", shmq_word_owner(value), shmq_word_pos(value), shmq_word_count(value));
}

static void print_value(unsigned word, uint64_t value) {
    static const char *const states[] = {"?0", "FREE", "LIVE", "?3"};
    if (memory_words[word].format == MODEL_JOURNAL)
        print_journal_word(value);
    else if (memory_words[word].format == MODEL_RING)
        printf("%s(lap %" PRIu64 ", %" PRIu64 ")", states[shmq_ring_state(value)], shmq_ring_lap(value),
               shmq_ring_incarnation(value));
    else
        printf("%" PRIu64, value);
}

static void print_read(unsigned word, int message) {
    print_value(word, memory_words[word].history[message].value);
    int newer = world.memory.lengths[word] - 1 - message;
    if (newer)
        printf(" (%d newer)", newer);
}

void world_trace(unsigned actor, unsigned option) {
    const struct world_op *op = &world.actors[actor].pending;
    if (op->kind == WORLD_START)
        return;
    printf("      %-10s %s", world_roles[actor].name, names[op->kind]);
    if (op->kind == WORLD_CHOOSE || op->kind == WORLD_POST || op->kind == WORLD_WAIT)
        printf(" %u", op->kind == WORLD_CHOOSE ? option : op->place);
    if (op->kind < WORLD_LOAD_ACQUIRE || op->kind >= WORLD_FENCE) {
        printf("\n");
        return;
    }
    const struct memory_word *word = &memory_words[op->place];
    printf(" %s[%u] ", word->name, word->index);
    bool load = op->kind == WORLD_LOAD_ACQUIRE || op->kind == WORLD_LOAD_RELAXED;
    bool cas = op->kind == WORLD_CAS || op->kind == WORLD_CAS_RELAXED;
    int message = load || cas ? world_message(actor, option) : -1;
    if (message >= 0) {
        printf(cas ? "fails: " : "= ");
        print_read(op->place, message);
    } else {
        print_value(op->place, memory_newest(&world.memory, op->place));
        printf(cas ? " -> " : " <- ");
        print_value(op->place, op->value);
    }
    printf("\n");
}
