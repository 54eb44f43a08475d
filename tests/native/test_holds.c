/* Groups that are held for: threads, each with a group of its own, make, move, set anew and release holds in one table, and
 * take each other for dead all the while. BUILD: asan tsan */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "check.h"
#include "holds.h"
#include "readers.h"

#define THREADS 4u

static struct shmq_control *control;
static struct shmq_process processes[THREADS + 1];
static struct shmq_partition partitions[THREADS + 1];

/* Without a slot in its table a process takes every other one for dead. */
static void begin(void) {
    control = calloc(1, sizeof *control);
    CHECK(control != NULL);
    for (unsigned thread = 0; thread <= THREADS; thread++) {
        processes[thread] = (struct shmq_process){.slot = thread, .epoch = 1, .owner = shmq_owner(thread, 1)};
        partitions[thread] = (struct shmq_partition){.process = &processes[thread], .ring = {control, 4}};
    }
}

static void end(void) {
    free(control);
}

static int set(unsigned thread, uint32_t group, uint64_t offset) {
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    bool wake;
    int result;
    while ((result = shmq_hold_set(&partitions[thread], group, offset, &wake, woken)) == SHMQ_LOST) {
    }
    return result;
}

static int move(unsigned thread, const struct shmq_hold *hold, uint64_t offset) {
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    bool wake;
    return shmq_hold_move(&partitions[thread], hold, offset, &wake, woken);
}

static bool release(unsigned thread, uint32_t group) {
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    return shmq_hold_release(&partitions[thread], group, woken);
}

static bool passed(uint64_t next_base) {
    bool only_self, ask_again;
    return shmq_readers_passed(&partitions[0], 0, next_base, &only_self, &ask_again) == SHMQ_OK;
}

static void a_segment_goes_when_every_hold_is_at_its_end(void) {
    struct shmq_hold hold;
    begin();
    CHECK(!passed(10));
    CHECK_EQUAL(set(0, 1, 10), SHMQ_OK);
    CHECK_EQUAL(set(0, SHMQ_MAX_GROUP, 9), SHMQ_OK);
    CHECK(!passed(10));
    CHECK(!passed(UINT64_MAX));
    CHECK_EQUAL(shmq_hold_find(&partitions[0], SHMQ_MAX_GROUP, &hold), SHMQ_OK);
    CHECK_EQUAL(move(0, &hold, 10), SHMQ_OK);
    CHECK(passed(10));
    CHECK(!passed(11));
    CHECK_EQUAL(set(0, 1, 0), SHMQ_OK);
    CHECK(!passed(10));
    CHECK_EQUAL(shmq_hold_find(&partitions[0], 2, &hold), SHMQ_NOTHING);
    end();
}

static void tags_go_round_and_keep_out_of_the_offset(void) {
    struct shmq_hold hold, before = {.entry = -1};
    begin();
    for (unsigned turn = 0; turn < (1u << 17) + 3; turn++) {
        CHECK_EQUAL(set(0, 5, SHMQ_MAX_HOLD - turn % 2), SHMQ_OK);
        CHECK_EQUAL(shmq_hold_find(&partitions[0], 5, &hold), SHMQ_OK);
        CHECK_EQUAL(hold.offset, SHMQ_MAX_HOLD - turn % 2);
        CHECK(before.entry < 0 || move(0, &before, SHMQ_MAX_HOLD) == SHMQ_LOST);
        before = hold;
    }
    CHECK_EQUAL(move(0, &hold, SHMQ_MAX_HOLD + 1), SHMQ_OK);
    CHECK_EQUAL(shmq_hold_find(&partitions[0], 5, &hold), SHMQ_OK);
    CHECK_EQUAL(hold.offset, SHMQ_MAX_HOLD);
    end();
}

static void *use_own_group(void *argument) {
    unsigned thread = (unsigned)(uintptr_t)argument;
    uint32_t group = thread + 1;
    uint64_t seed = group;
    struct shmq_hold hold, stale = {.entry = -1};
    unsigned turns = check_long() ? 300000 : 10000;
    for (unsigned turn = 0; turn < turns; turn++) {
        uint64_t offset = check_random(&seed) % 1000;
        CHECK_EQUAL(set(thread, group, offset), SHMQ_OK);
        if (check_random(&seed) % 8 == 0)
            sched_yield();
        CHECK(stale.entry < 0 || move(thread, &stale, 5000) == SHMQ_LOST);
        CHECK_EQUAL(shmq_hold_find(&partitions[thread], group, &hold), SHMQ_OK);
        CHECK_EQUAL(hold.offset, offset);
        CHECK_EQUAL(move(thread, &hold, offset + 7), SHMQ_OK);
        CHECK_EQUAL(move(thread, &hold, offset), SHMQ_OK);
        stale = hold;
        CHECK_EQUAL(shmq_hold_find(&partitions[thread], group, &hold), SHMQ_OK);
        CHECK_EQUAL(hold.offset, offset + 7);
        if (check_random(&seed) % 2) {
            release(thread, group);
            CHECK_EQUAL(shmq_hold_find(&partitions[thread], group, &hold), SHMQ_NOTHING);
        }
    }
    release(thread, group);
    return NULL;
}

static void nobody_changes_the_hold_of_another_group(void) {
    pthread_t threads[THREADS];
    begin();
    CHECK_EQUAL(set(THREADS, 100, 3), SHMQ_OK);
    for (uintptr_t thread = 0; thread < THREADS; thread++)
        CHECK_EQUAL(pthread_create(&threads[thread], NULL, use_own_group, (void *)thread), 0);
    for (unsigned thread = 0; thread < THREADS; thread++)
        pthread_join(threads[thread], NULL);

    struct shmq_hold hold;
    CHECK_EQUAL(shmq_hold_find(&partitions[THREADS], 100, &hold), SHMQ_OK);
    CHECK_EQUAL(hold.offset, 3);
    for (uint32_t index = 0; index < SHMQ_READERS; index++)
        CHECK(!shmq_hold_look(&partitions[0], index, &hold) || hold.owner == shmq_group_owner(100));
    end();
}

TESTS(TEST(a_segment_goes_when_every_hold_is_at_its_end), TEST(tags_go_round_and_keep_out_of_the_offset),
      TEST(nobody_changes_the_hold_of_another_group));
