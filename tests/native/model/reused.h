/* One segment file that is used again in place, for the scenarios that include this: its memory, the ring, and who takes it.
 * The check before the memory is used again (reuse.h, U2) is the product's; around it stands what segment.c, appender.c and
 * retention.c do, in their order, without their system calls.
 *
 * Life n of the file is segment 2 n. The segments between belong to a file that does not matter here.
 *
 * PROPERTIES
 *   foreign       the memory became another incarnation's while somebody had it in use; or a claim, a seal or a write of
 *                 one incarnation landed in another
 *   torn          somebody who has it pinned read a payload that is not what was sent
 *   race          the memory was taken when reads or writes of who had let go of it had not happened before that
 *   double-taken  it was taken by one who had not retired what it was, or by two
 *   base          a seal of another life was taken for one's own
 *   corrupt       a function of the product takes the log for damaged
 *   vacuous       no execution used the memory again */
#ifndef REUSED_H
#define REUSED_H

#include <string.h>
#include <unistd.h>

#include "model.h"
#include "pins.h"
#include "reuse.h"

#undef SHMQ_PATH_BYTES
#define SHMQ_PATH_BYTES 8 /* nobody writes one here */
#define unlink(path) ((void)(path))
#include "reuse.c"

#define WORDS 4u
#define UNITS 3u
#define LIVES 3u
#define USERS 3u
#define SLOTS 8u /* of the ring: none is used twice */
#define FIRST 1u /* incarnation of the first life */
#define OTHERS 100u /* incarnations of the other file */
#define OLD_PAYLOAD 1u /* of the one batch of the first life, if that is sealed from the start */

static struct shmq_segment_header header;
static shmq_a64 words[WORDS], data[UNITS], done[USERS]; /* done: what each user did, as plain bytes */
static union {
    struct shmq_control control;
    unsigned char bytes[sizeof(struct shmq_control) + 8 * SLOTS];
} memory;
static const struct shmq_ring ring = {&memory.control, SLOTS};
static struct {
    uint8_t incarnation;        /* whose the memory is */
    bool uses[USERS];           /* it has found it LIVE since it pinned it, and not let go */
    uint8_t done[USERS];        /* what it did */
    uint8_t sent[LIVES][WORDS]; /* by life and word: the payload */
    uint8_t sealed[LIVES];      /* end_count + 1 */
} ghost;
static bool sealed_at_start;
static unsigned lives;      /* that a taker makes, beside the first */
static bool was_used_again; /* in some execution */

static unsigned life_of(uint64_t incarnation) {
    return incarnation == FIRST ? 0 : (unsigned)incarnation / 10;
}

static uint64_t seq_of(unsigned life) {
    return 2 * (uint64_t)life;
}

static struct shmq_journal journal_of(uint64_t incarnation) {
    return (struct shmq_journal){words, WORDS, UNITS, incarnation, 0};
}

/* As was_retired() of appender.c. */
static bool was_retired(uint64_t incarnation) {
    uint64_t found;
    return shmq_ring_look(&ring, seq_of(life_of(incarnation)), &found) != SHMQ_SEQ_LIVE || found != incarnation;
}

static void is_mine(uint64_t incarnation) {
    MODEL_CHECK(ghost.incarnation == incarnation, "foreign", ghost.incarnation, incarnation);
}

/* Who found it LIVE after it had pinned it. */
static void use_begins(unsigned user, uint64_t incarnation) {
    is_mine(incarnation);
    ghost.uses[user] = true;
}

static void use_ends(unsigned user) {
    model_data_store(&done[user], ++ghost.done[user]);
    ghost.uses[user] = false;
}

static bool find_live(uint64_t *incarnation) {
    for (unsigned life = 0; life <= lives; life++)
        if (shmq_ring_look(&ring, seq_of(life), incarnation) == SHMQ_SEQ_LIVE)
            return true;
    return false;
}

