/* Readers registered with a partition of retention "consumed": producers keep what the slowest of them still needs.
 *
 * INVARIANTS
 *   G1  A segment is retired only if every registered reader of a living process has gone past it, and there is at least
 *       one. An entry that is being made holds everything. The entry of a dead process holds nothing.
 *   G2  A process that was wrongly taken for dead harms nobody but itself, though its entry may be another's by now: what
 *       it stores there carries its own name, and so holds everything until the new owner finds it and moves on. */
#ifndef SHMQ_READERS_H
#define SHMQ_READERS_H

#include "partition.h"

/* A place among the readers, and its owner word, which tells it from a later one in the same place. */
struct shmq_registration {
    int64_t entry; /* -1: none */
    uint64_t owner;
};

/* Enter. E_READERS: all places are taken. LOST: this process was taken for dead; renew it. `*wake`: there are producers
 * to wake. Under guard. */
int shmq_readers_register(struct shmq_partition *partition, uint64_t offset, uint64_t seq,
                          struct shmq_registration *registration, bool *wake, uint64_t *woken);

/* Where this reader stands now: it needs nothing before segment `seq`. Wakes producers that wait for space if `seq`
 * changed: `*wake` if there were any. LOST: this process was taken for dead, and the place is its no longer; renew it
 * and register again. Under guard. */
int shmq_readers_move(struct shmq_partition *partition, const struct shmq_registration *registration, uint64_t offset,
                      uint64_t seq, bool *wake, uint64_t *woken);

/* True if there are producers to wake. Under guard. */
bool shmq_readers_leave(struct shmq_partition *partition, const struct shmq_registration *registration, uint64_t *woken);

/* May segment `seq` go? OK; FULL if a reader needs it or nobody is registered. `*only_self`: all readers that hold it
 * belong to this very thread, which would wait for itself. Removes entries of dead processes. Under guard. */
int shmq_readers_passed(struct shmq_partition *partition, uint64_t seq, bool *only_self);

/* The id of the calling thread, cached. */
uint64_t shmq_thread_id(void);

#endif
