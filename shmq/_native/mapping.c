#include "mapping.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "files.h"
#include "guard.h"
#include "pins.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct shmq_mapping *pinned; /* all that this process has pinned */

static int taint(void *argument) {
    struct shmq_mapping *mapping = argument;
    shmq_pins_taint(&mapping->header->pins);
    return SHMQ_OK;
}

/* The child may look at what its parent has pinned for as long as it lives, and no pin names it (pins.h, P3). */
static void before_fork(void) {
    struct shmq_fail ignored; /* a file that was cut short is used by nobody again */
    pthread_mutex_lock(&lock);
    for (struct shmq_mapping *mapping = pinned; mapping; mapping = mapping->next)
        shmq_guarded(taint, mapping, &ignored, "a pinned segment");
}

static void in_parent(void) {
    pthread_mutex_unlock(&lock);
}

static void in_child(void) {
    pinned = NULL;
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(before_fork, in_parent, in_child);
}

struct shmq_mapping *shmq_mapping_new(void *base, size_t bytes) {
    struct shmq_mapping *mapping = calloc(1, sizeof *mapping);
    if (!mapping) {
        munmap(base, bytes);
        return NULL;
    }
    mapping->header = base;
    mapping->bytes = bytes;
    mapping->users = 1;
    mapping->fork_count = shmq_fork_count();
    return mapping;
}

static void release(struct shmq_mapping *mapping) {
    if (--mapping->users)
        return;
    munmap(mapping->header, mapping->bytes);
    free(mapping);
}

void shmq_mapping_hold(struct shmq_mapping *mapping) {
    pthread_mutex_lock(&lock);
    mapping->users++;
    pthread_mutex_unlock(&lock);
}

void shmq_mapping_release(struct shmq_mapping *mapping) {
    if (!mapping)
        return;
    pthread_mutex_lock(&lock);
    release(mapping);
    pthread_mutex_unlock(&lock);
}

static bool is_inherited(const struct shmq_mapping *mapping) {
    return mapping->fork_count != shmq_fork_count();
}

static int take_pin(void *argument) {
    struct shmq_mapping *mapping = argument;
    mapping->entry = shmq_pins_take(&mapping->header->pins, mapping->holder);
    return SHMQ_OK;
}

static int drop_pin(void *argument) {
    struct shmq_mapping *mapping = argument;
    shmq_pins_drop(&mapping->header->pins, mapping->entry, mapping->holder);
    return SHMQ_OK;
}

int shmq_mapping_pin(struct shmq_mapping *mapping, const struct shmq_process *process, struct shmq_fail *fail) {
    pthread_mutex_lock(&lock);
    int result = is_inherited(mapping) ? SHMQ_LOST : SHMQ_OK;
    if (mapping->pins == 0 && result == SHMQ_OK) {
        mapping->holder = shmq_pin_holder(process->slot, process->epoch);
        result = shmq_guarded(take_pin, mapping, fail, process->directory);
        if (result == SHMQ_OK) {
            mapping->next = pinned;
            pinned = mapping;
        }
    }
    mapping->pins += result == SHMQ_OK;
    pthread_mutex_unlock(&lock);
    return result;
}

static void unpin(struct shmq_mapping *mapping) {
    if (--mapping->pins || is_inherited(mapping))
        return;
    struct shmq_mapping **link = &pinned;
    while (*link != mapping)
        link = &(*link)->next;
    *link = mapping->next;
    struct shmq_fail ignored; /* a page that cannot be written keeps its pin: the file is not used again */
    shmq_guarded(drop_pin, mapping, &ignored, "a pinned segment");
}

void shmq_mapping_unpin(struct shmq_mapping *mapping) {
    pthread_mutex_lock(&lock);
    unpin(mapping);
    pthread_mutex_unlock(&lock);
}

void shmq_mapping_let_go(struct shmq_mapping *mapping) {
    pthread_mutex_lock(&lock);
    if (mapping->pins)
        unpin(mapping);
    release(mapping);
    pthread_mutex_unlock(&lock);
}