/* Header, journal words and payloads are those of the incarnation that it has pinned. */
static void read_all(uint64_t incarnation) {
    uint64_t found = model_data_load(shmq_incarnation_of(&header));
    MODEL_CHECK(found == incarnation, "foreign", found, incarnation);
    struct shmq_journal journal = journal_of(incarnation);
    uint64_t before = 0;
    for (uint32_t index = 0;; index++) {
        struct shmq_entry entry;
        int result = shmq_journal_read(&journal, index, before, &entry);
        MODEL_CHECK(result >= 0, "foreign", result, index);
        is_mine(incarnation);
        if (result != SHMQ_OK && result != SHMQ_LOST)
            return;
        if (result == SHMQ_OK) {
            uint64_t payload = model_data_load(&data[entry.start_pos]), sent = ghost.sent[life_of(incarnation)][index];
            MODEL_CHECK(payload == sent, "torn", payload, sent);
        }
        before = entry.word;
    }
}

/* ---- Who takes it ---- */

/* As seal() of appender.c. False: it was retired. */
static bool seal(struct shmq_journal *journal) {
    uint8_t *sealed = &ghost.sealed[life_of(journal->incarnation)];
    uint32_t end_count;
    int result = shmq_journal_seal(journal, &end_count);
    if (result == SHMQ_OK) {
        is_mine(journal->incarnation);
        *sealed = (uint8_t)(end_count + 1);
    }
    if (was_retired(journal->incarnation))
        return false;
    MODEL_CHECK(result >= 0, "corrupt", result, 0);
    MODEL_CHECK(end_count + 1 == *sealed, "base", end_count, *sealed);
    return true;
}

static const struct shmq_options options = {.reuse = 1};
static struct shmq_fail fail;
static struct shmq_partition partition;

int shmq_guarded(int (*function)(void *), void *argument, struct shmq_fail *unused, const char *path) {
    (void)unused, (void)path;
    return function(argument);
}

void shmq_segment_path(const struct shmq_partition *where, uint64_t seq, uint64_t incarnation, char *path) {
    (void)where, (void)seq, (void)incarnation, (void)path;
}

struct shmq_geometry shmq_segment_geometry(const struct shmq_options *wanted) {
    (void)wanted;
    return (struct shmq_geometry){.journal_words = WORDS, .data_units = UNITS};
}

int shmq_segment_map_own(const struct shmq_partition *where, uint64_t seq, uint64_t incarnation,
                         struct shmq_segment *segment, struct shmq_fail *unused) {
    (void)where, (void)unused;
    *segment = (struct shmq_segment){.header = &header, .reuse = true, .journal = journal_of(incarnation), .seq = seq};
    return SHMQ_OK;
}

void shmq_segment_unmap(struct shmq_segment *segment) {
    segment->header = NULL;
}

/* As rewrite() of segment.c. */
int shmq_segment_renew(const struct shmq_partition *where, uint64_t seq, uint64_t incarnation, uint64_t base_offset,
                       const struct shmq_options *wanted, struct shmq_segment *segment, struct shmq_fail *unused) {
    (void)where, (void)base_offset, (void)wanted, (void)unused;
    struct shmq_journal journal = segment->journal;
    model_turn();
    MODEL_CHECK(ghost.incarnation == journal.incarnation, "double-taken", ghost.incarnation, journal.incarnation);
    for (unsigned user = 0; user < USERS; user++) {
        MODEL_CHECK(!ghost.uses[user], "foreign", user, ghost.incarnation);
        MODEL_CHECK(model_data_load(&done[user]) == ghost.done[user], "race", user, ghost.done[user]);
    }
    ghost.incarnation = (uint8_t)incarnation;
    was_used_again = true;
    shmq_store_relaxed(shmq_incarnation_of(&header), incarnation);
    journal.incarnation = incarnation;
    shmq_journal_reset(&journal);
    segment->journal = journal;
    segment->seq = seq;
    return SHMQ_OK;
}

