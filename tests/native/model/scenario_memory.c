/* The model of the memory itself, checked against what C11 allows and forbids: the classic litmus tests. Each collects
 * every outcome that the explorer finds, and the set must be exactly the right one: an outcome too few means that the
 * other scenarios prove too little. */
#include "model.h"

#include <string.h>

struct litmus {
    void (*runs[4])(void *);
    uint32_t outcomes; /* bit r: outcome r may and must be found; r is the results as binary digits, r0 the lowest */
};

static shmq_a64 x, y;
static const struct litmus *litmus;
static uint32_t found; /* of all executions, so not part of the ghost state */
static struct {
    uint8_t results[4];
} ghost;

static void start(const void *parameters) {
    static const char *const names[] = {"first", "second", "third", "fourth"};
    litmus = parameters;
    found = 0;
    memset(&ghost, 0, sizeof(ghost));
    model_ghost(&ghost, sizeof(ghost));
    model_word(&x, 0, MODEL_NUMBER, 0, "x", 0);
    model_word(&y, 0, MODEL_NUMBER, 0, "y", 0);
    for (unsigned at = 0; at < 4; at++)
        if (litmus->runs[at])
            model_actor(names[at], litmus->runs[at], NULL, 0);
}

static void finish(void) {
    unsigned outcome = 0;
    for (unsigned at = 0; at < 4; at++)
        outcome |= (unsigned)(ghost.results[at] & 1) << at;
    found |= 1u << outcome;
}

static void conclude(void) {
    MODEL_CHECK((found & ~litmus->outcomes) == 0, "memory-too-weak", found, litmus->outcomes);
    MODEL_CHECK((litmus->outcomes & ~found) == 0, "memory-too-strong", found, litmus->outcomes);
}

/* Writers, then readers; result r in place r. */
static void x_relaxed(void *unused) {
    (void)unused;
    shmq_store_relaxed(&x, 1);
}
static void y_relaxed(void *unused) {
    (void)unused;
    shmq_store_relaxed(&y, 1);
}
static void message_relaxed(void *unused) {
    (void)unused;
    shmq_store_relaxed(&x, 1);
    shmq_store_relaxed(&y, 1);
}
static void message_release(void *unused) {
    (void)unused;
    shmq_store_relaxed(&x, 1);
    shmq_store_release(&y, 1);
}
static void message_fence(void *unused) {
    (void)unused;
    shmq_store_relaxed(&x, 1);
    shmq_fence();
    shmq_store_relaxed(&y, 1);
}
static void y_then_x_acquire(void *unused) {
    (void)unused;
    ghost.results[0] = (uint8_t)shmq_load_acquire(&y);
    ghost.results[1] = (uint8_t)shmq_load_acquire(&x);
}
static void y_then_x_relaxed(void *unused) {
    (void)unused;
    ghost.results[0] = (uint8_t)shmq_load_relaxed(&y);
    ghost.results[1] = (uint8_t)shmq_load_relaxed(&x);
}
static void y_fence_x(void *unused) {
    (void)unused;
    ghost.results[0] = (uint8_t)shmq_load_relaxed(&y);
    shmq_fence();
    ghost.results[1] = (uint8_t)shmq_load_relaxed(&x);
}
static void x_then_y_acquire(void *unused) {
    (void)unused;
    ghost.results[2] = (uint8_t)shmq_load_acquire(&x);
    ghost.results[3] = (uint8_t)shmq_load_acquire(&y);
}
static void x_fence_y(void *unused) {
    (void)unused;
    ghost.results[2] = (uint8_t)shmq_load_acquire(&x);
    shmq_fence();
    ghost.results[3] = (uint8_t)shmq_load_acquire(&y);
}
static void x_again(void *unused) {
    (void)unused;
    ghost.results[0] = (uint8_t)shmq_load_relaxed(&x);
    ghost.results[1] = (uint8_t)shmq_load_relaxed(&x);
}
/* Store buffering: by read-modify-writes alone (on ARM no fence), and with a fence behind each. */
static void buffer_x(void *unused) {
    (void)unused;
    shmq_fetch_or(&x, 1);
    ghost.results[0] = (uint8_t)shmq_load_acquire(&y);
}
static void buffer_y(void *unused) {
    (void)unused;
    shmq_fetch_or(&y, 1);
    ghost.results[1] = (uint8_t)shmq_load_acquire(&x);
}
static void buffer_x_fence(void *unused) {
    (void)unused;
    shmq_fetch_or(&x, 1);
    shmq_fence_after_rmw();
    ghost.results[0] = (uint8_t)shmq_load_relaxed(&y);
}
static void buffer_y_fence(void *unused) {
    (void)unused;
    shmq_fetch_or(&y, 1);
    shmq_fence_after_rmw();
    ghost.results[1] = (uint8_t)shmq_load_relaxed(&x);
}
/* The cheap fence behind a plain store, where it is none. */
static void buffer_x_cheap(void *unused) {
    (void)unused;
    shmq_store_release(&x, 1);
    shmq_fence_after_rmw();
    ghost.results[0] = (uint8_t)shmq_load_relaxed(&y);
}
/* Two that add one: the lowest digit of what each found, and who won a compare-and-swap. */
static void add_first(void *unused) {
    (void)unused;
    ghost.results[0] = (uint8_t)shmq_fetch_add(&x, 1);
}
static void add_second(void *unused) {
    (void)unused;
    ghost.results[1] = (uint8_t)shmq_fetch_add(&x, 1);
}
static void swap_first(void *unused) {
    (void)unused;
    uint64_t expected = 0;
    ghost.results[0] = shmq_cas(&x, &expected, 1);
}
static void swap_second(void *unused) {
    (void)unused;
    uint64_t expected = 0;
    ghost.results[1] = shmq_cas(&x, &expected, 2);
}
/* A release sequence: the release store of y is read through a relaxed read-modify-write of another. */
static void relay(void *unused) {
    (void)unused;
    uint64_t expected = 1;
    if (!model_cas_relaxed(&y, &expected, 3))
        model_drop();
}

