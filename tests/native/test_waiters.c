/* The bitmap of sleepers, one call at a time. */
#include "check.h"

#include <string.h>

#include "waiters.h"

#define WORDS (SHMQ_MAX_SLOTS / 64)

static void every_slot_has_a_bit_of_its_own(void) {
    for (uint32_t slot = 0; slot < SHMQ_MAX_SLOTS; slot++) {
        struct shmq_bitmap bitmap = {0};
        uint64_t woken[WORDS] = {0};

        shmq_waiters_enter(&bitmap, slot);
        shmq_waiters_enter(&bitmap, slot);

        CHECK(shmq_waiters_wake(&bitmap, woken));
        for (uint32_t other = 0; other < SHMQ_MAX_SLOTS; other++)
            CHECK_EQUAL(woken[other / 64] >> other % 64 & 1, other == slot);
    }
}

static void who_was_rung_is_not_rung_again(void) {
    struct shmq_bitmap bitmap = {0};
    uint64_t woken[WORDS];
    for (uint32_t slot = 0; slot < SHMQ_MAX_SLOTS; slot++)
        shmq_waiters_enter(&bitmap, slot);

    CHECK(shmq_waiters_wake(&bitmap, woken));
    for (uint32_t index = 0; index < WORDS; index++)
        CHECK_EQUAL(woken[index], UINT64_MAX);

    memset(woken, 0x55, sizeof(woken));
    CHECK(!shmq_waiters_wake(&bitmap, woken));
    for (uint32_t index = 0; index < WORDS; index++) {
        CHECK_EQUAL(bitmap.words[index].raw, 0);
        CHECK_EQUAL(woken[index], UINT64_C(0x5555555555555555));
    }
}

TESTS(TEST(every_slot_has_a_bit_of_its_own), TEST(who_was_rung_is_not_rung_again));
