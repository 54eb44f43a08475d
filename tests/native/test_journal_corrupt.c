/* The claim journal in a damaged or hostile file: an error or a sound answer, and never a step outside the words or the
 * data. The words lie in a block of their own from malloc, so that AddressSanitizer sees any such step. */
#include "check.h"

#include <string.h>

#include "journal.h"

#define LENGTH 6u
#define UNITS 10u
#define INCARNATION 42u

static struct shmq_journal journal_with(const uint64_t *words, uint32_t length) {
    struct shmq_journal journal = {malloc(length * sizeof(shmq_a64)), length, UNITS, INCARNATION, 0};
    CHECK(journal.words);
    memcpy(journal.words, words, length * sizeof(shmq_a64));
    return journal;
}

static uint64_t committed(uint32_t pos, uint32_t count) {
    return shmq_word(SHMQ_COMMITTED, 1, pos, count);
}

static int read_at(uint64_t word, uint32_t index, uint64_t before) {
    uint64_t words[LENGTH];
    for (uint32_t at = 0; at < LENGTH; at++)
        words[at] = shmq_empty_word(INCARNATION);
    words[index] = word;
    struct shmq_journal journal = journal_with(words, LENGTH);
    struct shmq_entry entry;
    int result = shmq_journal_read(&journal, index, before, &entry);
    free(journal.words);
    return result;
}

static void a_reader_refuses_each_kind_of_broken_word(void) {
    uint64_t before = committed(4, 3);
    CHECK_EQUAL(read_at(committed(5, 4), 1, before), SHMQ_OK);
    CHECK_EQUAL(read_at(committed(UNITS, SHMQ_MAX_COUNT), 1, before), SHMQ_OK);

    for (uint64_t state = 0; state < 8; state++)
        if (state == 0 || state >= SHMQ_RESERVED)
            CHECK_EQUAL(read_at(shmq_word_with_state(committed(5, 4), (enum shmq_state)state), 1, before),
                        SHMQ_E_CORRUPT);
    for (enum shmq_state state = SHMQ_CLAIMED; state <= SHMQ_ABORTED; state++) {
        CHECK_EQUAL(read_at(shmq_word(state, 1, 4, 4), 1, before), SHMQ_E_CORRUPT);         /* no units */
        CHECK_EQUAL(read_at(shmq_word(state, 1, 3, 4), 1, before), SHMQ_E_CORRUPT);         /* backwards */
        CHECK_EQUAL(read_at(shmq_word(state, 1, UNITS + 1, 4), 1, before), SHMQ_E_CORRUPT); /* beyond the data */
        CHECK_EQUAL(read_at(shmq_word(state, 1, 5, 3), 1, before), SHMQ_E_CORRUPT);         /* no records */
        CHECK_EQUAL(read_at(shmq_word(state, 1, 5, 2), 1, before), SHMQ_E_CORRUPT);         /* backwards */
        CHECK_EQUAL(read_at(shmq_word(state, 1, 5, 4), LENGTH - 1, before), SHMQ_E_CORRUPT); /* where SEALED belongs */
    }
    CHECK_EQUAL(read_at(shmq_word(SHMQ_RESERVED, 1, 5, 3), 1, before), SHMQ_LOST);
    CHECK_EQUAL(read_at(shmq_word(SHMQ_RESERVED, 1, 4, 3), 1, before), SHMQ_E_CORRUPT);         /* no units */
    CHECK_EQUAL(read_at(shmq_word(SHMQ_RESERVED, 1, UNITS + 1, 3), 1, before), SHMQ_E_CORRUPT); /* beyond the data */
    CHECK_EQUAL(read_at(shmq_word(SHMQ_RESERVED, 1, 5, 4), 1, before), SHMQ_E_CORRUPT);         /* a record */
    CHECK_EQUAL(read_at(shmq_word(SHMQ_RESERVED, 1, 5, 3), LENGTH - 1, before), SHMQ_E_CORRUPT); /* where SEALED belongs */
    CHECK_EQUAL(read_at(shmq_word(SHMQ_SEAL, 0, 4, 3), LENGTH - 1, before), SHMQ_SEALED);
    CHECK_EQUAL(read_at(shmq_word(SHMQ_SEAL, 0, 5, 3), 1, before), SHMQ_E_CORRUPT);
    CHECK_EQUAL(read_at(shmq_word(SHMQ_SEAL, 0, 4, 4), 1, before), SHMQ_E_CORRUPT);
    CHECK_EQUAL(read_at(shmq_empty_word(INCARNATION + 1), 1, before), SHMQ_E_CORRUPT);
    CHECK_EQUAL(read_at(0, 1, before), SHMQ_E_CORRUPT);
    CHECK_EQUAL(read_at(UINT64_MAX, 1, before), SHMQ_E_CORRUPT);
}

static int claim_behind(uint64_t last) {
    uint64_t words[LENGTH];
    for (uint32_t at = 0; at < LENGTH; at++)
        words[at] = shmq_empty_word(INCARNATION);
    words[0] = last;
    struct shmq_journal journal = journal_with(words, LENGTH);
    struct shmq_claim claim;
    int result = shmq_journal_claim(&journal, 1, 1, 1, &claim);
    CHECK(result == SHMQ_OK || memcmp(words, journal.words, sizeof(words)) == 0);
    free(journal.words);
    return result;
}

