/* Litmus tests of the product's words, with the forbidden outcomes listed. BUILD: plain */
#include "litmus.h"

#include <string.h>

#include "journal.h"
#include "ring.h"
#include "waiters.h"

#define WORDS 8u
#define PAYLOAD 8u

static struct {
    _Alignas(64) shmq_a64 words[WORDS];
    _Alignas(64) uint64_t payload[PAYLOAD];
    _Alignas(64) struct shmq_bitmap bitmap;
    _Alignas(64) shmq_a64 place;
    _Alignas(64) uint64_t base_offset;
    _Alignas(64) union {
        struct shmq_control control;
        unsigned char bytes[sizeof(struct shmq_control) + 8 * 4];
    };
} shared;

static struct shmq_journal left_journal, right_journal;
static struct shmq_claim claim;
static struct shmq_ring ring = {&shared.control, 4};
static uint64_t round_number;

static void fresh_journal(void) {
    left_journal = right_journal = (struct shmq_journal){shared.words, WORDS, 100, ++round_number, 0};
    shmq_journal_reset(&left_journal);
    memset(&shared.bitmap, 0, sizeof(shared.bitmap));
    shmq_store_relaxed(&shared.place, 0);
}

static void one_claim(void) {
    fresh_journal();
    CHECK_EQUAL(shmq_journal_claim(&left_journal, 1, 1, 1, &claim), SHMQ_OK);
}

/* sleep: a sleeper sets its bit and looks; a waker commits and looks for bits. 0: saw nothing. */
static int sleeper_looks(void) {
    shmq_waiters_enter(&shared.bitmap, 3);
    return shmq_word_state(shmq_load_relaxed(&shared.words[0])) == SHMQ_COMMITTED;
}

static int wakes(void) {
    uint64_t woken[SHMQ_MAX_SLOTS / 64] = {0};
    return shmq_waiters_wake(&shared.bitmap, woken) && woken[0] >> 3 & 1;
}

static int commits_and_wakes(void) {
    shmq_journal_commit(&left_journal, &claim);
    return wakes();
}

/* space: as shmq_readers_move() wakes producers: a plain store, then a fence of its own. */
static int producer_looks(void) {
    shmq_waiters_enter(&shared.bitmap, 3);
    return shmq_load_relaxed(&shared.place) == 1;
}

static int moves_and_wakes(void) {
    shmq_store_release(&shared.place, 1);
    shmq_fence();
    return wakes();
}

/* The same without the fence, which x86 too reorders: shows that this harness would notice. Nothing is forbidden. */
static int moves_without_fence(void) {
    shmq_store_release(&shared.place, 1);
    return (shmq_load_relaxed(&shared.bitmap.words[0]) >> 3 & 1) != 0;
}

/* message: 0 not yet there, 1 whole, 2 broken. */
static int writes_and_commits(void) {
    for (unsigned at = 0; at < PAYLOAD; at++)
        __atomic_store_n(&shared.payload[at], round_number, __ATOMIC_RELAXED);
    shmq_journal_commit(&left_journal, &claim);
    return 0;
}

static int reads(void) {
    struct shmq_entry entry;
    int result = shmq_journal_read(&right_journal, 0, 0, &entry);
    if (result != SHMQ_OK)
        return result == SHMQ_PENDING ? 0 : 2;
    for (unsigned at = PAYLOAD; at-- > 0;)
        if (__atomic_load_n(&shared.payload[at], __ATOMIC_RELAXED) != round_number)
            return 2;
    return 1;
}

/* publish: a segment is prepared and published; 0 not yet there, 1 whole, 2 not what was prepared. */
static void fresh_ring(void) {
    round_number++;
    shmq_ring_reset(&ring);
    shmq_store_relaxed(&shared.control.head_seq, 0);
    shmq_store_relaxed(&shared.control.tail_seq, 0);
}

static int prepares_and_publishes(void) {
    left_journal = (struct shmq_journal){shared.words, WORDS, 100, round_number, 0};
    shmq_journal_reset(&left_journal);
    __atomic_store_n(&shared.base_offset, round_number, __ATOMIC_RELAXED);
    return shmq_ring_publish(&ring, 0, round_number) != SHMQ_OK;
}

