/* Which processes use this broker, and which of them are dead.
 *
 * A process owns a slot by holding one byte of procs.lock with a POSIX record lock: the kernel releases it when the
 * process dies, however it dies, even while it is still a zombie, and forked children do not inherit it. The lock is
 * lost when the process closes any descriptor of that file, so this file opens it once per process and broker.
 *
 * INVARIANT L1  Nothing in the log's safety depends on an answer from here: a living process that is taken for dead
 * finds its claims aborted, or its slot taken, and tries again (journal.h, J5). */
#ifndef SHMQ_LIVENESS_H
#define SHMQ_LIVENESS_H

#include <stdbool.h>
#include <stddef.h>

#include "layout.h"
#include "result.h"

/* This process in one broker; one object per broker, counted. */
struct shmq_process {
    struct shmq_process *next;
    uint64_t device, inode; /* of procs.lock */
    uint64_t instance;
    uint32_t users;
    uint32_t slots;
    uint32_t slot;
    uint64_t epoch;
    uint32_t owner; /* slot and low epoch bits, as in a journal word */
    uint64_t fork_count;
    int lock_fd;
    struct shmq_slot *table; /* mapped; the header's page lies before it */
    size_t mapped_bytes;
    struct shmq_doorbell *doorbell;    /* NULL until this process first sleeps; doorbell.c */
    struct shmq_doorbell *old_doorbells;
    struct shmq_neighbour *neighbours; /* NULL until it first rings; doorbell.c */
    char directory[SHMQ_PATH_BYTES - 64];
};

/* How often this process descends from a fork since the core was loaded; a handle of another count is inherited. */
uint64_t shmq_fork_count(void);

int shmq_procs_create(const char *path, uint64_t instance, uint32_t slots, struct shmq_fail *fail);

/* Register this process, or count one more user of its registration. Errors: E_SLOTS (all taken: `limit` of them),
 * E_STORAGE, E_CORRUPT, E_VERSION. */
int shmq_process_open(const char *directory, uint64_t instance, struct shmq_process **process, struct shmq_fail *fail);

/* One more user of an open registration. */
void shmq_process_hold(struct shmq_process *process);

/* The last user gives the slot back. Does nothing to a registration inherited by fork. */
void shmq_process_close(struct shmq_process *process);

/* After a lost commit: take the lock again, or a new slot if another process has ours. Claims made before are void. */
int shmq_process_renew(struct shmq_process *process, struct shmq_fail *fail);

enum shmq_life { SHMQ_LIFE_ALIVE, SHMQ_LIFE_DYING, SHMQ_LIFE_DEAD };

/* Is the tenant of `slot` with these low epoch bits (journal words), or this whole epoch, dead? DYING: it is past the
 * point of no return, but its lock is not yet free: good enough to abort a claim. Costs a system call or two. */
enum shmq_life shmq_owner_life(const struct shmq_process *process, uint32_t owner);
enum shmq_life shmq_tenant_life(const struct shmq_process *process, uint32_t slot, uint64_t epoch);

enum shmq_life shmq_holder_life(const struct shmq_process *process, uint32_t holder); /* as in a window's word */

/* The present tenancy of a slot: epoch << 1 | live. These three read the mapped procs file: under guard. */
uint64_t shmq_slot_tenancy(const struct shmq_process *process, uint32_t slot);

#endif
