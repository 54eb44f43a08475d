/* Reading one partition in order.
 *
 * INVARIANTS
 *   D1  Records are delivered by rising offset, each at most once per pass; offsets are skipped only where a claim was
 *       aborted.
 *   D2  A claim that blocks the reader is given up as soon as its owner is dead, or when a living owner has had
 *       claim_timeout_ms plus time for its size, doubled for each earlier abort of the same append.
 * Views point into the mapped segment: good until the next call that moves the reader. */
#ifndef SHMQ_READER_H
#define SHMQ_READER_H

#include "batch.h"
#include "holds.h"
#include "readers.h"
#include "segment.h"

struct shmq_reader {
    struct shmq_partition *partition;
    struct shmq_segment segment; /* header NULL: the log had no segment yet when last looked at */
    uint32_t index;              /* journal word to read next */
    uint64_t before;             /* the word before it, 0 for the first */
    bool in_batch;
    uint64_t word;                   /* the word at `index`, if in_batch */
    struct shmq_batch_cursor cursor; /* of its batch */
    uint64_t next_offset;            /* of the record to deliver next, if it exists */
    uint64_t aborted_from;           /* from here to next_offset every claim was aborted */
    bool check_crc;
    struct shmq_registration registration; /* among the readers that producers wait for; entry -1: none */
    bool evicted;                          /* it has lost that place, since this process was taken for dead */
    struct shmq_hold hold;                 /* of the group that it reads for; entry -1: none */
    uint64_t blocked_word; /* the claim that blocks this reader, 0 if none */
    uint64_t blocked_since_ns, asked_ns;
    struct shmq_segment head; /* the newest segment when shmq_reader_bounds() last looked */
    uint64_t healed; /* counter: claims given up by this reader */
    struct shmq_fail fail;
};

/* All functions: E_DELETED, E_CORRUPT (`fail.path`, `fail.pos`), E_STORAGE, E_VERSION. */

void shmq_reader_init(struct shmq_reader *reader, struct shmq_partition *partition, bool check_crc);
void shmq_reader_close(struct shmq_reader *reader);

/* Stand at `offset`. E_OUT_OF_RANGE: it is not in [fail.limit, fail.limit2]; the reader stays where it was. */
int shmq_reader_seek(struct shmq_reader *reader, uint64_t offset);

/* Stand at a word of the mapped segment, whose predecessor is `before`. */
void shmq_reader_stand_at(struct shmq_reader *reader, uint32_t index, uint64_t before);

/* First offset, and the offset that follows the last claimed one. */
int shmq_reader_bounds(struct shmq_reader *reader, uint64_t *begin, uint64_t *end);

/* Up to `most` records, and no further one once they hold `most_bytes`, all of one segment.
 *
 * OK: `*count` of 1 or more. NOTHING: the end. PENDING: a claim is open; shmq_reader_heal(). E_OUT_OF_RANGE: retention
 * has passed this reader by. Registers the reader's new place, if it is registered. */
int shmq_reader_fetch(struct shmq_reader *reader, struct shmq_view *views, uint32_t most, uint64_t most_bytes,
                      uint32_t *count);

/* Items that lie at equal distances in one segment: some of one batch, or the only ones of several batches whose offsets
 * follow each other, a piece each. */
#define SHMQ_RUN_PIECES 256u
struct shmq_run {
    uint64_t item_bytes; /* of each item; 0: any */
    uint32_t most;       /* items */
    uint32_t pieces;     /* filled in, as all below: 0 unless OK */
    uint32_t count;      /* items */
    uint64_t stride;     /* bytes from one to the next */
    struct shmq_piece piece[SHMQ_RUN_PIECES];
};

/* The next items, as shmq_reader_fetch(). NO_FIT: the next record is no item, or not one of `item_bytes`; the reader stands
 * before it, and `fail.limit` are its bytes, 0 if they are not known. */
int shmq_reader_fetch_run(struct shmq_reader *reader, struct shmq_run *run);

