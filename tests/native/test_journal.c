/* The claim journal, one call at a time: what each returns, at every limit. */
#include "check.h"

#include <string.h>

#include "journal.h"

#define OWNER shmq_owner(7, 3)

/* From malloc, so that the sanitizer sees a step beyond either end. */
static struct shmq_journal new_journal(uint32_t length, uint32_t data_units) {
    struct shmq_journal journal = {calloc(length, sizeof(shmq_a64)), length, data_units, 42, 0};
    CHECK(journal.words);
    shmq_journal_reset(&journal);
    return journal;
}

static struct shmq_claim claim_ok(struct shmq_journal *journal, uint32_t units, uint32_t count) {
    struct shmq_claim claim;
    CHECK_EQUAL(shmq_journal_claim(journal, OWNER, units, count, &claim), SHMQ_OK);
    return claim;
}

static int claim_fails(struct shmq_journal *journal, uint32_t units, uint32_t count) {
    struct shmq_claim claim;
    return shmq_journal_claim(journal, OWNER, units, count, &claim);
}

static void commit_one(struct shmq_journal *journal, uint32_t units, uint32_t count) {
    struct shmq_claim claim = claim_ok(journal, units, count);
    CHECK_EQUAL(shmq_journal_commit(journal, &claim), SHMQ_OK);
}

static void words_keep_what_is_put_into_them(void) {
    uint64_t seed = 1;
    for (int round = 0; round < 1000; round++) {
        uint32_t owner = (uint32_t)check_random(&seed) & ((1u << SHMQ_OWNER_BITS) - 1);
        uint32_t pos = (uint32_t)check_random(&seed) & SHMQ_MAX_UNITS;
        uint32_t count = (uint32_t)check_random(&seed) & SHMQ_MAX_COUNT;
        uint64_t word = shmq_word(SHMQ_CLAIMED, owner, pos, count);
        CHECK_EQUAL(shmq_word_state(word), SHMQ_CLAIMED);
        CHECK_EQUAL(shmq_word_owner(word), owner);
        CHECK_EQUAL(shmq_word_pos(word), pos);
        CHECK_EQUAL(shmq_word_count(word), count);
        uint64_t committed = shmq_word_with_state(word, SHMQ_COMMITTED);
        CHECK_EQUAL(shmq_word_state(committed), SHMQ_COMMITTED);
        CHECK_EQUAL(committed ^ word, SHMQ_CLAIMED ^ SHMQ_COMMITTED);
    }
    CHECK_EQUAL(shmq_owner(1023, 33), shmq_owner(1023, 1));
    CHECK_EQUAL(shmq_owner(1023, 31), (1u << SHMQ_OWNER_BITS) - 1);
}

static void claims_follow_each_other_without_a_gap(void) {
    struct shmq_journal journal = new_journal(4, 10);

    struct shmq_claim first = claim_ok(&journal, 3, 2), second = claim_ok(&journal, 1, 5);

    CHECK(first.index == 0 && first.start_pos == 0 && first.first_count == 0);
    CHECK(second.index == 1 && second.start_pos == 3 && second.first_count == 2);
    CHECK_EQUAL(second.word, shmq_word(SHMQ_CLAIMED, OWNER, 4, 7));
    CHECK_EQUAL(journal.words[1].raw, second.word);
    free(journal.words);
}

static void the_last_word_is_kept_for_the_seal(void) {
    struct shmq_journal journal = new_journal(3, 10);
    uint32_t end_count = 99;
    commit_one(&journal, 1, 1);
    commit_one(&journal, 1, 1);

    CHECK_EQUAL(claim_fails(&journal, 1, 1), SHMQ_NO_FIT);
    CHECK_EQUAL(shmq_journal_seal(&journal, &end_count), SHMQ_OK);

    CHECK_EQUAL(end_count, 2);
    CHECK_EQUAL(journal.words[2].raw, shmq_word(SHMQ_SEAL, 0, 2, 2));
    CHECK_EQUAL(claim_fails(&journal, 1, 1), SHMQ_SEALED);
    CHECK_EQUAL(shmq_journal_seal(&journal, &end_count), SHMQ_SEALED);
    CHECK_EQUAL(end_count, 2);
    free(journal.words);
}