/* As shmq_appender_roll() twice: for the other file's segment, and for one that retires this file's. */
static bool take(unsigned taker, unsigned life) {
    uint64_t incarnation;
    if (shmq_ring_look(&ring, seq_of(life), &incarnation) != SHMQ_SEQ_LIVE)
        return false;
    struct shmq_journal journal = journal_of(incarnation);
    if (!sealed_at_start || life) {
        if (!seal(&journal))
            return false;
        shmq_ring_publish(&ring, seq_of(life) + 1, OTHERS + life);
    }
    if (shmq_ring_retire(&ring, seq_of(life), incarnation) != SHMQ_OK)
        return false;
    struct shmq_retired retired = {true, seq_of(life), incarnation};
    struct shmq_segment fresh = {0};
    uint64_t next = 10 * (life + 1) + taker;
    int result = shmq_reuse(&partition, &retired, seq_of(life + 1), next, 0, &options, &fresh, &fail);
    MODEL_CHECK(!retired.some && (result == SHMQ_OK || result == SHMQ_NOTHING), "corrupt", result, retired.some);
    return result == SHMQ_OK && shmq_ring_publish(&ring, seq_of(life + 1), next) == SHMQ_OK;
}

static void takes(void *argument) {
    for (unsigned life = 0; life < lives; life++)
        if (!take((unsigned)(uintptr_t)argument, life))
            return;
}

/* ---- */

/* `holders`: who has it pinned at the start. */
static void add_file(const uint64_t *holders) {
    /* With a late writer of an old life they are not eager: it may be the second to write. */
    unsigned eager = sealed_at_start ? MODEL_EAGER : 0;
    model_word(shmq_incarnation_of(&header), FIRST, MODEL_NUMBER, eager, "incarnation", 0);
    uint64_t first[WORDS];
    for (unsigned index = 0; index < WORDS; index++)
        first[index] = shmq_empty_word(FIRST);
    if (sealed_at_start) {
        first[0] = shmq_word(SHMQ_COMMITTED, shmq_owner(0, 1), 1, 1);
        first[1] = shmq_word(SHMQ_SEAL, 0, 1, 1);
    }
    for (unsigned index = 0; index < WORDS; index++)
        model_word(&words[index], first[index], MODEL_JOURNAL, eager, "journal", index);
    for (unsigned unit = 0; unit < UNITS; unit++)
        model_word(&data[unit], sealed_at_start && unit == 0 ? OLD_PAYLOAD : 0, MODEL_NUMBER, eager, "data", unit);
    for (unsigned user = 0; user < USERS; user++)
        model_word(&done[user], 0, MODEL_NUMBER, MODEL_EAGER, "done", user);
    model_word(&header.pins.tainted, 0, MODEL_NUMBER, 0, "tainted", 0);
    for (unsigned entry = 0; entry < SHMQ_PINS; entry++)
        model_word(&header.pins.holders[entry], holders[entry], MODEL_NUMBER, 0, "holders", entry);
}

static void add_ring(void) {
    for (uint64_t seq = 0; seq < 2 * LIVES; seq++) {
        bool live = seq == 0 || (seq == 1 && sealed_at_start);
        uint64_t word = live ? shmq_ring_word(SHMQ_RING_LIVE, 0, seq ? OTHERS : FIRST) : shmq_ring_word(SHMQ_RING_FREE, 0, 0);
        model_word(&memory.control.ring[seq], word, MODEL_RING, 0, "ring", (unsigned)seq);
    }
    /* The hints do not matter here, and so are never raised. */
    memory.control.head_seq.raw = memory.control.tail_seq.raw = UINT64_MAX;
}

static void begin(bool sealed, unsigned new_lives, const uint64_t *holders) {
    sealed_at_start = sealed;
    lives = new_lives ? new_lives : 1;
    memset(&ghost, 0, sizeof(ghost));
    ghost.incarnation = FIRST;
    ghost.sent[0][0] = OLD_PAYLOAD;
    ghost.sealed[0] = 2;
    model_ghost(&ghost, sizeof(ghost));
    add_file(holders);
    add_ring();
}

static void conclude(void) {
    if (!was_used_again)
        model_fail("vacuous", "the memory was never used again", 0, 0);
    was_used_again = false;
}

#endif
