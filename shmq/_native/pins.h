/* Who has a segment in use: its memory is not taken for a new segment, in place, while anybody may still look at it.
 *
 * Only words again, so that the same source runs in the model; files are the business of mapping.c and reuse.c. Layout:
 * layout.h.
 *
 * INVARIANTS
 *   P1  Who has pinned a segment, and after that found it LIVE in the ring, sees that incarnation and no other until it
 *       lets go. For whoever takes the memory has retired the segment first, and looks at the pins after that: of the two
 *       one sees the other.
 *   P2  A pin is the name of a tenancy, slot and whole epoch, in an entry of its own, and only its owner takes it back.
 *       So a dead process's pin stays, and the memory with it: a file that is not used again costs a new file, and no
 *       more. A living process that was taken for dead keeps its pins, and whoever has its slot now cannot lift them.
 *   P3  A tainted segment is never taken, whatever its pins say. Who has readers that no entry can name taints it: a
 *       process that forks with pins of its own, and one that finds every entry taken.
 * Whether a process lives is never asked. */
#ifndef SHMQ_PINS_H
#define SHMQ_PINS_H

#include <stdbool.h>

#include "layout.h"

/* A tenancy's name. Never 0, for no tenant has epoch 0. */
static inline uint64_t shmq_pin_holder(uint32_t slot, uint64_t epoch) {
    return epoch << SHMQ_SLOT_BITS | slot;
}

/* Pin for `holder`: the entry, or -1 if all are taken, and then the segment is tainted. Look at the ring after it (P1). */
int32_t shmq_pins_take(struct shmq_pins *pins, uint64_t holder);

/* Take back the pin in `entry`; -1: there is none. */
void shmq_pins_drop(struct shmq_pins *pins, int32_t entry, uint64_t holder);

void shmq_pins_taint(struct shmq_pins *pins);

/* Of a segment that the caller has retired: true if nobody has it in use, and nobody can any more. */
bool shmq_pins_are_free(const struct shmq_pins *pins);

#endif
