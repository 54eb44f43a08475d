/* Who sleeps: a bitmap of process slots in the control file, and the promise that nobody oversleeps.
 *
 *   Sleeper: set my bit; FENCE; look at the log once more; sleep until rung.
 *   Waker:   change the log;  FENCE; load the bitmap; clear the bits found and ring their owners.
 *
 * INVARIANT W1  After both fences, either the sleeper sees the change or the waker sees the bit (Dekker). A ring is a
 * hint: whoever is rung looks again, and every sleep is bounded, since a waker may die before it rings. */
#ifndef SHMQ_WAITERS_H
#define SHMQ_WAITERS_H

#include "layout.h"

/* Set the bit of `slot`, ending in a full fence: look at the log after it. Nobody leaves: several threads of a process
 * share its bit, and one that stays behind costs a ring that nobody needed. */
void shmq_waiters_enter(struct shmq_bitmap *bitmap, uint32_t slot);

/* Clear all bits and copy them to `woken`, for shmq_doorbell_ring_all(); false, with `woken` untouched, if there were none.
 * To be called right after the read-modify-write that changed the log. */
bool shmq_waiters_wake(struct shmq_bitmap *bitmap, uint64_t *woken);

#endif
