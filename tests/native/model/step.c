/* Runs actors: what each operation does to the memory, and who may go next. */
#include "step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coroutine.h"

/* More operations than this in one block, with no write among them, is a loop that nobody can end. */
#define MAX_BLOCK_OPS 4000
/* Zeroed below the stack pointer before an actor goes on, so that leftovers of finished calls do not tell equal states
 * apart. More than the calls of the product need. */
#define SCRATCH_BYTES 1024

struct world world;
struct world_role world_roles[MODEL_MAX_ACTORS];
unsigned world_actors;
struct world_ghost world_ghosts[WORLD_GHOSTS];
struct world_failure world_failure;
bool world_dropped;
bool world_naive;
bool world_tracing;
int step_actor = -1;

static void *explorer_stack;
static bool eager[MODEL_MAX_WORDS];

void step_back(void) {
    coroutine_switch(&world.actors[step_actor].stack_pointer, explorer_stack);
}

static void enter(void) {
    world_roles[step_actor].run(world_roles[step_actor].argument);
    world.actors[step_actor].pending = (struct world_op){.kind = WORLD_END};
    step_back();
}

void model_actor(const char *name, void (*run)(void *argument), void *argument, unsigned flags) {
    if (world_actors == MODEL_MAX_ACTORS)
        abort();
    struct world_role *role = &world_roles[world_actors];
    unsigned char *stack = role->stack ? role->stack : aligned_alloc(64, WORLD_STACK_BYTES);
    *role = (struct world_role){name, run, argument, flags, stack};
    memset(stack, 0, WORLD_STACK_BYTES);
    world.actors[world_actors++] =
        (struct world_actor){.stack_pointer = coroutine_new(stack + WORLD_STACK_BYTES, enter), .status = WORLD_READY};
}

void model_word(shmq_a64 *word, uint64_t initial, enum model_format format, unsigned flags, const char *name,
                unsigned index) {
    memory_add(&world.memory, word, initial);
    struct memory_word *added = &memory_words[memory_count - 1];
    added->name = name;
    added->index = index;
    added->format = (uint8_t)format;
    eager[memory_count - 1] = flags & MODEL_EAGER;
}

void model_ghost(void *memory, size_t bytes) {
    size_t total = bytes, at = 0;
    for (; at < WORLD_GHOSTS && world_ghosts[at].bytes; at++)
        total += world_ghosts[at].bytes;
    if (at == WORLD_GHOSTS || total > WORLD_GHOST_BYTES)
        abort();
    world_ghosts[at] = (struct world_ghost){memory, bytes};
}

void world_begin(const struct model_scenario *scenario) {
    memset(&world, 0, sizeof(world));
    memory_clear(&world.memory);
    world.running = -1;
    world_actors = 0;
    memset(world_ghosts, 0, sizeof(world_ghosts));
    world_failure.property = NULL;
    world_dropped = false;
    model_word(&model_spare, 0, MODEL_NUMBER, 0, "spare", 0);
    scenario->start(scenario->parameters);
}

static bool is_load(unsigned kind) {
    return kind == WORLD_LOAD_ACQUIRE || kind == WORLD_LOAD_RELAXED;
}

static bool is_cas(unsigned kind) {
    return kind == WORLD_CAS || kind == WORLD_CAS_RELAXED;
}

/* The messages of `op` from the newest to the oldest readable one; a failing CAS skips those that it expects. */
static int nth_message(const struct world_actor *actor, const struct world_op *op, unsigned nth, unsigned *total) {
    int newest = world.memory.lengths[op->place] - 1, oldest = actor->fresh ? newest : actor->memory.now.at[op->place];
    unsigned found = 0;
    int message = -1;
    for (int at = newest; at >= oldest; at--) {
        if (is_cas(op->kind) && memory_words[op->place].history[at].value == op->expected)
            continue;
        if (found++ == nth)
            message = at;
    }
    *total = found;
    return message;
}

int world_message(unsigned number, unsigned option) {
    const struct world_actor *actor = &world.actors[number];
    unsigned total;
    if (is_cas(actor->pending.kind) && memory_newest(&world.memory, actor->pending.place) == actor->pending.expected) {
        if (option == 0)
            return -1;
        option--;
    }
    return nth_message(actor, &actor->pending, option, &total);
}

unsigned world_options(unsigned number) {
    const struct world_actor *actor = &world.actors[number];
    const struct world_op *op = &actor->pending;
    unsigned total;
    if (op->kind == WORLD_CHOOSE)
        return op->place;
    if (!is_load(op->kind) && !is_cas(op->kind))
        return 1;
    nth_message(actor, op, 0, &total);
    return total + (is_cas(op->kind) && memory_newest(&world.memory, op->place) == op->expected);
}

bool world_ready(unsigned number, bool still) {
    const struct world_actor *actor = &world.actors[number];
    if (actor->status != WORLD_READY)
        return false;
    if (actor->pending.kind == WORLD_PAUSE)
        return still || actor->woken;
    if (actor->pending.kind == WORLD_WAIT)
        return world.bells[actor->pending.place] || (still && world.kills);
    return true;
}

static void pause_ends(struct world_actor *actor) {
    if (actor->woken) {
        actor->reply = true;
    } else {
        actor->reply = !(actor->fresh && actor->quiet);
        actor->fresh = actor->quiet = true;
    }
    actor->woken = false;
}

