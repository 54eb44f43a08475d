#define _GNU_SOURCE /* sem_clockwait */
#include "doorbell.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "guard.h"

/* A semaphore of another process, kept open while its tenant lives. */
struct shmq_neighbour {
    uint64_t epoch;
    sem_t *bell; /* NULL: that tenant had none when last asked */
};

struct shmq_doorbell {
    sem_t *own;
    uint64_t rung;     /* how often `own` was taken; a ticket is a value of it */
    uint32_t sleeping; /* 1 while a thread sleeps in `own` */
    uint32_t gate;     /* futex of the other threads; turns when the sleeper leaves */
    struct shmq_doorbell *older; /* of slots that this process has left: a thread may still sleep in one */
};

static pthread_mutex_t neighbours_lock = PTHREAD_MUTEX_INITIALIZER;

/* Forks wait until no other thread opens or closes a semaphore: the C library has a lock of its own for that, which a
 * child would inherit for ever. */
static void before_fork(void) {
    pthread_mutex_lock(&neighbours_lock);
}

static void after_fork(void) {
    pthread_mutex_unlock(&neighbours_lock);
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(before_fork, after_fork, after_fork);
}

void shmq_doorbell_name(char *name, uint64_t instance, uint32_t slot, uint64_t epoch) {
    snprintf(name, SHMQ_DOORBELL_NAME_BYTES, "/shmq-%016" PRIx64 "-%" PRIu32 "-%" PRIu64, instance, slot, epoch);
}

int shmq_doorbell_open(struct shmq_process *process, struct shmq_fail *fail) {
    if (process->doorbell)
        return SHMQ_OK;
    char name[SHMQ_DOORBELL_NAME_BYTES];
    shmq_doorbell_name(name, process->instance, process->slot, process->epoch);
    sem_t *own = sem_open(name, 0);
    if (own == SEM_FAILED)
        return shmq_fail_errno(fail, SHMQ_E_STORAGE, name, "sem_open", errno);
    struct shmq_doorbell *doorbell = calloc(1, sizeof *doorbell);
    if (!doorbell) {
        sem_close(own);
        return shmq_fail_errno(fail, SHMQ_E_STORAGE, name, "calloc", ENOMEM);
    }
    doorbell->own = own;
    doorbell->older = process->old_doorbells;
    __atomic_store_n(&process->doorbell, doorbell, __ATOMIC_SEQ_CST);
    return SHMQ_OK;
}

static struct shmq_doorbell *doorbell_of(const struct shmq_process *process) {
    return __atomic_load_n(&process->doorbell, __ATOMIC_SEQ_CST);
}

void shmq_doorbell_forget(struct shmq_process *process) {
    char name[SHMQ_DOORBELL_NAME_BYTES];
    struct shmq_doorbell *doorbell = doorbell_of(process);
    if (!doorbell)
        return;
    shmq_doorbell_name(name, process->instance, process->slot, process->epoch);
    sem_unlink(name);
    process->old_doorbells = doorbell;
    __atomic_store_n(&process->doorbell, NULL, __ATOMIC_SEQ_CST);
}

uint64_t shmq_doorbell_ticket(const struct shmq_process *process) {
    const struct shmq_doorbell *doorbell = doorbell_of(process);
    return doorbell ? __atomic_load_n(&doorbell->rung, __ATOMIC_SEQ_CST) : 0;
}

static struct timespec at(uint64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
}

