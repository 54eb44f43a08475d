/* Reading the wall clock costs about 25 ns, a quarter of an append. But a millisecond stays the same for a million
 * nanoseconds: after one reading, the processor's cycle counter tells until when it is certainly still the same one.
 *
 * The counter must run at one rate whatever the processor does ("invariant"), which it says of itself; else every call
 * reads the clock. Its rate is measured, and taken 2 % too low, so that an answer may be read again too early but is
 * never late. If somebody sets the wall clock, answers follow within a millisecond. */
#include "clock.h"

#include <stdbool.h>
#include <time.h>

#define CALIBRATE_NS UINT64_C(20000000)

static uint64_t read_clock(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t shmq_now_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>

static uint64_t read_counter(void) {
    return __rdtsc();
}

static bool counter_is_invariant(void) {
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) && (edx >> 8 & 1);
}
#elif defined(__aarch64__)
static uint64_t read_counter(void) {
    uint64_t count;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
    return count;
}

static bool counter_is_invariant(void) {
    return true; /* by the architecture */
}
#else
static uint64_t read_counter(void) {
    return 0;
}

static bool counter_is_invariant(void) {
    return false;
}
#endif

/* Each thread's own, so that nobody shares a line for it. */
static __thread struct {
    uint64_t ms, from, ticks; /* `ms` holds while the counter is in [from, from + ticks) */
} cached;

static uint64_t first_ns, first_count;
static uint64_t ticks_per_ms; /* 0: not yet known, or the counter cannot be used */

static void calibrate(uint64_t count) {
    uint64_t now_ns = read_clock(CLOCK_MONOTONIC);
    if (!__atomic_load_n(&first_ns, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&first_count, count, __ATOMIC_RELAXED);
        __atomic_store_n(&first_ns, now_ns, __ATOMIC_RELEASE);
        return;
    }
    uint64_t elapsed_ns = now_ns - __atomic_load_n(&first_ns, __ATOMIC_ACQUIRE);
    uint64_t elapsed = count - __atomic_load_n(&first_count, __ATOMIC_RELAXED);
    if (elapsed_ns < CALIBRATE_NS || !counter_is_invariant())
        return;
    double rate = (double)elapsed / (double)elapsed_ns * 1e6 * 0.98;
    __atomic_store_n(&ticks_per_ms, (uint64_t)rate, __ATOMIC_RELEASE);
}

uint64_t shmq_wall_ms(void) {
    uint64_t count = read_counter();
    if (__builtin_expect(count - cached.from < cached.ticks, 1))
        return cached.ms;
    uint64_t ns = read_clock(CLOCK_REALTIME), rate = __atomic_load_n(&ticks_per_ms, __ATOMIC_ACQUIRE);
    cached.ms = ns / 1000000;
    cached.from = count; /* read before the clock: the stretch ends early rather than late */
    cached.ticks = rate * (1000000 - ns % 1000000) / 1000000;
    if (!rate)
        calibrate(count);
    return cached.ms;
}
