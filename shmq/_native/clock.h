/* Clocks: the wall clock in milliseconds, for timestamps, and the monotonic one in nanoseconds, for waiting. */
#ifndef SHMQ_CLOCK_H
#define SHMQ_CLOCK_H

#include <stdint.h>

/* Milliseconds since the epoch; never behind what another clock call showed before. Mostly without a call. */
uint64_t shmq_wall_ms(void);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t shmq_now_ns(void);

static inline uint64_t shmq_now_ms(void) {
    return shmq_now_ns() / 1000000;
}

/* So long from `now` on, or for ever. */
static inline uint64_t shmq_later_ms(uint64_t now_ms, uint64_t ms) {
    return ms < UINT64_MAX - now_ms ? now_ms + ms : UINT64_MAX;
}

#endif