/* Sleep in the semaphore on behalf of all threads; whoever it was rung for, all look again. */
static int sleep_in_bell(struct shmq_doorbell *doorbell, uint64_t ticket, uint64_t deadline_ns) {
    int result = SHMQ_OK;
    if (__atomic_load_n(&doorbell->rung, __ATOMIC_SEQ_CST) == ticket) {
        struct timespec deadline = at(deadline_ns);
        if (sem_clockwait(doorbell->own, CLOCK_MONOTONIC, &deadline) == 0) {
            while (sem_trywait(doorbell->own) == 0) {
            }
            __atomic_add_fetch(&doorbell->rung, 1, __ATOMIC_SEQ_CST);
        } else {
            result = errno == EINTR ? SHMQ_SIGNAL : SHMQ_TIMEOUT;
        }
    }
    __atomic_store_n(&doorbell->sleeping, 0, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&doorbell->gate, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &doorbell->gate, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    return result;
}

int shmq_doorbell_wait(struct shmq_process *process, uint64_t ticket, uint64_t deadline_ns) {
    struct shmq_doorbell *doorbell = doorbell_of(process);
    while (doorbell && __atomic_load_n(&doorbell->rung, __ATOMIC_SEQ_CST) == ticket) {
        uint32_t gate = __atomic_load_n(&doorbell->gate, __ATOMIC_SEQ_CST), nobody = 0;
        if (__atomic_compare_exchange_n(&doorbell->sleeping, &nobody, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return sleep_in_bell(doorbell, ticket, deadline_ns);
        struct timespec deadline = at(deadline_ns);
        if (syscall(SYS_futex, &doorbell->gate, FUTEX_WAIT_BITSET_PRIVATE, gate, &deadline, NULL,
                    FUTEX_BITSET_MATCH_ANY) < 0) {
            if (errno == EINTR)
                return SHMQ_SIGNAL;
            if (errno == ETIMEDOUT)
                return SHMQ_TIMEOUT;
        }
    }
    return SHMQ_OK;
}

/* The neighbours' semaphores lie beside the process, one entry per slot, made on first use. */
static sem_t *bell_of(struct shmq_process *process, uint32_t slot, uint64_t epoch) {
    if (!process->neighbours && !(process->neighbours = calloc(process->slots, sizeof(struct shmq_neighbour))))
        return NULL;
    struct shmq_neighbour *neighbour = &process->neighbours[slot];
    if (neighbour->epoch != epoch && neighbour->bell) {
        sem_close(neighbour->bell);
        neighbour->bell = NULL;
    }
    neighbour->epoch = epoch;
    if (!neighbour->bell) {
        char name[SHMQ_DOORBELL_NAME_BYTES];
        shmq_doorbell_name(name, process->instance, slot, epoch);
        sem_t *bell = sem_open(name, 0);
        neighbour->bell = bell == SEM_FAILED ? NULL : bell;
    }
    return neighbour->bell;
}

struct tenancy_look {
    const struct shmq_process *process;
    uint32_t slot;
    uint64_t tenancy;
};

static int look_at_tenancy(void *argument) {
    struct tenancy_look *look = argument;
    look->tenancy = shmq_slot_tenancy(look->process, look->slot);
    return SHMQ_OK;
}

void shmq_doorbell_ring(struct shmq_process *process, uint32_t slot) {
    if (slot >= process->slots)
        return;
    struct tenancy_look look = {process, slot, 0};
    struct shmq_fail ignored; /* a ring is a hint: the sleeper looks again by itself */
    if (shmq_guarded(look_at_tenancy, &look, &ignored, process->directory) != SHMQ_OK || !(look.tenancy & 1))
        return;
    uint64_t tenancy = look.tenancy;
    pthread_mutex_lock(&neighbours_lock);
    sem_t *bell = bell_of(process, slot, tenancy >> 1);
    if (bell)
        sem_post(bell);
    pthread_mutex_unlock(&neighbours_lock);
}

void shmq_doorbell_ring_all(struct shmq_process *process, const uint64_t *bits) {
    for (uint32_t index = 0; index < SHMQ_MAX_SLOTS / 64; index++)
        for (uint64_t rest = bits[index]; rest; rest &= rest - 1)
            shmq_doorbell_ring(process, index * 64 + (uint32_t)__builtin_ctzll(rest));
}

void shmq_doorbell_ring_self(struct shmq_process *process) {
    struct shmq_doorbell *doorbell = doorbell_of(process);
    if (doorbell)
        sem_post(doorbell->own);
}

void shmq_doorbell_close(struct shmq_process *process) {
    for (uint32_t slot = 0; process->neighbours && slot < process->slots; slot++)
        if (process->neighbours[slot].bell)
            sem_close(process->neighbours[slot].bell);
    free(process->neighbours);
    process->neighbours = NULL;
    struct shmq_doorbell *next = process->doorbell ? process->doorbell : process->old_doorbells;
    for (struct shmq_doorbell *doorbell; (doorbell = next);) {
        next = doorbell->older;
        sem_close(doorbell->own);
        free(doorbell);
    }
    process->doorbell = process->old_doorbells = NULL;
}
