/* The claim journal of one segment: the algorithm that every append and every read goes through.
 *
 * It knows nothing of files, processes and bytes of data, only of words, so that the same source runs in the product,
 * under the sanitizers and in the model checker. Layout: layout.h.
 *
 * INVARIANTS
 *   J1  EMPTY words are a suffix: a word is claimed or sealed only by who has seen the word before it non-empty.
 *   J2  A claim's batch begins where the word before it ends. As that word never changes its ends any more, one CAS
 *       makes owner, byte range and offsets visible together: there is no moment at which bytes belong to nobody.
 *   J3  Only the claimer writes into its byte range, and only between its claim and its commit.
 *   J4  Who sees COMMITTED sees the whole batch.
 *   J5  A batch that was aborted is never read, and its claimer is told: its commit fails. So taking a living process
 *       for dead costs it a retry, and nothing else.
 *   J6  A claim or a seal made for one incarnation of the memory never lands in another.
 *   J7  Nothing follows SEALED; the last word is kept for it, so that a journal can always be sealed.
 *   J8  RESERVED takes bytes and no offsets, at once and for good. So nobody ever waits for it, and there is nothing to give
 *       up: a reservation whose owner dies is a hole that was never part of the log. Its owner alone writes there, until
 *       it commits an ordinary claim whose batch names the range, and never after; J4 covers both ranges then. Nobody
 *       looks at a reserved range but through such a batch. */
#ifndef SHMQ_JOURNAL_H
#define SHMQ_JOURNAL_H

#include "layout.h"
#include "result.h"

struct shmq_journal {
    shmq_a64 *words;
    uint32_t length; /* words */
    uint32_t data_units;
    uint64_t incarnation;
    uint32_t hint; /* of this process alone: all words before it are known not to be empty */
};

/* One append between claim and commit. */
struct shmq_claim {
    uint64_t word;
    uint32_t index;
    uint32_t start_pos; /* units */
    uint32_t first_count;
};

/* One word as a reader sees it. */
struct shmq_entry {
    uint64_t word;
    uint32_t start_pos, end_pos; /* units */
    uint32_t first_count, end_count;
};

/* Make all words EMPTY(incarnation). Only for memory that nobody else can reach. */
void shmq_journal_reset(struct shmq_journal *journal);

/* Claim `units` and `count` offsets at the end of the log.
 *
 * OK: `claim` is the caller's; it copies its batch and commits. NO_FIT: too few words, units or counts are left; seal.
 * SEALED: this segment is finished. E_CORRUPT: the journal breaks its format at `claim->index`. */
int shmq_journal_claim(struct shmq_journal *journal, uint32_t owner, uint32_t units, uint32_t count,
                       struct shmq_claim *claim);

/* The same, but FULL if a record of this segment would have a number of `most_count` or more. */
int shmq_journal_claim_within(struct shmq_journal *journal, uint32_t owner, uint32_t units, uint32_t count,
                              uint32_t most_count, struct shmq_claim *claim);

/* Take `units` without offsets (J8), where at least a word and a unit are left for the batch that will name them.
 *
 * OK: the caller may write there as long as the bytes are those of this incarnation. Otherwise as shmq_journal_claim(). */
int shmq_journal_reserve(struct shmq_journal *journal, uint32_t owner, uint32_t units, struct shmq_claim *claim);

/* Publish a claimed batch: readers see it from here on.
 *
 * LOST: a healer took this process for dead. Nobody has read the batch; append it again. */
int shmq_journal_commit(struct shmq_journal *journal, const struct shmq_claim *claim);

/* Give up the claim `word` at `index`, which a reader saw. LOST: it was committed or aborted meanwhile. */
int shmq_journal_abort(struct shmq_journal *journal, uint32_t index, uint64_t word);

/* Finish this segment. OK or SEALED (it was finished already): `end_count` is final. */
int shmq_journal_seal(struct shmq_journal *journal, uint32_t *end_count);

/* Look at word `index`, whose predecessor is `before` (0 for the first): COMMITTED gives OK; ABORTED and RESERVED, where
 * there is nothing to read, give LOST; CLAIMED PENDING, SEALED SEALED, EMPTY NOTHING, a broken format E_CORRUPT. All but the
 * last fill `entry`. */
int shmq_journal_read(const struct shmq_journal *journal, uint32_t index, uint64_t before, struct shmq_entry *entry);

/* The first word that is EMPTY, or `length` if there is none. */
uint32_t shmq_journal_end(struct shmq_journal *journal);

/* The word that holds record `count` of this segment, or else the SEALED or EMPTY one behind the last: a binary search. */
uint32_t shmq_journal_find(struct shmq_journal *journal, uint32_t count);

/* Do these units lie within one RESERVED word's range? */
bool shmq_journal_is_reserved(struct shmq_journal *journal, uint32_t start_pos, uint32_t end_pos);

/* The word at `index`, or 0 for the one before the first. */
uint64_t shmq_journal_before(const struct shmq_journal *journal, uint32_t index);

#endif
