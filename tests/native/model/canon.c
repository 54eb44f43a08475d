/* One number for all states that behave alike. */
#include <string.h>

#include "world.h"

static unsigned char text[MODEL_MAX_WORDS * MODEL_MAX_MESSAGES * (8 + MODEL_MAX_WORDS) + 65536];
static size_t used;
/* The oldest message of each word that somebody may still read. */
static uint8_t oldest[MODEL_MAX_WORDS];

static void put(const void *bytes, size_t count) {
    if (count)
        memcpy(text + used, bytes, count);
    used += count;
}

static void put_byte(uint8_t byte) {
    text[used++] = byte;
}

static void find_oldest(void) {
    for (unsigned word = 0; word < memory_count; word++) {
        oldest[word] = (uint8_t)(world.memory.lengths[word] - 1);
        for (unsigned actor = 0; actor < world_actors; actor++)
            if (world.actors[actor].status == WORLD_READY &&
                world.actors[actor].memory.now.at[word] < oldest[word])
                oldest[word] = world.actors[actor].memory.now.at[word];
    }
}

/* Numbers of messages begin at the oldest readable one; knowing of older ones is no knowledge. */
static void put_view(const memory_view *view) {
    for (unsigned word = 0; word < memory_count; word++)
        text[used + word] = view->at[word] > oldest[word] ? view->at[word] - oldest[word] : 0;
    used += memory_count;
}

static void put_actor(unsigned number) {
    const struct world_actor *actor = &world.actors[number];
    put_byte(actor->status);
    if (actor->status != WORLD_READY)
        return;
    put_byte((uint8_t)(actor->woken | actor->fresh << 1 | actor->quiet << 2 | actor->modified << 3));
    put_byte(actor->pending.kind);
    put_byte(actor->pending.place);
    put(&actor->pending.expected, sizeof(uint64_t));
    put(&actor->pending.value, sizeof(uint64_t));
    put_view(&actor->memory.now);
    put_view(&actor->memory.seen);
    put_view(&actor->memory.fenced);
    const unsigned char *top = world_roles[number].stack + WORLD_STACK_BYTES;
    put(actor->stack_pointer, (size_t)(top - (const unsigned char *)actor->stack_pointer));
}

struct visited_hash world_hash(void) {
    used = 0;
    find_oldest();
    put_byte((uint8_t)world.running);
    put_byte(world.kills);
    put(world.bells, sizeof(world.bells));
    put_view(&world.memory.global);
    for (unsigned actor = 0; actor < world_actors; actor++)
        put_actor(actor);
    for (unsigned word = 0; word < memory_count; word++) {
        put_byte((uint8_t)(world.memory.lengths[word] - oldest[word]));
        for (unsigned message = oldest[word]; message < world.memory.lengths[word]; message++) {
            put(&memory_words[word].history[message].value, sizeof(uint64_t));
            put_view(&memory_words[word].history[message].view);
        }
    }
    for (unsigned at = 0; at < WORLD_GHOSTS; at++)
        put(world_ghosts[at].memory, world_ghosts[at].bytes);
    return visited_hash(text, used);
}
