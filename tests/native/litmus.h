/* Two threads, one pair of acts, many rounds: count the outcomes and fail on a forbidden one.
 *
 * What a machine does not show in a bounded number of rounds may still happen: the model (model/) proves, this shows that
 * the model's world is this one. */
#ifndef SHMQ_LITMUS_H
#define SHMQ_LITMUS_H

#include <pthread.h>
#include <sched.h>

#include "atomic.h"
#include "check.h"

#define LITMUS_RESULTS 3 /* each act returns 0, 1 or 2 */

struct litmus {
    const char *name;
    void (*prepare)(void); /* before each round, by one thread */
    int (*left)(void);
    int (*right)(void);
    const char *forbidden[LITMUS_RESULTS][LITMUS_RESULTS]; /* [left][right]: why it must not be; NULL: allowed */
};

struct litmus_run {
    const struct litmus *litmus;
    uint64_t rounds;
    uint64_t arrived; /* at the barrier, by both */
    int left_result, right_result;
    uint64_t outcomes[LITMUS_RESULTS][LITMUS_RESULTS];
};

/* Spins while the other is on another core; yields soon, since it may be waiting for this one. */
static inline void litmus_meet(struct litmus_run *run, uint64_t *meetings) {
    uint64_t all = 2 * ++*meetings;
    __atomic_fetch_add(&run->arrived, 1, __ATOMIC_SEQ_CST);
    for (unsigned spins = 0; __atomic_load_n(&run->arrived, __ATOMIC_ACQUIRE) < all; spins++)
        if (spins % 1024 == 1023)
            sched_yield();
        else
            shmq_cpu_relax();
}

static inline void litmus_skew(uint64_t *seed) {
    for (uint64_t turns = check_random(seed) % 128; turns; turns--)
        __asm__ volatile("" ::: "memory");
}

static inline void *litmus_right(void *argument) {
    struct litmus_run *run = argument;
    uint64_t meetings = 0, seed = 7;
    for (uint64_t round = 0; round < run->rounds; round++) {
        litmus_meet(run, &meetings);
        litmus_skew(&seed);
        run->right_result = run->litmus->right();
        litmus_meet(run, &meetings);
    }
    return NULL;
}

static inline void litmus_left(struct litmus_run *run) {
    uint64_t meetings = 0, seed = 3;
    for (uint64_t round = 0; round < run->rounds; round++) {
        run->litmus->prepare();
        litmus_meet(run, &meetings);
        litmus_skew(&seed);
        run->left_result = run->litmus->left();
        litmus_meet(run, &meetings);
        run->outcomes[run->left_result][run->right_result]++;
    }
}

/* Returns how many outcomes were forbidden. */
static inline uint64_t litmus_run(const struct litmus *litmus, uint64_t rounds) {
    struct litmus_run run = {.litmus = litmus, .rounds = rounds};
    pthread_t right;
    uint64_t bad = 0;
    CHECK_EQUAL(pthread_create(&right, NULL, litmus_right, &run), 0);
    litmus_left(&run);
    pthread_join(right, NULL);
    fprintf(stderr, "    %-22s", litmus->name);
    for (int left = 0; left < LITMUS_RESULTS; left++)
        for (int right_at = 0; right_at < LITMUS_RESULTS; right_at++) {
            uint64_t count = run.outcomes[left][right_at];
            const char *why = litmus->forbidden[left][right_at];
            if (count)
                fprintf(stderr, "  %d,%d: %" PRIu64, left, right_at, count);
            if (count && why)
                fprintf(stderr, " FORBIDDEN (%s)", why);
            bad += why ? count : 0;
        }
    fprintf(stderr, "\n");
    return bad;
}

#endif
