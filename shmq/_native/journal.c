#include "journal.h"

#include "fault.h"

void shmq_journal_reset(struct shmq_journal *journal) {
    uint64_t empty = shmq_empty_word(journal->incarnation);
    for (uint32_t index = 0; index < journal->length; index++)
        /* PAIR empty: seen by others only through the CAS that publishes the segment (shmq_ring_publish). */
        shmq_store_relaxed(&journal->words[index], empty);
    journal->hint = 0;
}

/* PAIR publish: the acquire side of the commit. Who sees COMMITTED here sees the batch's bytes. */
static uint64_t load_word(const struct shmq_journal *journal, uint32_t index) {
    return shmq_load_acquire(&journal->words[index]);
}

static bool is_empty(const struct shmq_journal *journal, uint32_t index) {
    return shmq_word_state(load_word(journal, index)) == SHMQ_EMPTY;
}

uint64_t shmq_journal_before(const struct shmq_journal *journal, uint32_t index) {
    return index ? load_word(journal, index - 1) : 0;
}

/* Gallop from the hint, then halve: mostly the hint itself is the answer. */
uint32_t shmq_journal_end(struct shmq_journal *journal) {
    uint32_t low = journal->hint, step = 1; /* every word before `low` is not empty */
    uint32_t high = low;
    while (high < journal->length && !is_empty(journal, high)) {
        low = high + 1;
        high = step < journal->length - high ? high + step : journal->length;
        step *= 2;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (is_empty(journal, middle))
            high = middle;
        else
            low = middle + 1;
    }
    journal->hint = low;
    return low;
}

/* The ends of the word before `index`, checked: a file may hold anything. */
static int ends_before(const struct shmq_journal *journal, uint32_t index, uint32_t *pos, uint32_t *count) {
    uint64_t word = shmq_journal_before(journal, index);
    *pos = index ? shmq_word_pos(word) : 0;
    *count = index ? shmq_word_count(word) : 0;
    if (index == 0)
        return SHMQ_OK;
    switch (shmq_word_state(word)) {
    case SHMQ_CLAIMED:
    case SHMQ_COMMITTED:
    case SHMQ_ABORTED:
    case SHMQ_RESERVED:
        return *pos <= journal->data_units ? SHMQ_OK : SHMQ_E_CORRUPT;
    case SHMQ_SEAL:
        return SHMQ_SEALED;
    default:
        return SHMQ_E_CORRUPT;
    }
}

int shmq_journal_claim(struct shmq_journal *journal, uint32_t owner, uint32_t units, uint32_t count,
                       struct shmq_claim *claim) {
    return shmq_journal_claim_within(journal, owner, units, count, SHMQ_MAX_COUNT, claim);
}

int shmq_journal_claim_within(struct shmq_journal *journal, uint32_t owner, uint32_t units, uint32_t count,
                              uint32_t most_count, struct shmq_claim *claim) {
    for (;;) {
        uint32_t index = shmq_journal_end(journal);
        uint32_t pos, first;
        claim->index = index ? index - 1 : 0;
        int result = ends_before(journal, index, &pos, &first);
        if (result != SHMQ_OK)
            return result;
        claim->index = index;
        if (index + 1 >= journal->length || units > journal->data_units - pos || count > SHMQ_MAX_COUNT - first)
            return index < journal->length ? SHMQ_NO_FIT : SHMQ_E_CORRUPT;
        if (first + count > most_count)
            return SHMQ_FULL;
        uint64_t expected = shmq_empty_word(journal->incarnation);
        uint64_t word = shmq_word(SHMQ_CLAIMED, owner, pos + units, first + count);
        if (SHMQ_SHARED("journal.claim", shmq_cas(&journal->words[index], &expected, word))) {
            *claim = (struct shmq_claim){word, index, pos, first};
            journal->hint = index + 1;
            return SHMQ_OK;
        }
        if (shmq_word_state(expected) == SHMQ_EMPTY)
            return SHMQ_E_CORRUPT; /* J6: the word belongs to another incarnation */
    }
}

int shmq_journal_reserve(struct shmq_journal *journal, uint32_t owner, uint32_t units, struct shmq_claim *claim) {
    for (;;) {
        uint32_t index = shmq_journal_end(journal);
        uint32_t pos, first;
        claim->index = index ? index - 1 : 0;
        int result = ends_before(journal, index, &pos, &first);
        if (result != SHMQ_OK)
            return result;
        claim->index = index;
        if (index >= journal->length)
            return SHMQ_E_CORRUPT;
        if (index + 2 >= journal->length || units >= journal->data_units - pos)
            return SHMQ_NO_FIT;
        uint64_t expected = shmq_empty_word(journal->incarnation);
        uint64_t word = shmq_word(SHMQ_RESERVED, owner, pos + units, first);
        if (SHMQ_SHARED("journal.reserve", shmq_cas(&journal->words[index], &expected, word))) {
            *claim = (struct shmq_claim){word, index, pos, first};
            journal->hint = index + 1;
            return SHMQ_OK;
        }
        if (shmq_word_state(expected) == SHMQ_EMPTY)
            return SHMQ_E_CORRUPT; /* J6 */
    }
}