static void nothing_is_claimed_behind_a_broken_word(void) {
    CHECK_EQUAL(claim_behind(committed(UNITS - 1, 1)), SHMQ_OK);
    CHECK_EQUAL(claim_behind(committed(UNITS + 1, 1)), SHMQ_E_CORRUPT);
    CHECK_EQUAL(claim_behind(committed(SHMQ_MAX_UNITS, 1)), SHMQ_E_CORRUPT);
    CHECK_EQUAL(claim_behind(committed(UNITS, 1)), SHMQ_NO_FIT);
    CHECK_EQUAL(claim_behind(committed(1, SHMQ_MAX_COUNT)), SHMQ_NO_FIT);
    CHECK_EQUAL(claim_behind(0), SHMQ_E_CORRUPT);
    CHECK_EQUAL(claim_behind(UINT64_MAX), SHMQ_E_CORRUPT);
}

static void a_full_journal_without_a_seal_is_refused(void) {
    uint64_t words[LENGTH];
    for (uint32_t at = 0; at < LENGTH; at++)
        words[at] = committed(at + 1, at + 1);
    struct shmq_journal journal = journal_with(words, LENGTH);
    struct shmq_claim claim;
    uint32_t end_count;

    CHECK_EQUAL(shmq_journal_claim(&journal, 1, 1, 1, &claim), SHMQ_E_CORRUPT);
    CHECK_EQUAL(shmq_journal_seal(&journal, &end_count), SHMQ_E_CORRUPT);

    CHECK_EQUAL(shmq_journal_find(&journal, UINT32_MAX), LENGTH);
    free(journal.words);
}

/* A word of some state, mostly with small numbers, so that many journals look almost right. */
static uint64_t random_word(uint64_t *seed) {
    uint64_t random = check_random(seed);
    if (random % 16 == 0)
        return check_random(seed);
    if (random % 4 == 0)
        return shmq_empty_word(INCARNATION + (random >> 8) % 8 / 7);
    return shmq_word((enum shmq_state)((random >> 8) % 8), 1, (uint32_t)(random >> 16) % (UNITS + 2),
                     (uint32_t)(random >> 24) % 8);
}

/* What a claim says is inside the data, follows the word before it, and is what the word holds. */
static void check_claim(const struct shmq_journal *journal, const struct shmq_claim *claim, uint32_t units) {
    uint64_t before = claim->index ? journal->words[claim->index - 1].raw : 0;
    CHECK(claim->index + 1 < journal->length);
    CHECK_EQUAL(claim->start_pos, shmq_word_pos(before));
    CHECK_EQUAL(claim->start_pos + units, shmq_word_pos(claim->word));
    CHECK(shmq_word_pos(claim->word) <= journal->data_units);
    CHECK_EQUAL(journal->words[claim->index].raw, claim->word);
}

static void use_everything(struct shmq_journal *journal, uint64_t *seed) {
    uint64_t random = check_random(seed);
    struct shmq_entry entry;
    struct shmq_claim claim;
    uint32_t end_count, units = 1 + (uint32_t)(random % 4);
    uint64_t before = 0;
    for (uint32_t index = 0; index < journal->length + 2; index++, before = entry.word)
        if (shmq_journal_read(journal, index, before, &entry) < 0)
            break;
        else
            CHECK(entry.end_pos <= UNITS || shmq_word_state(entry.word) == SHMQ_EMPTY);
    CHECK(shmq_journal_find(journal, (uint32_t)(random >> 8) % 10) <= journal->length);
    CHECK(shmq_journal_end(journal) <= journal->length);
    int result = shmq_journal_claim(journal, 1, units, 1, &claim);
    CHECK(result == SHMQ_OK || result == SHMQ_NO_FIT || result == SHMQ_SEALED || result == SHMQ_E_CORRUPT);
    CHECK(claim.index <= journal->length);
    if (result == SHMQ_OK)
        check_claim(journal, &claim, units);
    result = shmq_journal_reserve(journal, 1, units, &claim);
    CHECK(result == SHMQ_OK || result == SHMQ_NO_FIT || result == SHMQ_SEALED || result == SHMQ_E_CORRUPT);
    if (result == SHMQ_OK)
        check_claim(journal, &claim, units);
    shmq_journal_is_reserved(journal, (uint32_t)(random >> 16), (uint32_t)(random >> 20));
    result = shmq_journal_seal(journal, &end_count);
    CHECK(result == SHMQ_OK || result == SHMQ_SEALED || result == SHMQ_E_CORRUPT);
}

static void no_journal_of_random_words_leads_astray(void) {
    uint64_t seed = 4242, words[LENGTH];
    for (int round = 0; round < (check_long() ? 20000000 : 300000); round++) {
        uint32_t length = 1 + (uint32_t)(check_random(&seed) % LENGTH);
        for (uint32_t at = 0; at < length; at++)
            words[at] = random_word(&seed);
        struct shmq_journal journal = journal_with(words, length);
        use_everything(&journal, &seed);
        free(journal.words);
    }
}

TESTS(TEST(a_reader_refuses_each_kind_of_broken_word), TEST(nothing_is_claimed_behind_a_broken_word),
      TEST(a_full_journal_without_a_seal_is_refused), TEST(no_journal_of_random_words_leads_astray));
