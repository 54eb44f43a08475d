#include "waiters.h"

#include "fault.h"

void shmq_waiters_enter(struct shmq_bitmap *bitmap, uint32_t slot) {
    SHMQ_SHARED("waiters.enter", shmq_fetch_or(&bitmap->words[slot / 64], UINT64_C(1) << slot % 64));
    shmq_fence_after_rmw(); /* PAIR sleep: the fence in shmq_waiters_wake(). W1. */
}

void shmq_waiters_wake(struct shmq_bitmap *bitmap, uint64_t *woken) {
    shmq_fence_after_rmw(); /* PAIR sleep: the fence in shmq_waiters_enter(). W1. */
    for (uint32_t index = 0; index < SHMQ_MAX_SLOTS / 64; index++)
        /* Relaxed: the fence above orders it (PAIR sleep). */
        if (__builtin_expect(shmq_load_relaxed(&bitmap->words[index]) != 0, 0))
            woken[index] |= SHMQ_SHARED("waiters.wake", shmq_fetch_and(&bitmap->words[index], 0));
}
