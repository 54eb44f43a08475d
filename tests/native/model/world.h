/* The state of one execution: actors, what each waits to do, and the memory. */
#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include "memory.h"
#include "visited.h"

#define WORLD_STACK_BYTES 16384 /* of an actor */
#define WORLD_SAVED_BYTES 4096  /* most of it that may be in use between two operations */
#define WORLD_GHOST_BYTES 2048 /* of all regions together */
#define WORLD_GHOSTS 5

enum world_kind {
    WORLD_START,
    WORLD_LOAD_ACQUIRE,
    WORLD_LOAD_RELAXED,
    WORLD_STORE_RELEASE,
    WORLD_STORE_RELAXED,
    WORLD_CAS,
    WORLD_CAS_RELAXED,
    WORLD_ADD,
    WORLD_OR,
    WORLD_AND,
    WORLD_FENCE,
    WORLD_FENCE_AFTER_RMW,
    WORLD_CHOOSE,
    WORLD_TURN,
    WORLD_POST,
    WORLD_WAIT,
    WORLD_PAUSE,
    WORLD_DROP,
    WORLD_END,
};

/* What an actor is about to do. `place` is a word, a bell, a number of options, or 1 for a pause that news do not end. */
struct world_op {
    uint8_t kind, place;
    uint64_t expected, value;
};

enum world_status { WORLD_READY, WORLD_DONE, WORLD_KILLED };

struct world_actor {
    void *stack_pointer;
    struct world_op pending;
    uint64_t reply;
    uint8_t status;
    bool reply_ok;
    bool woken; /* others wrote since it paused */
    bool fresh; /* everybody else was still: it sees only the newest messages */
    bool quiet; /* it has looked again since then */
    bool modified; /* its last write was a read-modify-write, or the attempt of one */
    struct memory_actor memory;
};

struct world {
    struct memory_state memory;
    struct world_actor actors[MODEL_MAX_ACTORS];
    uint8_t bells[MODEL_MAX_BELLS];
    int8_t running; /* the actor in the middle of a block, or -1 */
    uint8_t kills;
    uint16_t block_ops;
};

/* What does not change. */
struct world_role {
    const char *name;
    void (*run)(void *argument);
    void *argument;
    unsigned flags;
    unsigned char *stack;
};

struct world_failure {
    const char *property, *what;
    uint64_t a, b;
};

extern struct world world;
extern struct world_role world_roles[MODEL_MAX_ACTORS];
extern unsigned world_actors;
extern struct world_ghost {
    void *memory;
    size_t bytes;
} world_ghosts[WORLD_GHOSTS]; /* unused ones have 0 bytes */
extern struct world_failure world_failure; /* property NULL: none */
extern bool world_dropped;
extern bool world_naive; /* without the reductions that model.h lists: every operation is a turn of its own */

/* Begin an execution of `scenario`. */
void world_begin(const struct model_scenario *scenario);

/* In how many ways the pending operation of `actor` can end. */
unsigned world_options(unsigned actor);
/* Which message a load or a failing compare-and-swap reads; -1: the compare-and-swap succeeds. */
int world_message(unsigned actor, unsigned option);
/* Whether `actor` may begin a block now; `still`: nobody else can. */
bool world_ready(unsigned actor, bool still);
/* Run `actor` from its pending operation, ended by `option`, up to the next choice or the end of its block. Returns
 * whether it wrote something that others can see. */
bool world_step(unsigned actor, unsigned option);
void world_kill(unsigned actor);

struct visited_hash world_hash(void);

/* trace.c. Called before each operation when `world_tracing`. */
extern bool world_tracing;
void world_trace(unsigned actor, unsigned option);

#endif
