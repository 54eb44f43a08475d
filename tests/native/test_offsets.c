/* A group's committed offsets: the file, damaged and not, and threads that commit while others take the right to do so
 * from them. BUILD: asan tsan */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "guard.h"
#include "offsets.h"

#define TOPIC_ID UINT64_C(0xfedcba9876543210)
#define LARGEST (SHMQ_COMMITTED_MASK - 1)

static char path[SHMQ_PATH_BYTES];
static struct shmq_fail fail;

static void make(struct shmq_offsets *offsets, uint32_t partitions) {
    const char *directory = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/%d.offsets", directory ? directory : "/tmp", getpid());
    shmq_guard_install();
    CHECK_EQUAL(shmq_offsets_create(path, TOPIC_ID, partitions, &fail), SHMQ_OK);
    CHECK_EQUAL(shmq_offsets_open(offsets, path, TOPIC_ID, &fail), SHMQ_OK);
}

static void drop(struct shmq_offsets *offsets) {
    shmq_offsets_close(offsets);
    unlink(path);
}

static struct shmq_committed get(struct shmq_offsets *offsets, uint32_t partition) {
    struct shmq_committed found;
    CHECK_EQUAL(shmq_offsets_get(offsets, partition, &found, &fail), SHMQ_OK);
    return found;
}

static void every_field_of_a_word_keeps_to_itself(void) {
    static const uint64_t values[] = {0, 1, 0x5555555555, LARGEST - 1, LARGEST};
    struct shmq_offsets offsets;
    struct shmq_committed before, found;
    uint32_t epoch = 0;
    make(&offsets, 3);
    for (unsigned turn = 0; turn < 70000; turn++) {
        uint64_t offset = values[turn % 5];
        bool has_note = turn / 5 % 2;
        CHECK_EQUAL(shmq_offsets_commit(&offsets, 1, epoch, offset, has_note, &before, &fail), SHMQ_OK);
        found = get(&offsets, 1);
        CHECK(found.is_set && found.offset == offset && found.has_note == has_note && found.epoch == epoch);
        CHECK_EQUAL(shmq_offsets_commit(&offsets, 1, epoch ^ 1, 7, !has_note, &before, &fail), SHMQ_LOST);
        CHECK_EQUAL(before.offset, offset);
        CHECK_EQUAL(shmq_offsets_fence(&offsets, 1, 0, &found, &fail), SHMQ_OK);
        CHECK_EQUAL(found.epoch, epoch == SHMQ_MAX_OFFSET_EPOCH ? 1 : epoch + 1);
        epoch = found.epoch;
        found = get(&offsets, 1);
        CHECK(found.is_set && found.offset == offset && found.has_note == has_note && found.epoch == epoch);
    }
    CHECK_EQUAL(shmq_offsets_reset(&offsets, 1, false, 0, &before, &fail), SHMQ_OK);
    CHECK(!get(&offsets, 1).is_set && !get(&offsets, 1).has_note && get(&offsets, 1).epoch == epoch + 1);
    CHECK(!get(&offsets, 0).is_set && !get(&offsets, 2).is_set);
    drop(&offsets);
}

static void a_file_that_is_cut_under_a_mapping_is_an_error_of_every_act(void) {
#if defined(__SANITIZE_THREAD__)
    return; /* its runtime does not let a handler be left by a jump */
#endif
    struct shmq_offsets offsets;
    struct shmq_committed found;
    make(&offsets, 200);
    CHECK_EQUAL(truncate(path, SHMQ_PAGE_BYTES), 0);

    CHECK_EQUAL(shmq_offsets_get(&offsets, 199, &found, &fail), SHMQ_E_STORAGE);
    CHECK_EQUAL(shmq_offsets_commit(&offsets, 0, 0, 1, false, &found, &fail), SHMQ_E_STORAGE);
    CHECK_EQUAL(shmq_offsets_fence(&offsets, 0, 0, &found, &fail), SHMQ_E_STORAGE);
    CHECK_EQUAL(shmq_offsets_reset(&offsets, 0, true, 1, &found, &fail), SHMQ_E_STORAGE);
    CHECK_EQUAL(fail.error_number, EIO);
    CHECK(strcmp(fail.path, path) == 0);
    CHECK_EQUAL(shmq_offsets_grow(&offsets, 200, &fail), SHMQ_OK);
    CHECK(!get(&offsets, 199).is_set);
    drop(&offsets);
}

/* Each of many threads makes the file at once: one of them wins, and what was committed stays. */
static void *make_too(void *unused) {
    struct shmq_fail mine;
    CHECK_EQUAL(shmq_offsets_create(path, TOPIC_ID, 5, &mine), SHMQ_OK);
    return unused;
}

