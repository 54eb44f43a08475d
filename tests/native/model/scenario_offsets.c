/* (h) Committed offsets: owners of one partition commit while coordinators, of which one may die at any step, take it from
 * them and give it to the next, and an administrator sets it (offsets.h, O1 and O2).
 *
 * PROPERTIES
 *   fenced        a commit landed after the epoch had been raised, or an epoch was given back
 *   went-back     the offset fell, and no administrator said so
 *   lost-commit   a commit was acknowledged, and the next owner, or the file in the end, has less
 *   false-alarm   an owner was refused whom nobody had shut out, or whose commit is there */
#include <string.h>

#include "model.h"
#include "offsets.c"

#define OWNERS 3u

struct offsets_scenario {
    unsigned commits; /* of each owner */
    unsigned fences;  /* that each of two coordinators makes: each begins another owner */
    bool reset;       /* an administrator sets the offset to 0 */
};

static const struct offsets_scenario *now;
static struct shmq_offset_slot slot;
static struct shmq_offsets file = {.slots = &slot, .partitions = 1};
static struct shmq_fail unused_fail; /* too large for an actor's stack */
static shmq_a64 grants[OWNERS]; /* epoch of each owner; the first has 1 */
static struct {
    uint8_t epoch, offset; /* of the word as it was last */
    uint8_t told[OWNERS];  /* last offset that this owner was told has landed, + 1 */
    uint8_t found[OWNERS + 1]; /* offset + 1 when the epoch of this owner ended; 0: not yet, or by an administrator */
    bool reset;
} ghost;

/* ---- What offsets.c asks for ---- */

int shmq_guarded(int (*function)(void *), void *argument, struct shmq_fail *fail, const char *path) {
    (void)fail;
    (void)path;
    return function(argument);
}

uint64_t shmq_wall_ms(void) {
    return 1;
}

/* The rest is about the file, and is never called. */
static int not_here(const char *what) {
    model_fail("registered", what, 0, 0);
    return SHMQ_E_INTERNAL;
}

void shmq_guard_install(void) {
    not_here("shmq_guard_install");
}

uint32_t shmq_crc32c(uint32_t crc, const void *data, size_t bytes) {
    (void)data;
    (void)bytes;
    return crc + (uint32_t)not_here("shmq_crc32c");
}

int shmq_fail(struct shmq_fail *fail, int code, const char *path, const char *format, ...) {
    (void)fail;
    (void)code;
    (void)path;
    return not_here(format);
}

int shmq_create_once(const char *path, const void *header, size_t header_bytes, uint64_t bytes, struct shmq_fail *fail) {
    (void)bytes;
    (void)header;
    (void)header_bytes;
    return shmq_fail(fail, 0, path, "shmq_create_once");
}

int shmq_extend_file(const char *path, uint64_t bytes, struct shmq_fail *fail) {
    (void)bytes;
    return shmq_fail(fail, 0, path, "shmq_extend_file");
}

int shmq_map_file(const char *path, void **base, size_t *bytes, struct shmq_fail *fail) {
    (void)base;
    (void)bytes;
    return shmq_fail(fail, 0, path, "shmq_map_file");
}

int shmq_check_magic(const char *path, const void *base, size_t bytes, const char *magic, struct shmq_fail *fail) {
    (void)base;
    (void)bytes;
    (void)magic;
    return shmq_fail(fail, 0, path, "shmq_check_magic");
}

/* ---- Actors ---- */

static void own(void *argument) {
    unsigned owner = (unsigned)(uintptr_t)argument;
    struct shmq_committed before;
    uint64_t epoch;
    while (!(epoch = shmq_load_acquire(&grants[owner])))
        if (!model_pause())
            return;
    shmq_offsets_get(&file, 0, &before, &unused_fail);
    uint64_t offset = before.offset;
    for (unsigned turn = 0; turn < now->commits; turn++) {
        int result = shmq_offsets_commit(&file, 0, (uint32_t)epoch, offset + 1, false, &before, &unused_fail);
        if (result == SHMQ_LOST) {
            MODEL_CHECK(before.epoch > epoch, "false-alarm", before.epoch, epoch);
            return;
        }
        ghost.told[owner] = (uint8_t)(++offset + 1);
    }
}