static void an_empty_journal_can_be_sealed_even_of_one_word(void) {
    for (uint32_t length = 1; length < 4; length++) {
        struct shmq_journal journal = new_journal(length, 10);
        uint32_t end_count = 99;
        CHECK_EQUAL(length == 1 ? claim_fails(&journal, 1, 1) : SHMQ_NO_FIT, SHMQ_NO_FIT);
        CHECK_EQUAL(shmq_journal_seal(&journal, &end_count), SHMQ_OK);
        CHECK_EQUAL(end_count, 0);
        CHECK_EQUAL(claim_fails(&journal, 1, 1), SHMQ_SEALED);
        free(journal.words);
    }
}

static void units_fit_exactly_or_not_at_all(void) {
    struct shmq_journal journal = new_journal(8, SHMQ_MAX_UNITS);

    CHECK_EQUAL(claim_fails(&journal, SHMQ_MAX_UNITS + 1, 1), SHMQ_NO_FIT);
    CHECK_EQUAL(claim_fails(&journal, UINT32_MAX, 1), SHMQ_NO_FIT);
    commit_one(&journal, SHMQ_MAX_UNITS - 1, 1);
    CHECK_EQUAL(claim_fails(&journal, 2, 1), SHMQ_NO_FIT);
    CHECK_EQUAL(claim_fails(&journal, UINT32_MAX, 1), SHMQ_NO_FIT);
    commit_one(&journal, 1, 1);
    CHECK_EQUAL(claim_fails(&journal, 1, 1), SHMQ_NO_FIT);

    CHECK_EQUAL(shmq_word_pos(journal.words[1].raw), SHMQ_MAX_UNITS);
    free(journal.words);
}

static void counts_fit_exactly_or_not_at_all(void) {
    struct shmq_journal journal = new_journal(8, 100);

    CHECK_EQUAL(claim_fails(&journal, 1, SHMQ_MAX_COUNT + 1), SHMQ_NO_FIT);
    CHECK_EQUAL(claim_fails(&journal, 1, UINT32_MAX), SHMQ_NO_FIT);
    commit_one(&journal, 1, SHMQ_MAX_COUNT - 1);
    CHECK_EQUAL(claim_fails(&journal, 1, 2), SHMQ_NO_FIT);
    commit_one(&journal, 1, 1);
    CHECK_EQUAL(claim_fails(&journal, 1, 1), SHMQ_NO_FIT);

    CHECK_EQUAL(shmq_word_count(journal.words[1].raw), SHMQ_MAX_COUNT);
    free(journal.words);
}

static void either_the_claimer_or_the_healer_wins(void) {
    struct shmq_journal journal = new_journal(8, 100);
    struct shmq_claim first = claim_ok(&journal, 1, 1), second = claim_ok(&journal, 1, 1);

    CHECK_EQUAL(shmq_journal_commit(&journal, &first), SHMQ_OK);
    CHECK_EQUAL(shmq_journal_abort(&journal, first.index, first.word), SHMQ_LOST);
    CHECK_EQUAL(shmq_journal_commit(&journal, &first), SHMQ_LOST);
    CHECK_EQUAL(shmq_journal_abort(&journal, second.index, second.word), SHMQ_OK);
    CHECK_EQUAL(shmq_journal_commit(&journal, &second), SHMQ_LOST);
    CHECK_EQUAL(shmq_journal_abort(&journal, second.index, second.word), SHMQ_LOST);

    CHECK_EQUAL(shmq_word_state(journal.words[0].raw), SHMQ_COMMITTED);
    CHECK_EQUAL(shmq_word_state(journal.words[1].raw), SHMQ_ABORTED);
    free(journal.words);
}

static void a_journal_that_lags_behind_finds_the_end(void) {
    for (uint32_t length = 1; length <= 20; length++)
        for (uint32_t filled = 0; filled < length; filled++)
            for (uint32_t hint = 0; hint <= filled; hint++) {
                struct shmq_journal journal = new_journal(length, 100);
                for (uint32_t index = 0; index < filled; index++)
                    commit_one(&journal, 1, 1);
                journal.hint = hint;
                CHECK_EQUAL(shmq_journal_end(&journal), filled);
                CHECK_EQUAL(journal.hint, filled);
                free(journal.words);
            }
}