/* ---- The cache ---- */

struct search {
    struct shmq_mapping *mapping;
    uint64_t incarnation;
};

static int is_now(void *argument) {
    struct search *look = argument;
    /* PAIR incarnation: only a hint; the look at the ring that follows says whether it holds. */
    return shmq_load_relaxed(shmq_incarnation_of(look->mapping->header)) == look->incarnation ? SHMQ_OK : SHMQ_NOTHING;
}

static bool is_incarnation(struct shmq_mapping *mapping, uint64_t incarnation, struct shmq_fail *fail) {
    struct search look = {mapping, incarnation};
    return shmq_guarded(is_now, &look, fail, "a mapped segment") == SHMQ_OK;
}

struct shmq_mapping *shmq_cache_find(struct shmq_cache *cache, uint64_t incarnation, struct shmq_fail *fail) {
    struct shmq_mapping *found = NULL;
    pthread_mutex_lock(&lock);
    for (uint32_t place = 0; place < SHMQ_CACHED && !found; place++)
        if (cache->files[place] && is_incarnation(cache->files[place], incarnation, fail)) {
            found = cache->files[place];
            found->users++;
        }
    pthread_mutex_unlock(&lock);
    return found;
}

struct liveliness {
    const struct shmq_ring *ring;
    const struct shmq_mapping *mapping;
};

static int is_live(void *argument) {
    const struct liveliness *look = argument;
    uint64_t incarnation;
    bool live = shmq_ring_look(look->ring, look->mapping->seq, &incarnation) == SHMQ_SEQ_LIVE;
    return live && incarnation == look->mapping->incarnation ? SHMQ_OK : SHMQ_NOTHING;
}

/* Retired as what it was, and nothing else since. */
static bool is_gone(struct shmq_mapping *mapping, const struct shmq_ring *ring) {
    struct shmq_fail ignored;
    struct liveliness look = {ring, mapping};
    return shmq_guarded(is_live, &look, &ignored, "control") != SHMQ_OK &&
           is_incarnation(mapping, mapping->incarnation, &ignored);
}

static void drop(struct shmq_cache *cache, uint32_t place) {
    if (!cache->files[place])
        return;
    cache->bytes -= cache->files[place]->bytes;
    release(cache->files[place]);
    cache->files[place] = NULL;
}

/* A free place, with room for so many bytes: others go in the order of their places. */
static uint32_t make_place(struct shmq_cache *cache, uint64_t bytes, const struct shmq_ring *ring) {
    for (uint32_t place = 0; place < SHMQ_CACHED; place++)
        if (cache->files[place] && is_gone(cache->files[place], ring))
            drop(cache, place);
    uint32_t place;
    do
        drop(cache, place = cache->next++ % SHMQ_CACHED);
    while (cache->bytes + bytes > SHMQ_CACHED_BYTES);
    return place;
}

void shmq_cache_put(struct shmq_cache *cache, struct shmq_mapping *mapping, uint64_t seq, uint64_t incarnation,
                    const struct shmq_ring *ring) {
    bool here = mapping->bytes > SHMQ_CACHED_BYTES;
    pthread_mutex_lock(&lock);
    mapping->seq = seq;
    mapping->incarnation = incarnation;
    for (uint32_t place = 0; place < SHMQ_CACHED && !here; place++)
        here = cache->files[place] == mapping;
    if (!here) {
        cache->files[make_place(cache, mapping->bytes, ring)] = mapping;
        cache->bytes += mapping->bytes;
        mapping->users++;
    }
    pthread_mutex_unlock(&lock);
}

void shmq_cache_clear(struct shmq_cache *cache) {
    pthread_mutex_lock(&lock);
    for (uint32_t place = 0; place < SHMQ_CACHED; place++)
        drop(cache, place);
    pthread_mutex_unlock(&lock);
}