static void wait_ends(struct world_actor *actor) {
    actor->reply = world.bells[actor->pending.place] > 0;
    if (actor->reply)
        world.bells[actor->pending.place]--;
    else
        actor->fresh = true; /* the bound ended it: everybody else is still */
}

static uint64_t modified(const struct world_op *op, uint64_t old) {
    switch (op->kind) {
    case WORLD_ADD:
        return old + op->value;
    case WORLD_OR:
        return old | op->value;
    case WORLD_AND:
        return old & op->value;
    default:
        return op->value;
    }
}

static bool modify(struct world_actor *actor, bool ordered) {
    const struct world_op *op = &actor->pending;
    actor->reply = memory_newest(&world.memory, op->place);
    actor->modified = true;
    return memory_modify(&world.memory, &actor->memory, op->place, modified(op, actor->reply), ordered);
}

/* End the pending operation. Returns whether others can see a difference. */
static bool perform(struct world_actor *actor, unsigned number, unsigned option) {
    const struct world_op *op = &actor->pending;
    bool room = true;
    int message;
    switch (op->kind) {
    case WORLD_LOAD_ACQUIRE:
    case WORLD_LOAD_RELAXED:
        actor->reply = memory_load(&actor->memory, op->place, (unsigned)world_message(number, option),
                                   op->kind == WORLD_LOAD_ACQUIRE);
        return false;
    case WORLD_CAS:
    case WORLD_CAS_RELAXED:
        message = world_message(number, option);
        actor->reply_ok = message < 0;
        actor->modified = true;
        if (message >= 0) {
            actor->reply = memory_load(&actor->memory, op->place, (unsigned)message, true);
            return false;
        }
        room = modify(actor, op->kind == WORLD_CAS);
        break;
    case WORLD_STORE_RELEASE:
    case WORLD_STORE_RELAXED:
        actor->modified = false;
        room = memory_store(&world.memory, &actor->memory, op->place, op->value, op->kind == WORLD_STORE_RELEASE);
        break;
    case WORLD_ADD:
    case WORLD_OR:
    case WORLD_AND:
        room = modify(actor, true);
        break;
    case WORLD_FENCE_AFTER_RMW:
        if (!actor->modified)
            return false; /* as on x86, where it is only a compiler's fence: after a store it orders nothing */
        memory_fence(&world.memory, &actor->memory);
        break;
    case WORLD_FENCE:
        memory_fence(&world.memory, &actor->memory);
        break;
    case WORLD_POST:
        world.bells[op->place]++;
        break;
    case WORLD_WAIT:
        wait_ends(actor);
        break;
    case WORLD_PAUSE:
        pause_ends(actor);
        return false;
    case WORLD_CHOOSE:
        actor->reply = option;
        return false;
    default:
        return false;
    }
    if (!room)
        model_fail("bound", "a word changes more often than MODEL_MAX_MESSAGES", op->place, 0);
    return true;
}

static void resume(unsigned number) {
    struct world_actor *actor = &world.actors[number];
    memset((char *)actor->stack_pointer - SCRATCH_BYTES, 0, SCRATCH_BYTES);
    step_actor = (int)number;
    coroutine_switch(&explorer_stack, actor->stack_pointer);
    step_actor = -1;
    const char *top = (const char *)world_roles[number].stack + WORLD_STACK_BYTES;
    if (top - (const char *)actor->stack_pointer > WORLD_SAVED_BYTES - 64)
        model_fail("bound", "an actor's stack is larger than WORLD_SAVED_BYTES", number, 0);
    if (actor->pending.kind == WORLD_END)
        actor->status = WORLD_DONE;
    if (actor->pending.kind == WORLD_DROP)
        world_dropped = true;
}

static bool is_eager_store(const struct world_op *op) {
    return op->kind == WORLD_STORE_RELAXED && eager[op->place] && !world_naive;
}

static void tell_others(unsigned writer) {
    for (unsigned other = 0; other < world_actors; other++)
        if (other != writer) {
            const struct world_op *op = &world.actors[other].pending;
            world.actors[other].woken |= op->kind == WORLD_PAUSE && op->place == 0;
            world.actors[other].fresh = world.actors[other].quiet = false;
        }
}

bool world_step(unsigned number, unsigned option) {
    struct world_actor *actor = &world.actors[number];
    bool wrote = false;
    for (;;) {
        if (world_tracing)
            world_trace(number, option);
        bool plain = is_eager_store(&actor->pending), turn = actor->pending.kind == WORLD_TURN;
        wrote |= perform(actor, number, option) && !plain;
        option = 0;
        if (world_failure.property || (resume(number), world_failure.property) || world_dropped)
            return wrote;
        if (actor->status != WORLD_READY)
            break;
        if (is_eager_store(&actor->pending))
            continue;
        if (wrote || turn || world_naive || actor->pending.kind == WORLD_PAUSE || actor->pending.kind == WORLD_WAIT)
            break;
        if (++world.block_ops > MAX_BLOCK_OPS) {
            model_fail("spin", "an actor loops without writing", number, 0);
            return wrote;
        }
        if (world_options(number) > 1) {
            world.running = (int8_t)number;
            return wrote;
        }
    }
    if (wrote)
        tell_others(number);
    world.running = -1;
    world.block_ops = 0;
    return wrote;
}

void world_kill(unsigned number) {
    world.actors[number].status = WORLD_KILLED;
    world.kills++;
}
