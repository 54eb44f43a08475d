/* The file of a retired segment as the next one: its pages are mapped and warm, where a new file's must be found and cleared
 * page by page, which costs several times what copying records into them does.
 *
 * INVARIANTS
 *   U1  A file is taken by who retired it, alone (ring.h, R1), and nobody helps: if that process dies, the file is an
 *       orphan, and goes (shmq_partition_clean).
 *   U2  It is used again only if nobody has it in use (pins.h), every claim in it was COMMITTED, and what it was RESERVED
 *       for was published or pinned no more. A claim that was ABORTED may have a writer that does not know it yet.
 *   U3  Its new life has a new incarnation: what was made for the old one lands nowhere (journal.h, J6). */
#ifndef SHMQ_REUSE_H
#define SHMQ_REUSE_H

#include "segment.h"

/* A file that the caller has retired and not yet removed. */
struct shmq_retired {
    bool some;
    uint64_t seq, incarnation;
};

/* Make it segment `seq`, or a spare (SHMQ_SPARE_SEQ), of a new `incarnation`. NOTHING: there is none, or U2 forbids it, or it
 * is not what `options` want: then it was removed. OK: it is mapped, not pinned, and the caller's alone still. */
int shmq_reuse(const struct shmq_partition *partition, struct shmq_retired *retired, uint64_t seq, uint64_t incarnation,
               uint64_t base_offset, const struct shmq_options *options, struct shmq_segment *segment,
               struct shmq_fail *fail);

/* Remove it, if there is one. */
void shmq_reuse_drop(const struct shmq_partition *partition, struct shmq_retired *retired);

#endif
