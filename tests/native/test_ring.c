/* The ring of segments, one call at a time. */
#include "check.h"

#include <string.h>

#include "ring.h"

#define SLOTS 4u

/* Whose words end where the block from malloc ends. */
static struct shmq_ring new_ring(void) {
    struct shmq_ring ring = {calloc(1, shmq_control_bytes(SLOTS)), SLOTS};
    CHECK(ring.control);
    shmq_ring_reset(&ring);
    return ring;
}

static void expect(int (*which)(const struct shmq_ring *, uint64_t *, uint64_t *), const struct shmq_ring *ring,
                   uint64_t seq, uint64_t incarnation) {
    uint64_t found_seq = 99, found_incarnation = 99;
    CHECK_EQUAL(which(ring, &found_seq, &found_incarnation), SHMQ_OK);
    CHECK_EQUAL(found_seq, seq);
    CHECK_EQUAL(found_incarnation, incarnation);
}

static void publish(const struct shmq_ring *ring, uint64_t seq) {
    CHECK_EQUAL(shmq_ring_publish(ring, seq, 100 + seq), SHMQ_OK);
}

static void an_empty_ring_has_nothing(void) {
    struct shmq_ring ring = new_ring();
    uint64_t seq, incarnation;
    CHECK_EQUAL(shmq_ring_head(&ring, &seq, &incarnation), SHMQ_NOTHING);
    CHECK_EQUAL(shmq_ring_tail(&ring, &seq, &incarnation), SHMQ_NOTHING);
    for (seq = 0; seq < 9; seq++)
        CHECK_EQUAL(shmq_ring_look(&ring, seq, &incarnation), SHMQ_SEQ_FUTURE);
    free(ring.control);
}

static void one_of_two_publishers_wins(void) {
    struct shmq_ring ring = new_ring();
    uint64_t incarnation;

    CHECK_EQUAL(shmq_ring_publish(&ring, 0, 7), SHMQ_OK);
    CHECK_EQUAL(shmq_ring_publish(&ring, 0, 8), SHMQ_LOST);

    CHECK_EQUAL(shmq_ring_look(&ring, 0, &incarnation), SHMQ_SEQ_LIVE);
    CHECK_EQUAL(incarnation, 7);
    free(ring.control);
}

static void a_full_ring_takes_no_more_until_the_oldest_is_retired(void) {
    struct shmq_ring ring = new_ring();
    for (uint64_t seq = 0; seq < SLOTS; seq++)
        publish(&ring, seq);

    CHECK_EQUAL(shmq_ring_publish(&ring, SLOTS, 9), SHMQ_LOST);
    CHECK_EQUAL(shmq_ring_retire(&ring, 0, 99), SHMQ_LOST); /* another file */
    CHECK_EQUAL(shmq_ring_retire(&ring, 0, 100), SHMQ_OK);
    CHECK_EQUAL(shmq_ring_retire(&ring, 0, 100), SHMQ_LOST);

    publish(&ring, SLOTS);
    expect(shmq_ring_head, &ring, SLOTS, 100 + SLOTS);
    expect(shmq_ring_tail, &ring, 1, 101);
    CHECK_EQUAL(shmq_ring_publish(&ring, 0, 9), SHMQ_LOST);
    free(ring.control);
}

static void head_and_tail_are_found_from_any_hint_that_is_not_past_them(void) {
    for (uint64_t oldest = 0; oldest < 12; oldest++)
        for (uint64_t newest = oldest; newest < oldest + SLOTS; newest++)
            for (uint64_t back = 0; back < 2; back++) {
                struct shmq_ring ring = new_ring();
                for (uint64_t seq = 0; seq <= newest; seq++) {
                    if (seq >= SLOTS && seq - SLOTS < oldest)
                        CHECK_EQUAL(shmq_ring_retire(&ring, seq - SLOTS, 100 + seq - SLOTS), SHMQ_OK);
                    publish(&ring, seq);
                }
                for (uint64_t seq = newest < SLOTS ? 0 : newest - SLOTS + 1; seq < oldest; seq++)
                    CHECK_EQUAL(shmq_ring_retire(&ring, seq, 100 + seq), SHMQ_OK);
                ring.control->head_seq.raw = newest > back ? newest - back : 0;
                ring.control->tail_seq.raw = oldest > back ? oldest - back : 0;
                expect(shmq_ring_head, &ring, newest, 100 + newest);
                expect(shmq_ring_tail, &ring, oldest, 100 + oldest);
                CHECK_EQUAL(ring.control->head_seq.raw, newest);
                CHECK_EQUAL(ring.control->tail_seq.raw, oldest);
                free(ring.control);
            }
}

