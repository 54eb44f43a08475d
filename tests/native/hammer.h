/* A log of the product's words in one shared mapping, for threads to hammer. Appending, rolling and retiring follow
 * appender.c; files are pieces of the mapping and are never used twice. */
#ifndef SHMQ_HAMMER_H
#define SHMQ_HAMMER_H

#include <sched.h>
#include <semaphore.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "check.h"
#include "journal.h"
#include "ring.h"
#include "waiters.h"

#define HAMMER_WORDS 64u
#define HAMMER_UNITS 128u
#define HAMMER_FILES 4096u
#define HAMMER_RING 4u
#define HAMMER_READERS 2u

struct hammer_file {
    uint64_t base_offset;
    shmq_a64 words[HAMMER_WORDS];
    unsigned char data[HAMMER_UNITS * SHMQ_UNIT_BYTES];
};

struct hammer {
    shmq_a64 passed[HAMMER_READERS]; /* segments that each reader is done with */
    shmq_a64 aborted, stop;
    sem_t bells[HAMMER_READERS];
    struct hammer_file files[HAMMER_FILES];
    union {
        struct shmq_control control;
        unsigned char bytes[sizeof(struct shmq_control) + 8 * HAMMER_RING];
    };
};

/* One thread's view of the newest segment. */
struct hammer_handle {
    uint64_t seq, base_offset, finished;
    struct shmq_journal journal;
    struct hammer_file *file;
};

static struct hammer *hammer;
static struct shmq_ring hammer_ring;

static inline void hammer_begin(void) {
    hammer = mmap(NULL, sizeof(*hammer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(hammer != MAP_FAILED);
    hammer_ring = (struct shmq_ring){&hammer->control, HAMMER_RING};
    shmq_ring_reset(&hammer_ring);
    for (unsigned reader = 0; reader < HAMMER_READERS; reader++)
        CHECK_EQUAL(sem_init(&hammer->bells[reader], 1, 0), 0);
}

static inline void hammer_end(void) {
    munmap(hammer, sizeof(*hammer));
}

static inline void hammer_map(struct hammer_handle *handle, uint64_t seq, uint64_t incarnation) {
    if (handle->journal.incarnation == incarnation)
        return;
    handle->seq = seq;
    handle->file = &hammer->files[incarnation];
    handle->base_offset = handle->file->base_offset;
    handle->journal =
        (struct shmq_journal){handle->file->words, HAMMER_WORDS, HAMMER_UNITS, incarnation, 0};
}

static inline void hammer_ring_bells(void) {
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    if (!shmq_waiters_wake(&hammer->control.readers_waiting, woken))
        return;
    for (unsigned reader = 0; reader < HAMMER_READERS; reader++)
        if (woken[0] >> reader & 1)
            sem_post(&hammer->bells[reader]);
}

/* Retention "consumed": wait until every reader is done with the oldest segment. */
static inline void hammer_make_room(uint64_t next_seq) {
    uint64_t seq, incarnation;
    for (;;) {
        CHECK_EQUAL(shmq_ring_tail(&hammer_ring, &seq, &incarnation), SHMQ_OK);
        if (seq + 1 >= next_seq || next_seq - seq < HAMMER_RING - 1)
            return;
        bool passed = true;
        for (unsigned reader = 0; reader < HAMMER_READERS; reader++)
            passed &= shmq_load_acquire(&hammer->passed[reader]) > seq;
        if (passed)
            shmq_ring_retire(&hammer_ring, seq, incarnation);
        else
            sched_yield();
    }
}

static inline void hammer_make_segment(struct hammer_handle *handle, uint64_t seq, uint64_t base_offset) {
    uint64_t incarnation = shmq_fetch_add(&hammer->control.next_incarnation, 1) + 1;
    CHECK(incarnation < HAMMER_FILES);
    struct hammer_file *file = &hammer->files[incarnation];
    struct shmq_journal fresh = {file->words, HAMMER_WORDS, HAMMER_UNITS, incarnation, 0};
    shmq_journal_reset(&fresh);
    file->base_offset = base_offset;
    if (shmq_ring_publish(&hammer_ring, seq, incarnation) == SHMQ_OK)
        *handle = (struct hammer_handle){seq, base_offset, handle->finished, fresh, file};
}

static inline void hammer_roll(struct hammer_handle *handle) {
    uint64_t seq, incarnation, next_seq = 0, base_offset = 0;
    int result = shmq_ring_head(&hammer_ring, &seq, &incarnation);
    CHECK(result == SHMQ_OK || result == SHMQ_NOTHING);
    if (result == SHMQ_OK) {
        uint32_t end_count;
        hammer_map(handle, seq, incarnation);
        if (incarnation != handle->finished)
            return;
        next_seq = seq + 1;
        hammer_make_room(next_seq);
        CHECK(shmq_journal_seal(&handle->journal, &end_count) >= 0);
        base_offset = handle->base_offset + end_count;
    }
    if (shmq_ring_look(&hammer_ring, next_seq, &incarnation) == SHMQ_SEQ_FUTURE)
        hammer_make_segment(handle, next_seq, base_offset);
}

/* Sleep as a reader of the product does, unless `has_news` after the bit was set. A sleep that only the bound ends
 * although there is news is a lost wake-up. */
static inline void hammer_sleep(unsigned reader, bool (*has_news)(void *), void *argument) {
    shmq_waiters_enter(&hammer->control.readers_waiting, reader);
    if (has_news(argument))
        return;
    struct timespec bound;
    clock_gettime(CLOCK_REALTIME, &bound);
    bound.tv_sec += 20;
    while (sem_timedwait(&hammer->bells[reader], &bound) != 0)
        CHECK(!has_news(argument));
}

#endif