static void many_makers_leave_one_file_and_nothing_else(void) {
    struct shmq_offsets offsets;
    struct shmq_committed before;
    pthread_t makers[4];
    for (unsigned turn = 0; turn < 50; turn++) {
        make(&offsets, 5);
        CHECK_EQUAL(shmq_offsets_commit(&offsets, 4, 0, 7, false, &before, &fail), SHMQ_OK);
        for (unsigned maker = 0; maker < 4; maker++)
            CHECK_EQUAL(pthread_create(&makers[maker], NULL, make_too, NULL), 0);
        for (unsigned maker = 0; maker < 4; maker++)
            pthread_join(makers[maker], NULL);

        struct stat status;
        CHECK_EQUAL(get(&offsets, 4).offset, 7);
        CHECK_EQUAL(stat(path, &status), 0);
        CHECK_EQUAL(status.st_nlink, 1);
        drop(&offsets);
    }
}

/* ---- Threads that own a partition in turn: each commits until it is told that it is an owner no longer ---- */

#define OWNERS 3u

static struct shmq_offsets shared;
static shmq_a64 granted[OWNERS];  /* epoch that the owner may commit in; 0: none yet */
static shmq_a64 landed[OWNERS];   /* last offset that it was told has landed */
static shmq_a64 fenced[OWNERS];   /* last epoch that it was shut out of */
static shmq_a64 commits, stop;

static void own(unsigned owner, uint32_t epoch) {
    struct shmq_fail mine;
    struct shmq_committed before;
    uint64_t offset = get(&shared, 0).offset, count = 0;
    shmq_store_release(&landed[owner], offset);
    for (;;) {
        int result = shmq_offsets_commit(&shared, 0, epoch, offset + 1, offset % 2, &before, &mine);
        CHECK(result == SHMQ_OK || result == SHMQ_LOST);
        if (result == SHMQ_LOST)
            break;
        CHECK_EQUAL(before.offset, offset); /* nobody else landed between */
        shmq_store_release(&landed[owner], ++offset);
        count++;
    }
    CHECK(before.epoch != epoch);
    shmq_fetch_add(&commits, count);
    shmq_store_release(&fenced[owner], epoch);
}

static void *be_owner(void *argument) {
    unsigned owner = (unsigned)(uintptr_t)argument;
    uint64_t epoch = 0, next;
    while (!shmq_load_acquire(&stop)) {
        next = shmq_load_acquire(&granted[owner]);
        if (next == epoch) {
            sched_yield();
            continue;
        }
        epoch = next;
        own(owner, (uint32_t)epoch);
    }
    return NULL;
}

static void a_fenced_owner_lands_nothing_and_nothing_that_landed_is_lost(void) {
    pthread_t owners[OWNERS];
    struct shmq_committed found;
    uint64_t seed = 42, before = 0;
    unsigned turns = check_long() ? 60000 : 1000;
    make(&shared, 1);
    CHECK_EQUAL(shmq_offsets_reset(&shared, 0, true, 0, &found, &fail), SHMQ_OK);
    for (uintptr_t owner = 0; owner < OWNERS; owner++)
        CHECK_EQUAL(pthread_create(&owners[owner], NULL, be_owner, (void *)owner), 0);
    for (unsigned turn = 0; turn < turns; turn++) {
        unsigned owner = (unsigned)(check_random(&seed) % OWNERS);
        CHECK_EQUAL(shmq_offsets_fence(&shared, 0, 0, &found, &fail), SHMQ_OK);
        shmq_store_release(&granted[owner], found.epoch);
        while (turn % 2 && shmq_load_acquire(&landed[owner]) <= found.offset) /* the others are fenced at any moment */
            sched_yield();
        for (uint64_t yields = check_random(&seed) % 8; yields; yields--)
            sched_yield();

        uint32_t epoch = found.epoch;
        CHECK_EQUAL(shmq_offsets_fence(&shared, 0, 0, &found, &fail), SHMQ_OK);
        uint64_t at_fence = found.offset;
        while (shmq_load_acquire(&fenced[owner]) != epoch)
            sched_yield();

        CHECK_EQUAL(shmq_load_acquire(&landed[owner]), at_fence);
        CHECK_EQUAL(get(&shared, 0).offset, at_fence);
        CHECK(at_fence >= before);
        before = at_fence;
    }
    shmq_store_release(&stop, 1);
    for (unsigned owner = 0; owner < OWNERS; owner++)
        pthread_join(owners[owner], NULL);
    fprintf(stderr, "    %u owners in turn, %" PRIu64 " commits\n", turns, shmq_load_acquire(&commits));
    CHECK(shmq_load_acquire(&commits) >= turns / 2);
    drop(&shared);
}

TESTS(TEST(every_field_of_a_word_keeps_to_itself), TEST(a_file_that_is_cut_under_a_mapping_is_an_error_of_every_act),
      TEST(many_makers_leave_one_file_and_nothing_else),
      TEST(a_fenced_owner_lands_nothing_and_nothing_that_landed_is_lost));