#define LITMUS(title, ones, ...)                                                                                       \
    {                                                                                                                  \
        .name = "memory-" title, .start = start, .finish = finish, .conclude = conclude,                              \
        .parameters = &(const struct litmus){.runs = {__VA_ARGS__}, .outcomes = ones}                                  \
    }

#define ALL_OF_TWO 0xfu
#define ALL_OF_FOUR 0xffffu

const struct model_scenario model_scenarios[] = {
    /* Outcome r0=1 r1=0 is bit 1: the flag is seen and the message is not. */
    LITMUS("message-relaxed", ALL_OF_TWO, message_relaxed, y_then_x_acquire),
    LITMUS("message-release-relaxed-load", ALL_OF_TWO, message_release, y_then_x_relaxed),
    LITMUS("message-release-acquire", ALL_OF_TWO & ~(1u << 1), message_release, y_then_x_acquire),
    LITMUS("message-fences", ALL_OF_TWO & ~(1u << 1), message_fence, y_fence_x),
    LITMUS("message-fence-relaxed-load", ALL_OF_TWO, message_fence, y_then_x_relaxed),
    /* The same word twice never goes back. */
    LITMUS("coherence", ALL_OF_TWO & ~(1u << 1), x_relaxed, x_again),
    /* Outcome 0: both stores are overtaken by the loads behind them. */
    LITMUS("store-buffering-rmw", ALL_OF_TWO, buffer_x, buffer_y),
    LITMUS("store-buffering-one-fence", ALL_OF_TWO, buffer_x_fence, buffer_y),
    LITMUS("store-buffering-cheap-fence", ALL_OF_TWO, buffer_x_cheap, buffer_y_fence),
    LITMUS("store-buffering-fences", ALL_OF_TWO & ~1u, buffer_x_fence, buffer_y_fence),
    /* Outcome r0=1 r1=0 r2=1 r3=0, bit 5: two readers see two writes in opposite orders. */
    LITMUS("independent-reads", ALL_OF_FOUR, x_relaxed, y_relaxed, y_then_x_acquire, x_then_y_acquire),
    LITMUS("independent-reads-fences", ALL_OF_FOUR & ~(1u << 5), x_relaxed, y_relaxed, y_fence_x, x_fence_y),
    LITMUS("add-is-atomic", 1u << 1 | 1u << 2, add_first, add_second),
    LITMUS("swap-is-atomic", 1u << 1 | 1u << 2, swap_first, swap_second),
    LITMUS("release-sequence", ALL_OF_TWO & ~(1u << 1), message_release, relay, y_then_x_acquire),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
