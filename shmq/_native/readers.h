/* Readers registered with a partition of retention "consumed": producers keep what the slowest of them still needs. Groups
 * stand in the same table: holds.h.
 *
 * INVARIANTS
 *   G1  A segment is retired only if every registered reader of a living process and every group has gone past it, and
 *       there is at least one. An entry that is being made holds everything. The entry of a dead process holds nothing.
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

/* May segment `seq` go? OK; FULL if a reader or a group needs it, or nobody is registered. Groups need it unless they are
 * done with all before `next_base`, the base offset of the segment after it; UINT64_MAX if that is not known: then every
 * group needs it, and `*ask_again` says that there is one. `*only_self`: all that hold it belong to this very thread, which
 * would wait for itself. Removes entries of dead processes. Under guard. */
int shmq_readers_passed(struct shmq_partition *partition, uint64_t seq, uint64_t next_base, bool *only_self,
                        bool *ask_again);

/* Take a place that is free, or a dead process's: `registration->owner`, and joining, stands there, so it holds
 * everything. E_READERS. Under guard. */
int shmq_readers_take(struct shmq_partition *partition, struct shmq_registration *registration);

/* The id of the calling thread, cached. */
uint64_t shmq_thread_id(void);

#endif
