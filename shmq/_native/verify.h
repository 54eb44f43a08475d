/* Every "valid if and only if" of layout.h, checked on one partition. */
#ifndef SHMQ_VERIFY_H
#define SHMQ_VERIFY_H

#include "segment.h"

struct shmq_census {
    uint64_t segments, bytes, batches, records, claimed, aborted; /* bytes: of the spare, too */
    uint64_t reserved; /* ranges without records; they are no batches */
    uint64_t spares;
};

/* OK, or the first broken invariant: E_CORRUPT (`fail.path`, `fail.what`, `fail.pos`), E_VERSION, E_STORAGE. May run while
 * others append and read; segments retired meanwhile are left out. `census` counts what was seen. */
int shmq_partition_verify(struct shmq_partition *partition, struct shmq_census *census, struct shmq_fail *fail);

/* The ring alone: OK, then the segments from `tail` up to, without, `end` are LIVE; E_CORRUPT. */
int shmq_verify_ring(const struct shmq_partition *partition, uint64_t *tail, uint64_t *end, struct shmq_fail *fail);

#endif
