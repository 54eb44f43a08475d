/* The bell of a process that sleeps: one named POSIX semaphore, however many partitions and threads wait.
 *
 * The semaphore of tenant (slot, epoch) is created and unlinked by Python (posix_ipc); here it is opened by name,
 * posted and waited for. One thread of a process sleeps in the semaphore, the others on a futex that the first one
 * turns when it leaves: each looks again at its own partitions.
 *
 *   ticket = shmq_doorbell_ticket(); enter the bitmaps (waiters.h); look; shmq_doorbell_wait(ticket) */
#ifndef SHMQ_DOORBELL_H
#define SHMQ_DOORBELL_H

#include "liveness.h"

#define SHMQ_DOORBELL_NAME_BYTES 64

void shmq_doorbell_name(char *name, uint64_t instance, uint32_t slot, uint64_t epoch);

/* Open this process's own semaphore, which must exist. OK at once if it is open. */
int shmq_doorbell_open(struct shmq_process *process, struct shmq_fail *fail);

/* This process is about to leave its slot or its epoch: nobody will ring its semaphore any more. Unlink it; the next
 * sleep opens another. A thread that sleeps now sleeps until its time is up. */
void shmq_doorbell_forget(struct shmq_process *process);

uint64_t shmq_doorbell_ticket(const struct shmq_process *process);

/* OK: rung since the ticket was taken, or there is no semaphore. TIMEOUT: `deadline_ns` of the monotonic clock is past. SIGNAL: interrupted. */
int shmq_doorbell_wait(struct shmq_process *process, uint64_t ticket, uint64_t deadline_ns);

/* Ring the present tenant of a slot. A tenant without a semaphore does not sleep. */
void shmq_doorbell_ring(struct shmq_process *process, uint32_t slot);

/* Ring every slot whose bit is set. */
void shmq_doorbell_ring_all(struct shmq_process *process, const uint64_t *bits);

/* Wake this process's own sleepers; may be called in a signal handler. */
void shmq_doorbell_ring_self(struct shmq_process *process);

/* Close all semaphores; part of shmq_process_close(). */
void shmq_doorbell_close(struct shmq_process *process);

#endif
