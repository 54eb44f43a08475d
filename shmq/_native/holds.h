/* Groups that producers of a partition of retention "consumed" keep records for, whether they have members or not.
 *
 * A group's hold is an entry among the readers' (readers.h) whose owner word is the group's number. Its offset says that
 * the group is done with everything before it. A member moves it after a commit, never before: what the hold has passed
 * may be gone, and the commit may yet be refused.
 *
 * INVARIANTS
 *   H1  A segment is retired only if the offset of every hold is at or past its end (G1).
 *   H2  The offset of a hold only rises, until an administrator sets it anew. A move that was begun before that, or before
 *       the group was released and the entry given to another, changes nothing, however late it comes: the tag in the word
 *       is another one by then.
 *   H3  Who dies over the making of a hold leaves none: the entry is its process's until it is whole. Where two made one
 *       for the same group at once, one is left (PAIR merge); or the next who looks sees to that, if one died over it.
 * WHAT MAY GO WRONG
 *   A tag has 17 bits: a process that was stopped in the middle of a move while that very entry was set anew 131,072 times
 *   may move it. A retirement that was decided before a hold was made may come after it: who makes one looks where the
 *   log begins then. */
#ifndef SHMQ_HOLDS_H
#define SHMQ_HOLDS_H

#include "partition.h"

/* A hold as its user found it. */
struct shmq_hold {
    int64_t entry; /* -1: none */
    uint64_t owner;
    uint64_t tag;
    uint64_t offset;
};

/* Make the group's hold, or set its offset anew, also to a lower one. E_READERS: all places are taken. LOST: this process
 * was taken for dead; renew it. `*wake`: there are producers to wake. Under guard, as all below. */
int shmq_hold_set(struct shmq_partition *partition, uint32_t number, uint64_t offset, bool *wake, uint64_t *woken);

/* OK; NOTHING: the group has none here. */
int shmq_hold_find(struct shmq_partition *partition, uint32_t number, struct shmq_hold *found);

/* What stands in an entry of the table; false if it is no group's. */
bool shmq_hold_look(const struct shmq_partition *partition, uint32_t entry, struct shmq_hold *hold);

/* The group is done with everything before `offset`. Never goes back. LOST: the hold was released or set anew since it was
 * found. */
int shmq_hold_move(struct shmq_partition *partition, const struct shmq_hold *hold, uint64_t offset, bool *wake,
                   uint64_t *woken);

/* True if there are producers to wake. */
bool shmq_hold_release(struct shmq_partition *partition, uint32_t number, uint64_t *woken);

/* The calling thread reads for the group, and is who may move the hold; or does so no longer. */
void shmq_hold_attend(struct shmq_partition *partition, const struct shmq_hold *hold);
void shmq_hold_leave(struct shmq_partition *partition, const struct shmq_hold *hold);

/* For shmq_readers_passed(): has the group in this entry done everything before `offset`? Is the calling thread the one
 * that reads for it? */
bool shmq_hold_has_passed(const struct shmq_reader_entry *place, uint64_t offset);
bool shmq_hold_is_own(const struct shmq_partition *partition, const struct shmq_reader_entry *place);

#endif