/* Laps have 24 bits: the smallest ring has been once around them after some 4 TiB. */
static void laps_go_around(void) {
    struct shmq_ring ring = new_ring();
    uint64_t start = ((UINT64_C(1) << SHMQ_LAP_BITS) - 2) * SLOTS, incarnation;
    for (uint64_t slot = 0; slot < SLOTS; slot++)
        ring.control->ring[slot].raw = shmq_ring_word(SHMQ_RING_FREE, start / SLOTS, 0);
    ring.control->head_seq.raw = ring.control->tail_seq.raw = start;
    publish(&ring, start);

    for (uint64_t seq = start + 1; seq < start + 5 * SLOTS; seq++) {
        publish(&ring, seq);
        CHECK_EQUAL(shmq_ring_look(&ring, seq + 1, &incarnation), SHMQ_SEQ_FUTURE);
        CHECK_EQUAL(shmq_ring_retire(&ring, seq - 1, 100 + seq - 1), SHMQ_OK);
        CHECK_EQUAL(shmq_ring_look(&ring, seq - 1, &incarnation), SHMQ_SEQ_RETIRED);
        expect(shmq_ring_head, &ring, seq, 100 + seq);
        expect(shmq_ring_tail, &ring, seq, 100 + seq);
    }
    free(ring.control);
}

static void words_that_make_no_sense_are_refused(void) {
    uint64_t seq, incarnation;
    struct shmq_ring ring = new_ring();
    publish(&ring, 0);
    publish(&ring, 1);
    uint64_t good = ring.control->ring[0].raw;

    for (uint64_t state = 0; state < 4; state += 3) {
        ring.control->ring[0].raw = (good & ~UINT64_C(3)) | state;
        ring.control->tail_seq.raw = 0;
        CHECK_EQUAL(shmq_ring_look(&ring, 0, &incarnation), SHMQ_SEQ_CORRUPT);
        CHECK_EQUAL(shmq_ring_tail(&ring, &seq, &incarnation), SHMQ_E_CORRUPT);
        ring.control->head_seq.raw = 0;
        CHECK_EQUAL(shmq_ring_head(&ring, &seq, &incarnation), SHMQ_E_CORRUPT);
    }
    ring.control->ring[0].raw = good;
    ring.control->head_seq.raw = ring.control->tail_seq.raw = 2; /* past the truth */
    CHECK_EQUAL(shmq_ring_head(&ring, &seq, &incarnation), SHMQ_E_CORRUPT);
    CHECK_EQUAL(shmq_ring_tail(&ring, &seq, &incarnation), SHMQ_E_CORRUPT);
    ring.control->head_seq.raw = ring.control->tail_seq.raw = 1000;
    CHECK_EQUAL(shmq_ring_head(&ring, &seq, &incarnation), SHMQ_E_CORRUPT);
    CHECK_EQUAL(shmq_ring_tail(&ring, &seq, &incarnation), SHMQ_E_CORRUPT);
    free(ring.control);
}

/* All retired (R3 forbids it), all live with a lap too many: no end in a whole ring's length. */
static void a_ring_without_an_end_is_refused(void) {
    uint64_t seq, incarnation;
    struct shmq_ring ring = new_ring();
    for (enum shmq_ring_state state = SHMQ_RING_FREE; state <= SHMQ_RING_LIVE; state++) {
        for (uint64_t slot = 0; slot < SLOTS; slot++)
            ring.control->ring[slot].raw = shmq_ring_word(state, 9, state == SHMQ_RING_LIVE);
        CHECK_EQUAL(shmq_ring_head(&ring, &seq, &incarnation), SHMQ_E_CORRUPT);
        CHECK_EQUAL(shmq_ring_tail(&ring, &seq, &incarnation), SHMQ_E_CORRUPT);
    }
    free(ring.control);
}

static void no_ring_of_random_words_leads_astray(void) {
    uint64_t seed = 4242, seq, incarnation;
    struct shmq_ring ring = new_ring();
    for (int round = 0; round < (check_long() ? 20000000 : 300000); round++) {
        for (uint64_t slot = 0; slot < SLOTS; slot++) {
            uint64_t random = check_random(&seed);
            uint64_t word = shmq_ring_word(1 + (random >> 8) % 2, (random >> 16) % 4, random >> 32);
            ring.control->ring[slot].raw = random % 16 ? word : random;
        }
        ring.control->head_seq.raw = check_random(&seed) % 16 ? seed % 10 : seed;
        ring.control->tail_seq.raw = check_random(&seed) % 16 ? seed % 10 : seed;
        int head = shmq_ring_head(&ring, &seq, &incarnation);
        CHECK(head != SHMQ_OK || shmq_ring_look(&ring, seq, &incarnation) == SHMQ_SEQ_LIVE);
        int tail = shmq_ring_tail(&ring, &seq, &incarnation);
        CHECK(tail != SHMQ_OK || shmq_ring_look(&ring, seq, &incarnation) == SHMQ_SEQ_LIVE);
        CHECK((head == SHMQ_OK || head == SHMQ_NOTHING || head == SHMQ_E_CORRUPT) &&
              (tail == SHMQ_OK || tail == SHMQ_NOTHING || tail == SHMQ_E_CORRUPT));
    }
    free(ring.control);
}

TESTS(TEST(an_empty_ring_has_nothing), TEST(one_of_two_publishers_wins),
      TEST(a_full_ring_takes_no_more_until_the_oldest_is_retired),
      TEST(head_and_tail_are_found_from_any_hint_that_is_not_past_them), TEST(laps_go_around),
      TEST(words_that_make_no_sense_are_refused), TEST(a_ring_without_an_end_is_refused),
      TEST(no_ring_of_random_words_leads_astray));