/* ---- Between reader.c and run.c. Under guard. ---- */

/* Look at the word under the reader and enter its batch, stepping over aborted ones and reservations. */
int shmq_reader_enter(struct shmq_reader *reader);
int shmq_reader_fail_corrupt(struct shmq_reader *reader, const char *what, uint64_t pos);
int shmq_reader_take_run(struct shmq_reader *reader, struct shmq_run *run, uint32_t *pieces);

/* The next record of the mapped segment, with all of it unread; `next_offset` is the caller's to move behind it, but aborted
 * claims are stepped over. NOTHING, PENDING, or SEALED: shmq_reader_follow(). Under guard. */
int shmq_reader_next(struct shmq_reader *reader, struct shmq_view *view);

/* From the end of a sealed segment, or from nothing, to the next one. NOTHING: it is not there yet. E_OUT_OF_RANGE: it was
 * retired; shmq_reader_pass_by(). */
int shmq_reader_follow(struct shmq_reader *reader);

/* Stand at an offset of the mapped segment. LOST: it lies before it. Under guard. */
int shmq_reader_stand_within(struct shmq_reader *reader, uint64_t offset);

/* The segment that comes next was retired, and with it mostly the reader's place: E_OUT_OF_RANGE. But one without records
 * leaves the place where it was: OK, the reader stands in a later segment. E_CORRUPT: older ones were not retired. */
int shmq_reader_pass_by(struct shmq_reader *reader);

/* Is there news, without moving? A claim that blocks this reader is none; with `settled` no claim is, since it will mostly be
 * committed in a moment. Cheap enough to spin on. */
bool shmq_reader_has_news(struct shmq_reader *reader, bool settled);

/* After PENDING: give up the blocking claim if D2 allows it. OK: look again. PENDING: not yet. */
int shmq_reader_heal(struct shmq_reader *reader);

/* Copy bytes of a view, under guard. */
int shmq_reader_copy(struct shmq_reader *reader, void *to, const uint8_t *from, size_t bytes);

/* The first record at or after the reader's place with a timestamp of at least `timestamp_ms`. OK or NOTHING. */
int shmq_reader_find_time(struct shmq_reader *reader, int64_t timestamp_ms, struct shmq_view *found);

/* The largest offset up to which, from `offset` on, every claim was aborted, but not beyond the reader's own place. What
 * cannot be looked at is not stepped over. One comparison for what follows the last record that was delivered. */
uint64_t shmq_reader_settled(struct shmq_reader *reader, uint64_t offset);

/* ---- registration.c: for retention "consumed". A reader is registered, or reads for a group, or neither. ---- */

/* Nothing goes any more that this reader has not passed. To be called before the first seek: where it stands may go
 * before. E_READERS. */
int shmq_reader_register(struct shmq_reader *reader);

/* Register again, after `evicted`, with a process slot that is ours. */
int shmq_reader_register_anew(struct shmq_reader *reader);

/* Tell the partition where this reader stands, if it is registered; fetch and seek do so. */
void shmq_reader_settle(struct shmq_reader *reader);

void shmq_reader_leave(struct shmq_reader *reader);

/* Read for a group, and be who moves its hold. OK, or NOTHING: the group has none here.
 *
 * From now on shmq_reader_fetch() itself moves the hold over aborted claims, if the group was done with all before them:
 * nobody could commit past a tail of these while the log brings no further record, and producers would wait for it. */
int shmq_reader_hold(struct shmq_reader *reader, uint32_t number);

/* The group has committed `offset`. Moves the hold there, and over aborted claims behind it. LOST: it was released or set
 * anew since; nothing was moved. */
int shmq_reader_move_hold(struct shmq_reader *reader, uint64_t offset);

/* Part of shmq_reader_fetch(). True if there are producers to wake. Under guard. */
bool shmq_reader_carry_hold(struct shmq_reader *reader, uint64_t *woken);

/* Others read for the group, or nobody does. */
void shmq_reader_leave_hold(struct shmq_reader *reader);

#endif
