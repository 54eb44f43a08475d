/* The word of the spare segment: who makes it, and who gets it.
 *
 * Only the word; its file is the business of prepare.c. Layout: layout.h.
 *
 * INVARIANTS
 *   S1  The word goes 0 -> MAKING -> READY -> 0, or back to 0 or on to another MAKING from anywhere, and each incarnation
 *       stands in it once: a CAS made for one spare never lands on another.
 *   S2  Who swaps the word away from a spare has its file alone, to take or to remove. So a spare is taken once at most,
 *       and one that was taken or removed never becomes READY: its maker is told, by LOST, and removes what it made.
 *   S3  Who sees READY sees the whole file.
 * Whether a maker lives is asked only so that nobody waits for a dead one: one that was wrongly taken for dead has made its
 * file for nothing. */
#ifndef SHMQ_SPARE_H
#define SHMQ_SPARE_H

#include "layout.h"
#include "result.h"

/* The word as it is now. */
uint64_t shmq_spare_look(const struct shmq_control *control);

/* Begin to make `making`, in place of `found`: 0, or a spare of no use, whose file is then the caller's to remove. OK, or
 * LOST: the word is no longer `found`. */
int shmq_spare_begin(struct shmq_control *control, uint64_t found, uint64_t making);

/* `making` is whole. LOST: others did not wait for it. */
int shmq_spare_finish(struct shmq_control *control, uint64_t making, uint64_t ready);

/* Have the file of `found`, whatever its state, alone. LOST: the word is no longer `found`. */
int shmq_spare_take(struct shmq_control *control, uint64_t found);

#endif
