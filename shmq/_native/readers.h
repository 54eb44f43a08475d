/* Readers registered with a partition of retention "consumed": producers keep what the slowest of them still needs.
 *
 * INVARIANT G1  A segment is retired only if every registered reader of a living process has gone past it, and there is
 * at least one. An entry that is being made holds everything. The entry of a dead process holds nothing. */
#ifndef SHMQ_READERS_H
#define SHMQ_READERS_H

#include "partition.h"

/* Enter; gives the entry's number. E_READERS: all are taken. Under guard. */
int shmq_readers_register(struct shmq_partition *partition, uint64_t offset, uint64_t seq, uint32_t *entry);

/* Where this reader stands now: it needs nothing before segment `seq`. `thread` is who reads. Wakes producers that
 * wait for space if `seq` rose: true if there were any. Under guard. */
bool shmq_readers_move(struct shmq_partition *partition, uint32_t entry, uint64_t offset, uint64_t seq, uint64_t thread,
                       uint64_t *woken);

bool shmq_readers_leave(struct shmq_partition *partition, uint32_t entry, uint64_t *woken);

/* May segment `seq` go? OK; FULL if a reader needs it or nobody is registered. `*only_self`: all readers that hold it
 * belong to this very thread, which would wait for itself. Removes entries of dead processes. Under guard. */
int shmq_readers_passed(struct shmq_partition *partition, uint64_t seq, bool *only_self);

/* The id of the calling thread, cached. */
uint64_t shmq_thread_id(void);

#endif
