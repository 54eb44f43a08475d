/* Clocks: the wall clock in milliseconds, for timestamps, and the monotonic one in nanoseconds, for waiting. */
#ifndef SHMQ_CLOCK_H
#define SHMQ_CLOCK_H

#include <stdint.h>

/* Milliseconds since the epoch; never behind what another clock call showed before. Mostly without a call. */
uint64_t shmq_wall_ms(void);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t shmq_now_ns(void);

#endif
