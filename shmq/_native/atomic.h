/* The only door to atomics.
 *
 * Everything that two processes share is a `shmq_a64` and is touched by the functions below and by nothing else, so
 * that three builds can share one source:
 *   - normally they are C11 atomics;
 *   - with -DSHMQ_MODEL they call a model checker, which explores every interleaving and every value that the C11
 *     memory model lets a load return (tests/native/model);
 *   - under ThreadSanitizer, which does not understand fences, a fence is a read-modify-write of one dummy word.
 *
 * Writes are sequentially consistent unless the name says otherwise. A weaker order has a comment at its use that
 * names its partner: PAIR <name>. Every name stands at least twice. */
#ifndef SHMQ_ATOMIC_H
#define SHMQ_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t raw;
} shmq_a64;

_Static_assert(sizeof(shmq_a64) == 8, "shared words are 8 bytes");

#ifdef SHMQ_MODEL

uint64_t shmq_load_acquire(const shmq_a64 *word);
uint64_t shmq_load_relaxed(const shmq_a64 *word);
uint64_t shmq_store_release(shmq_a64 *word, uint64_t value);
uint64_t shmq_store_relaxed(shmq_a64 *word, uint64_t value);
bool shmq_cas(shmq_a64 *word, uint64_t *expected, uint64_t desired);
uint64_t shmq_fetch_add(shmq_a64 *word, uint64_t value);
uint64_t shmq_fetch_or(shmq_a64 *word, uint64_t value);
uint64_t shmq_fetch_and(shmq_a64 *word, uint64_t value);
void shmq_fence(void);
void shmq_fence_after_rmw(void);

#else

static inline uint64_t shmq_load_acquire(const shmq_a64 *word) {
    return __atomic_load_n(&word->raw, __ATOMIC_ACQUIRE);
}

static inline uint64_t shmq_load_relaxed(const shmq_a64 *word) {
    return __atomic_load_n(&word->raw, __ATOMIC_RELAXED);
}

/* Stores return what they stored, so that they can stand in SHMQ_SHARED(). */
static inline uint64_t shmq_store_release(shmq_a64 *word, uint64_t value) {
    __atomic_store_n(&word->raw, value, __ATOMIC_RELEASE);
    return value;
}

static inline uint64_t shmq_store_relaxed(shmq_a64 *word, uint64_t value) {
    __atomic_store_n(&word->raw, value, __ATOMIC_RELAXED);
    return value;
}

/* On failure `*expected` is what the word held. */
static inline bool shmq_cas(shmq_a64 *word, uint64_t *expected, uint64_t desired) {
    return __atomic_compare_exchange_n(&word->raw, expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
}

static inline uint64_t shmq_fetch_add(shmq_a64 *word, uint64_t value) {
    return __atomic_fetch_add(&word->raw, value, __ATOMIC_SEQ_CST);
}

static inline uint64_t shmq_fetch_or(shmq_a64 *word, uint64_t value) {
    return __atomic_fetch_or(&word->raw, value, __ATOMIC_SEQ_CST);
}

static inline uint64_t shmq_fetch_and(shmq_a64 *word, uint64_t value) {
    return __atomic_fetch_and(&word->raw, value, __ATOMIC_SEQ_CST);
}

#if defined(__SANITIZE_THREAD__)
#define SHMQ_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHMQ_TSAN 1
#endif
#endif

static inline void shmq_fence(void) {
#ifdef SHMQ_TSAN
    extern uint64_t shmq_tsan_fence_word;
    __atomic_fetch_add(&shmq_tsan_fence_word, 0, __ATOMIC_SEQ_CST);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* A full fence right after a read-modify-write of this thread. On x86 the locked instruction was one already. */
static inline void shmq_fence_after_rmw(void) {
#if defined(__x86_64__) && !defined(SHMQ_TSAN)
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
#else
    shmq_fence();
#endif
}

#endif /* SHMQ_MODEL */

static inline void shmq_cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

#endif
