/* The model checker, as a scenario sees it.
 *
 * A scenario registers the shared words, the actors and its ghost state; explore.c then runs every execution that the
 * memory model of memory.h allows, with up to `kills` deaths, and calls the scenario's checks. The actors run the very
 * source of the product, compiled with -DSHMQ_MODEL: each function of atomic.h becomes a request to the explorer.
 *
 * What makes it exhaustive and yet small (each step keeps every execution, up to reordering what cannot be seen):
 *   - An actor's loads change nothing but its own view, and a message that it may read now it may read later, too. So
 *     loads are done as late as possible: one block is `loads, then one write`, and others run only between blocks.
 *   - A plain store into memory that nobody reads, modifies or writes before it is published (MODEL_EAGER) may be done
 *     as early as possible: others may still read what was there before.
 *   - A death is seen only by what the dead one does not write, so it is tried right after each of its writes.
 *   - States are hashed in canonical form (128 bits); messages that no living actor can read any more do not count. */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atomic.h"

#define MODEL_MAX_ACTORS 6
#define MODEL_MAX_WORDS 64
#define MODEL_MAX_MESSAGES 24
#define MODEL_MAX_BELLS 4

/* How a word's values are printed. */
enum model_format { MODEL_NUMBER, MODEL_JOURNAL, MODEL_RING };

/* Plain stores to it need no turn of their own: nobody looks before its owner publishes it by another word. */
#define MODEL_EAGER 1u

/* Flags of an actor. */
#define MODEL_LAZY 1u     /* runs only when no other can: for pure readers, whose loads may all come last */
#define MODEL_IMMORTAL 2u /* is never killed */
#define MODEL_OPTIONAL 4u /* need not finish */

struct model_scenario {
    const char *name;
    void (*start)(const void *parameters); /* registers words, actors and ghost state */
    void (*check)(void);                   /* called in every state; NULL for none */
    void (*finish)(void);                  /* called in every final state; NULL for none */
    void (*conclude)(void);                /* called once, after all of them; NULL for none */
    const void *parameters;
    unsigned kills;
    bool long_only;
};

/* A scenario file ends in one table of these. */
extern const struct model_scenario model_scenarios[];
extern const size_t model_scenario_count;

/* To be called by start(). The ghost state must be static; it is saved and restored with the rest. */
void model_word(shmq_a64 *word, uint64_t initial, enum model_format format, unsigned flags, const char *name,
                unsigned index);
void model_actor(const char *name, void (*run)(void *argument), void *argument, unsigned flags);
void model_ghost(void *memory, size_t bytes);

/* To be called by actors. */
unsigned model_choose(unsigned options);            /* any number below `options` */
void model_data_store(shmq_a64 *word, uint64_t value); /* payload, as plain bytes */
uint64_t model_data_load(const shmq_a64 *word);
void model_turn(void); /* others may run here: before ghost state changes that they look at */
void model_post(unsigned bell);
/* Sleep until rung. False: only the bound on sleeping ended it, which is allowed when somebody was killed. */
bool model_wait(unsigned bell);
/* Wait for news. True: look again. False: everybody else is done, and what was seen last is the final state. */
bool model_pause(void);
/* The same, but news do not end it: sleep until everybody else is still. */
bool model_rest(void);
/* This branch shows nothing new (a healer that found nothing to heal): forget it. */
_Noreturn void model_drop(void);

/* By actors and checks. A failure ends the exploration; `property` is what mutants are expected to break. */
void model_fail(const char *property, const char *what, uint64_t a, uint64_t b);
#define MODEL_CHECK(condition, property, a, b)                                                                         \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            model_fail(property, #condition, (uint64_t)(a), (uint64_t)(b));                                            \
    } while (0)

/* By checks: the newest value of a word, and how many were killed. */
uint64_t model_newest(const shmq_a64 *word);
unsigned model_killed(void);
/* By actors too: whether actor number `actor` was killed; and whether the caller was told that everybody is still. */
bool model_is_killed(unsigned actor);
bool model_is_still(void);

/* A spare word for mutants that need one more; start() of every scenario registers it. */
extern shmq_a64 model_spare;

/* A compare-and-swap that orders nothing, for mutants. */
bool model_cas_relaxed(shmq_a64 *word, uint64_t *expected, uint64_t desired);
void model_fence_none(void);

#endif
