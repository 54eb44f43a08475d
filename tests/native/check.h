/* What every C test includes, once: checks, and the list of its tests.
 *
 * A test file is tests/native/test_*.c or litmus_*.c, linked with all of shmq/_native/ but py_*.c. `BUILD: asan tsan
 * plain` in its first comment says in which of these ways it is built and run; without it, asan. The file ends in
 *
 *     TESTS(TEST(a_sentence_about_what_holds), TEST(another));
 *
 * SHMQ_TEST_LONG in the environment asks for longer runs. */
#ifndef SHMQ_CHECK_H
#define SHMQ_CHECK_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* What atomic.h's fences modify under ThreadSanitizer. */
uint64_t shmq_tsan_fence_word;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#define CHECK_EQUAL(left, right)                                                                                       \
    do {                                                                                                               \
        int64_t check_left = (int64_t)(left), check_right = (int64_t)(right);                                          \
        if (check_left != check_right) {                                                                               \
            fprintf(stderr, "%s:%d: %s is %" PRId64 ", not %" PRId64 "\n", __FILE__, __LINE__, #left, check_left,      \
                    check_right);                                                                                      \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

struct check_test {
    const char *name;
    void (*run)(void);
};

#define TEST(name) {#name, name}
#define TESTS(...)                                                                                                     \
    int main(void) {                                                                                                   \
        static const struct check_test tests[] = {__VA_ARGS__};                                                        \
        for (size_t at = 0; at < sizeof(tests) / sizeof(tests[0]); at++) {                                             \
            fprintf(stderr, "  %s\n", tests[at].name);                                                                 \
            tests[at].run();                                                                                           \
        }                                                                                                              \
        return 0;                                                                                                      \
    }                                                                                                                  \
    extern int check_unused

static inline bool check_long(void) {
    return getenv("SHMQ_TEST_LONG") != NULL;
}

/* Good enough, the same on every machine, and never 0 from a seed that is not 0. */
static inline uint64_t check_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

#endif
