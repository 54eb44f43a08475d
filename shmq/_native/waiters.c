#include "waiters.h"

#include "fault.h"

void shmq_waiters_enter(struct shmq_bitmap *bitmap, uint32_t slot) {
    SHMQ_SHARED("waiters.enter", shmq_fetch_or(&bitmap->words[slot / 64], UINT64_C(1) << slot % 64));
    shmq_fence_after_rmw(); /* PAIR sleep: the fence in shmq_waiters_wake(). W1. */
}

/* Relaxed loads: the fence in shmq_waiters_wake() orders them (PAIR sleep). */
static uint64_t any_waiter(const struct shmq_bitmap *bitmap) {
    uint64_t any = 0;
#pragma GCC unroll 16 /* it stands in the way of each append */
    for (uint32_t index = 0; index < SHMQ_MAX_SLOTS / 64; index++)
        any |= shmq_load_relaxed(&bitmap->words[index]);
    return any;
}

bool shmq_waiters_wake(struct shmq_bitmap *bitmap, uint64_t *woken) {
    shmq_fence_after_rmw(); /* PAIR sleep: the fence in shmq_waiters_enter(). W1. */
    if (__builtin_expect(any_waiter(bitmap) == 0, 1))
        return false;
    for (uint32_t index = 0; index < SHMQ_MAX_SLOTS / 64; index++)
        woken[index] = SHMQ_SHARED("waiters.wake", shmq_fetch_and(&bitmap->words[index], 0));
    return true;
}