static void a_record_is_found_by_its_count(void) {
    struct shmq_journal journal = new_journal(8, 100);
    uint32_t end_count;
    const uint32_t counts[] = {3, 1, 4};
    for (int index = 0; index < 3; index++)
        commit_one(&journal, 1, counts[index]);

    for (int sealed = 0; sealed < 2; sealed++) {
        const uint32_t expected[] = {0, 0, 0, 1, 2, 2, 2, 2};
        for (uint32_t count = 0; count < 8; count++)
            CHECK_EQUAL(shmq_journal_find(&journal, count), expected[count]);
        CHECK_EQUAL(shmq_journal_find(&journal, 8), 3); /* the word behind the last record, SEALED or EMPTY */
        CHECK_EQUAL(shmq_journal_find(&journal, UINT32_MAX), 3);
        shmq_journal_seal(&journal, &end_count);
    }
    free(journal.words);
}

static void a_reader_is_told_what_each_word_is(void) {
    struct shmq_journal journal = new_journal(8, 100);
    struct shmq_entry entry;
    struct shmq_claim claims[3];
    uint32_t end_count;
    CHECK_EQUAL(shmq_journal_read(&journal, 0, 0, &entry), SHMQ_NOTHING);
    for (int index = 0; index < 3; index++)
        claims[index] = claim_ok(&journal, 2, 3);
    shmq_journal_commit(&journal, &claims[0]);
    shmq_journal_abort(&journal, 1, claims[1].word);

    CHECK_EQUAL(shmq_journal_read(&journal, 0, 0, &entry), SHMQ_OK);
    CHECK(entry.start_pos == 0 && entry.end_pos == 2 && entry.first_count == 0 && entry.end_count == 3);
    CHECK_EQUAL(shmq_journal_read(&journal, 1, entry.word, &entry), SHMQ_LOST);
    CHECK_EQUAL(shmq_journal_read(&journal, 2, entry.word, &entry), SHMQ_PENDING);
    CHECK(entry.start_pos == 4 && entry.end_pos == 6 && entry.first_count == 6 && entry.end_count == 9);
    CHECK_EQUAL(entry.word, claims[2].word);
    CHECK_EQUAL(shmq_journal_before(&journal, 3), entry.word);
    CHECK_EQUAL(shmq_journal_before(&journal, 0), 0);
    uint64_t before = entry.word;
    CHECK_EQUAL(shmq_journal_read(&journal, 3, before, &entry), SHMQ_NOTHING);
    CHECK_EQUAL(shmq_journal_seal(&journal, &end_count), SHMQ_OK);
    CHECK_EQUAL(shmq_journal_read(&journal, 3, before, &entry), SHMQ_SEALED);
    CHECK_EQUAL(shmq_journal_read(&journal, 8, before, &entry), SHMQ_E_CORRUPT);
    CHECK_EQUAL(shmq_journal_read(&journal, UINT32_MAX, before, &entry), SHMQ_E_CORRUPT);
    free(journal.words);
}

static void a_reservation_takes_units_and_no_offsets(void) {
    struct shmq_journal journal = new_journal(8, 100);
    struct shmq_entry entry;
    struct shmq_claim reserved;
    commit_one(&journal, 2, 3);

    CHECK_EQUAL(shmq_journal_reserve(&journal, OWNER, 10, &reserved), SHMQ_OK);
    struct shmq_claim behind = claim_ok(&journal, 1, 1);

    CHECK(reserved.index == 1 && reserved.start_pos == 2 && reserved.first_count == 3);
    CHECK_EQUAL(reserved.word, shmq_word(SHMQ_RESERVED, OWNER, 12, 3));
    CHECK(behind.index == 2 && behind.start_pos == 12 && behind.first_count == 3);
    CHECK_EQUAL(shmq_journal_read(&journal, 1, journal.words[0].raw, &entry), SHMQ_LOST);
    CHECK(entry.start_pos == 2 && entry.end_pos == 12 && entry.first_count == 3 && entry.end_count == 3);
    CHECK_EQUAL(shmq_journal_find(&journal, 2), 0);
    CHECK_EQUAL(shmq_journal_find(&journal, 3), 2);
    CHECK(shmq_journal_is_reserved(&journal, 2, 12) && shmq_journal_is_reserved(&journal, 3, 4));
    CHECK(!shmq_journal_is_reserved(&journal, 1, 4) && !shmq_journal_is_reserved(&journal, 2, 13));
    CHECK(!shmq_journal_is_reserved(&journal, 12, 13) && !shmq_journal_is_reserved(&journal, 50, 51));
    free(journal.words);
}