int shmq_journal_commit(struct shmq_journal *journal, const struct shmq_claim *claim) {
    uint64_t expected = claim->word;
    uint64_t committed = shmq_word_with_state(claim->word, SHMQ_COMMITTED);
    /* PAIR publish: this CAS, with the acquire load in load_word(). */
    bool mine = SHMQ_SHARED("journal.commit", shmq_cas(&journal->words[claim->index], &expected, committed));
    return mine ? SHMQ_OK : SHMQ_LOST;
}

int shmq_journal_abort(struct shmq_journal *journal, uint32_t index, uint64_t word) {
    uint64_t aborted = shmq_word_with_state(word, SHMQ_ABORTED);
    /* A CAS, because the claimer may be alive and commit at this very moment (J5). */
    return SHMQ_SHARED("journal.abort", shmq_cas(&journal->words[index], &word, aborted)) ? SHMQ_OK : SHMQ_LOST;
}

int shmq_journal_seal(struct shmq_journal *journal, uint32_t *end_count) {
    for (;;) {
        uint32_t index = shmq_journal_end(journal);
        uint32_t pos;
        int result = ends_before(journal, index, &pos, end_count);
        if (result != SHMQ_OK)
            return result;
        if (index >= journal->length)
            return SHMQ_E_CORRUPT;
        uint64_t expected = shmq_empty_word(journal->incarnation);
        uint64_t seal = shmq_word(SHMQ_SEAL, 0, pos, *end_count);
        if (SHMQ_SHARED("journal.seal", shmq_cas(&journal->words[index], &expected, seal))) {
            journal->hint = index + 1;
            return SHMQ_OK;
        }
        if (shmq_word_state(expected) == SHMQ_EMPTY)
            return SHMQ_E_CORRUPT;
    }
}

int shmq_journal_read(const struct shmq_journal *journal, uint32_t index, uint64_t before, struct shmq_entry *entry) {
    if (index >= journal->length)
        return SHMQ_E_CORRUPT;
    uint64_t word = load_word(journal, index);
    enum shmq_state state = shmq_word_state(word);
    *entry = (struct shmq_entry){.word = word,
                                 .start_pos = shmq_word_pos(before),
                                 .end_pos = shmq_word_pos(word),
                                 .first_count = shmq_word_count(before),
                                 .end_count = shmq_word_count(word)};
    if (state == SHMQ_EMPTY)
        return word == shmq_empty_word(journal->incarnation) ? SHMQ_NOTHING : SHMQ_E_CORRUPT;
    if (state == SHMQ_SEAL)
        return entry->end_pos == entry->start_pos && entry->end_count == entry->first_count ? SHMQ_SEALED
                                                                                            : SHMQ_E_CORRUPT;
    if (entry->end_pos <= entry->start_pos || entry->end_pos > journal->data_units || index + 1 >= journal->length)
        return SHMQ_E_CORRUPT;
    if (state == SHMQ_RESERVED)
        return entry->end_count == entry->first_count ? SHMQ_LOST : SHMQ_E_CORRUPT;
    if (entry->end_count <= entry->first_count)
        return SHMQ_E_CORRUPT;
    if (state == SHMQ_CLAIMED)
        return SHMQ_PENDING;
    if (state == SHMQ_ABORTED)
        return SHMQ_LOST;
    return state == SHMQ_COMMITTED ? SHMQ_OK : SHMQ_E_CORRUPT;
}

uint32_t shmq_journal_find(struct shmq_journal *journal, uint32_t count) {
    uint32_t low = 0, high = shmq_journal_end(journal);
    if (high && shmq_word_state(load_word(journal, high - 1)) == SHMQ_SEAL)
        high--; /* SEALED holds no records */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (shmq_word_count(load_word(journal, middle)) > count)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

bool shmq_journal_is_reserved(struct shmq_journal *journal, uint32_t start_pos, uint32_t end_pos) {
    uint32_t low = 0, high = shmq_journal_end(journal); /* the first word that ends behind start_pos */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (shmq_word_pos(load_word(journal, middle)) > start_pos)
            high = middle;
        else
            low = middle + 1;
    }
    if (low == journal->length)
        return false;
    uint64_t word = load_word(journal, low);
    return shmq_word_state(word) == SHMQ_RESERVED && end_pos <= shmq_word_pos(word) &&
           (low ? shmq_word_pos(load_word(journal, low - 1)) : 0) <= start_pos;
}
