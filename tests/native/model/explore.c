/* Depth-first search over all executions of one scenario. */
#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define MAX_DEPTH 1000

/* What to restore on the way back; histories of messages are cut by restoring their lengths. */
struct frame {
    struct world world;
    unsigned char ghost[WORLD_GHOST_BYTES];
    unsigned char stack[WORLD_SAVED_BYTES];
    uint8_t actor, option;
    bool kill;
};

static struct frame *frames;
static unsigned depth;
static unsigned path_length; /* of the failing execution */
static const struct model_scenario *scenario;
static struct explore_result result;

static void copy_ghosts(unsigned char *saved, bool back) {
    for (unsigned at = 0; at < WORLD_GHOSTS && world_ghosts[at].bytes; saved += world_ghosts[at++].bytes)
        memcpy(back ? world_ghosts[at].memory : saved, back ? saved : world_ghosts[at].memory, world_ghosts[at].bytes);
}

static void save(unsigned actor) {
    struct frame *frame = &frames[depth];
    frame->world = world;
    copy_ghosts(frame->ghost, false);
    const unsigned char *top = world_roles[actor].stack + WORLD_STACK_BYTES;
    const unsigned char *from = world.actors[actor].stack_pointer;
    memcpy(frame->stack, from, (size_t)(top - from));
}

static void restore(unsigned actor) {
    struct frame *frame = &frames[depth];
    world = frame->world;
    world_dropped = false;
    copy_ghosts(frame->ghost, true);
    const unsigned char *top = world_roles[actor].stack + WORLD_STACK_BYTES;
    unsigned char *to = world.actors[actor].stack_pointer;
    memcpy(to, frame->stack, (size_t)(top - to));
}

static void explore(void);

/* Let `actor` go on in this one way, explore what follows, and come back. Returns whether it wrote. */
static bool branch(unsigned actor, unsigned option, bool kill) {
    frames[depth].actor = (uint8_t)actor;
    frames[depth].option = (uint8_t)option;
    frames[depth].kill = kill;
    save(actor);
    bool wrote = world_step(actor, option);
    bool alive = world.actors[actor].status == WORLD_READY;
    result.steps++;
    if (kill)
        world_kill(actor);
    if (!world_dropped) {
        depth++;
        explore();
        depth--;
    }
    if (!world_failure.property)
        restore(actor);
    return (wrote || world_naive) && alive;
}

static void all_options(unsigned actor) {
    unsigned options = world_options(actor);
    for (unsigned option = 0; option < options && !world_failure.property; option++) {
        bool may_die = branch(actor, option, false);
        if (may_die && world.kills < scenario->kills && !(world_roles[actor].flags & MODEL_IMMORTAL) &&
            !world_failure.property)
            branch(actor, option, true);
    }
}

/* Nobody can go on: is that how it should end? */
static void end(void) {
    result.ends++;
    for (unsigned actor = 0; actor < world_actors; actor++)
        if (world.actors[actor].status == WORLD_READY && !(world_roles[actor].flags & MODEL_OPTIONAL))
            model_fail("lost-wakeup", "an actor sleeps and nobody will ring", actor, 0);
    if (!world_failure.property && scenario->finish)
        scenario->finish();
}

/* First those that are not lazy, then the lazy ones, then, everybody being still, those that wait. An optional actor
 * comes first, but alone it is no progress: the others may be at their end. */
static bool one_level(bool lazy, bool still) {
    bool any = false;
    for (unsigned actor = 0; actor < world_actors && !world_failure.property; actor++) {
        unsigned flags = world_roles[actor].flags;
        bool is_lazy = flags & MODEL_LAZY && (still || !world_naive);
        if (is_lazy != lazy || (still && flags & MODEL_OPTIONAL) || !world_ready(actor, still))
            continue;
        all_options(actor);
        any |= !(flags & MODEL_OPTIONAL);
    }
    return any;
}

static bool is_known(void) {
    if (depth + 1 >= MAX_DEPTH)
        model_fail("bound", "an execution is longer than MAX_DEPTH", depth, 0);
    if (!world_failure.property && world.running < 0 && scenario->check)
        scenario->check();
    return world_failure.property || !visited_add(world_hash());
}

static void explore(void) {
    unsigned here = depth;
    result.deepest = depth > result.deepest ? depth : result.deepest;
    bool failed = world_failure.property;
    if (failed || is_known()) {
        path_length = world_failure.property ? here : 0;
        return;
    }
    if (world.running >= 0) {
        all_options((unsigned)world.running);
        return;
    }
    for (int level = 0; level < 4; level++)
        if (one_level(level & 1, level & 2))
            return;
    if (world_failure.property)
        return;
    end();
    path_length = here;
}

struct explore_result explore_run(const struct model_scenario *which, bool naive) {
    world_naive = naive;
    if (!frames)
        frames = malloc(MAX_DEPTH * sizeof(*frames));
    if (!frames)
        abort();
    scenario = which;
    result = (struct explore_result){0};
    depth = 0;
    visited_clear();
    world_begin(scenario);
    explore();
    if (!world_failure.property && scenario->conclude)
        scenario->conclude();
    result.states = visited_count();
    result.property = world_failure.property;
    return result;
}

void explore_trace(void) {
    struct world_failure failure = world_failure;
    world_begin(scenario);
    world_tracing = true;
    for (unsigned at = 0; at < path_length && !world_failure.property; at++) {
        if (world.running < 0 && scenario->check)
            scenario->check(); /* it may keep ghost state */
        world_step(frames[at].actor, frames[at].option);
        if (frames[at].kill) {
            printf("      %-10s is killed\n", world_roles[frames[at].actor].name);
            world_kill(frames[at].actor);
        }
    }
    world_tracing = false;
    printf("      property %s: %s (%llu, %llu)\n", failure.property, failure.what, (unsigned long long)failure.a,
           (unsigned long long)failure.b);
}