static void a_reservation_leaves_a_word_and_a_unit_for_the_batch_that_names_it(void) {
    struct shmq_journal journal = new_journal(3, 10), longer = new_journal(8, 10);
    struct shmq_claim claim;
    uint32_t end_count;

    CHECK_EQUAL(shmq_journal_reserve(&longer, OWNER, 10, &claim), SHMQ_NO_FIT);
    CHECK_EQUAL(shmq_journal_reserve(&longer, OWNER, UINT32_MAX, &claim), SHMQ_NO_FIT);
    CHECK_EQUAL(shmq_journal_reserve(&longer, OWNER, 9, &claim), SHMQ_OK);
    commit_one(&longer, 1, 1);
    CHECK_EQUAL(shmq_journal_reserve(&journal, OWNER, 1, &claim), SHMQ_OK);
    CHECK_EQUAL(shmq_journal_reserve(&journal, OWNER, 1, &claim), SHMQ_NO_FIT);
    CHECK_EQUAL(shmq_journal_seal(&journal, &end_count), SHMQ_OK);
    CHECK_EQUAL(end_count, 0);
    CHECK_EQUAL(shmq_journal_reserve(&journal, OWNER, 1, &claim), SHMQ_SEALED);
    CHECK_EQUAL(shmq_journal_find(&journal, 0), 1);
    free(journal.words);
    free(longer.words);
}

static void calls_for_another_incarnation_change_nothing(void) {
    struct shmq_journal journal = new_journal(4, 10), stale = journal;
    stale.incarnation = 41;
    uint32_t end_count;
    struct shmq_entry entry;
    struct shmq_claim claim;

    CHECK_EQUAL(claim_fails(&stale, 1, 1), SHMQ_E_CORRUPT);
    CHECK_EQUAL(shmq_journal_seal(&stale, &end_count), SHMQ_E_CORRUPT);
    CHECK_EQUAL(shmq_journal_reserve(&stale, 1, 1, &claim), SHMQ_E_CORRUPT);
    CHECK_EQUAL(shmq_journal_read(&stale, 0, 0, &entry), SHMQ_E_CORRUPT);
    commit_one(&journal, 1, 1);
    CHECK_EQUAL(claim_fails(&stale, 1, 1), SHMQ_E_CORRUPT);
    CHECK_EQUAL(shmq_journal_seal(&stale, &end_count), SHMQ_E_CORRUPT);

    CHECK_EQUAL(shmq_word_state(journal.words[0].raw), SHMQ_COMMITTED);
    for (int index = 1; index < 4; index++)
        CHECK_EQUAL(journal.words[index].raw, shmq_empty_word(42));
    free(journal.words);
}

TESTS(TEST(words_keep_what_is_put_into_them), TEST(claims_follow_each_other_without_a_gap),
      TEST(the_last_word_is_kept_for_the_seal), TEST(an_empty_journal_can_be_sealed_even_of_one_word),
      TEST(units_fit_exactly_or_not_at_all), TEST(counts_fit_exactly_or_not_at_all),
      TEST(either_the_claimer_or_the_healer_wins), TEST(a_journal_that_lags_behind_finds_the_end),
      TEST(a_record_is_found_by_its_count), TEST(a_reader_is_told_what_each_word_is),
      TEST(a_reservation_takes_units_and_no_offsets),
      TEST(a_reservation_leaves_a_word_and_a_unit_for_the_batch_that_names_it),
      TEST(calls_for_another_incarnation_change_nothing));