/* Shut the owner out and let the next one in. */
static void coordinate(void *unused) {
    (void)unused;
    struct shmq_committed found;
    for (unsigned turn = 0; turn < now->fences; turn++) {
        shmq_offsets_fence(&file, 0, 0, &found, &unused_fail);
        if (found.epoch - 1 < OWNERS)
            shmq_store_release(&grants[found.epoch - 1], found.epoch);
    }
}

static void administrate(void *unused) {
    (void)unused;
    struct shmq_committed before;
    if (now->reset)
        shmq_offsets_reset(&file, 0, true, 0, &before, &unused_fail);
}

/* ---- Judgement ---- */

/* In every state: what changed since the last one? Owner n has epoch n + 1. */
static void watch(void) {
    struct shmq_committed word = parts_of(model_newest(&slot.word));
    bool was_reset = now->reset && word.epoch > ghost.epoch && word.offset == 0 && ghost.offset;
    MODEL_CHECK(word.epoch >= ghost.epoch, "fenced", word.epoch, ghost.epoch);
    MODEL_CHECK(word.offset >= ghost.offset || was_reset, "went-back", word.offset, ghost.offset);
    /* Only the epoch changes when the epoch does. */
    MODEL_CHECK(word.epoch == ghost.epoch || word.offset == ghost.offset || was_reset, "fenced", word.offset,
                ghost.offset);
    for (unsigned epoch = ghost.epoch; epoch < word.epoch && epoch <= OWNERS; epoch++)
        ghost.found[epoch] = was_reset ? 0 : (uint8_t)(ghost.offset + 1);
    ghost.reset |= was_reset;
    ghost.epoch = (uint8_t)word.epoch;
    ghost.offset = (uint8_t)word.offset;
}

static void finish(void) {
    for (unsigned owner = 0; owner < OWNERS; owner++) {
        uint8_t end = ghost.epoch == owner + 1 ? (uint8_t)(ghost.offset + 1) : ghost.found[owner + 1];
        if (end && !(ghost.reset && ghost.epoch == owner + 1))
            MODEL_CHECK(ghost.told[owner] <= end, "lost-commit", ghost.told[owner], end);
        if (end && ghost.told[owner] && !model_is_killed(owner) && !now->reset)
            MODEL_CHECK(ghost.told[owner] == end, "false-alarm", ghost.told[owner], end);
    }
}

static void start(const void *parameters) {
    static const char *const names[OWNERS] = {"owner 1", "owner 2", "owner 3"};
    now = parameters;
    memset(&ghost, 0, sizeof(ghost));
    ghost.epoch = 1;
    model_ghost(&ghost, sizeof(ghost));
    model_word(&slot.word, word_of(1, false, true, 0), MODEL_NUMBER, 0, "word", 0);
    model_word(&slot.commit_ms, 0, MODEL_NUMBER, 0, "commit_ms", 0);
    for (unsigned owner = 0; owner < OWNERS; owner++) {
        model_word(&grants[owner], owner == 0, MODEL_NUMBER, 0, "grant", owner);
        model_actor(names[owner], own, (void *)(uintptr_t)owner, 0);
    }
    model_actor("coordinator", coordinate, NULL, 0);
    model_actor("next coordinator", coordinate, NULL, 0);
    model_actor("administrator", administrate, NULL, 0);
}

#define OFFSETS(title, deaths, is_long, ...)                                                                           \
    {                                                                                                                  \
        .name = "offsets-" title, .start = start, .check = watch, .finish = finish, .kills = deaths,                  \
        .long_only = is_long, .parameters = &(const struct offsets_scenario){__VA_ARGS__}                              \
    }

const struct model_scenario model_scenarios[] = {
    OFFSETS("one", 0, false, .commits = 1, .fences = 1),
    OFFSETS("two", 0, false, .commits = 2, .fences = 1),
    OFFSETS("reset", 0, false, .commits = 1, .fences = 1, .reset = true),
    OFFSETS("deaths", 2, false, .commits = 1, .fences = 1),
    OFFSETS("two-deaths", 1, true, .commits = 2, .fences = 1),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