static int follows(void) {
    uint64_t incarnation;
    if (shmq_ring_look(&ring, 0, &incarnation) != SHMQ_SEQ_LIVE)
        return 0;
    for (unsigned at = WORDS; at-- > 0;)
        if (shmq_load_relaxed(&shared.words[at]) != shmq_empty_word(incarnation))
            return 2;
    return __atomic_load_n(&shared.base_offset, __ATOMIC_RELAXED) == incarnation ? 1 : 2;
}

static int publishes_left(void) {
    return shmq_ring_publish(&ring, 0, 1) == SHMQ_OK;
}

static int publishes_right(void) {
    return shmq_ring_publish(&ring, 0, 2) == SHMQ_OK;
}

/* heal: 1 won. */
static int commits(void) {
    return shmq_journal_commit(&left_journal, &claim) == SHMQ_OK;
}

static int aborts(void) {
    return shmq_journal_abort(&right_journal, 0, claim.word) == SHMQ_OK;
}

/* claim: the index that each got; claim-or-seal: 1 claimed, and how many records the seal counts. */
static int claims_left(void) {
    struct shmq_claim mine;
    return shmq_journal_claim(&left_journal, 1, 1, 1, &mine) == SHMQ_OK ? (int)mine.index : 2;
}

static int claims_right(void) {
    struct shmq_claim mine;
    return shmq_journal_claim(&right_journal, 2, 1, 1, &mine) == SHMQ_OK ? (int)mine.index : 2;
}

static int claims_or_not(void) {
    return claims_left() == 0;
}

static int seals(void) {
    uint32_t end_count = 2;
    return shmq_journal_seal(&right_journal, &end_count) == SHMQ_OK ? (int)end_count : 2;
}

/* ring: one thread rolls on and on, the other looks; 1 found, 2 took the ring for damaged. */
static void no_preparation(void) {
}

static int rolls(void) {
    uint64_t seq, incarnation;
    int result = shmq_ring_head(&ring, &seq, &incarnation);
    if (result != SHMQ_OK)
        return shmq_ring_publish(&ring, 0, 1) == SHMQ_OK ? 1 : 2;
    if (shmq_ring_publish(&ring, seq + 1, seq + 2) == SHMQ_OK)
        return 1;
    result = shmq_ring_tail(&ring, &seq, &incarnation);
    return result == SHMQ_OK && shmq_ring_retire(&ring, seq, incarnation) == SHMQ_OK ? 1 : 2;
}

static int looks(void) {
    uint64_t head, tail, incarnation;
    int newest = shmq_ring_head(&ring, &head, &incarnation), oldest = shmq_ring_tail(&ring, &tail, &incarnation);
    return newest < 0 || oldest < 0 ? 2 : newest == SHMQ_OK && oldest == SHMQ_OK;
}

#define TORN {{NULL, NULL, "a broken batch"}}

static const struct litmus all[] = {
    {"sleep", one_claim, sleeper_looks, commits_and_wakes, {{"lost wake-up"}}},
    {"space", fresh_journal, producer_looks, moves_and_wakes, {{"lost wake-up"}}},
    {"(space without fence)", fresh_journal, producer_looks, moves_without_fence, {{NULL}}},
    {"message", one_claim, writes_and_commits, reads, TORN},
    {"publish", fresh_ring, prepares_and_publishes, follows, {{NULL, NULL, "a half-made segment"}}},
    {"publish-race", fresh_ring, publishes_left, publishes_right, {{"nobody won"}, {NULL, "two files for one place"}}},
    {"heal", one_claim, commits, aborts, {{"nobody won"}, {NULL, "committed and aborted"}}},
    {"claim", fresh_journal, claims_left, claims_right, {{"two claims of one word"}, {NULL, "a gap"}}},
    {"claim-or-seal",
     fresh_journal,
     claims_or_not,
     seals,
     {{NULL, "counted and refused", "seal failed"}, {"claimed behind the seal", NULL, "seal failed"}}},
    {"ring",
     no_preparation,
     rolls,
     looks,
     {{"the roller found nothing"}, {NULL, NULL, "a sound ring refused"}, {"roller stuck", "roller stuck", "stuck"}}},
};

static void nothing_forbidden_is_seen(void) {
    uint64_t rounds = check_long() ? 5000000 : 100000, bad = 0;
    fresh_ring();
    for (size_t at = 0; at < sizeof(all) / sizeof(all[0]); at++)
        bad += litmus_run(&all[at], rounds);
    CHECK_EQUAL(bad, 0);
}

TESTS(TEST(nothing_forbidden_is_seen));
