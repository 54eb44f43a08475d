#define _GNU_SOURCE /* gettid */
#include "readers.h"

#include <unistd.h>

#include "fault.h"
#include "waiters.h"

#define JOINING (UINT64_C(1) << 63)

/* The slot's whole epoch, so that an entry can never be mistaken for one of a later tenant. */
static uint64_t owner_of(const struct shmq_process *process) {
    return process->epoch << SHMQ_SLOT_BITS | process->slot;
}

static enum shmq_life life_of(const struct shmq_process *process, uint64_t owner) {
    owner &= ~JOINING;
    return shmq_tenant_life(process, (uint32_t)(owner & (SHMQ_MAX_SLOTS - 1)), owner >> SHMQ_SLOT_BITS);
}

static struct shmq_reader_entry *entry_at(struct shmq_partition *partition, uint32_t entry) {
    return &partition->ring.control->readers[entry];
}

int shmq_readers_register(struct shmq_partition *partition, uint64_t offset, uint64_t seq, uint32_t *entry) {
    uint64_t me = owner_of(partition->process);
    for (uint32_t index = 0; index < SHMQ_READERS; index++) {
        struct shmq_reader_entry *place = entry_at(partition, index);
        uint64_t owner = shmq_load_acquire(&place->owner); /* PAIR reader: as in shmq_readers_passed() */
        if (owner && life_of(partition->process, owner) != SHMQ_LIFE_DEAD)
            continue;
        if (!SHMQ_SHARED("readers.join", shmq_cas(&place->owner, &owner, me | JOINING)))
            continue;
        SHMQ_SHARED("readers.offset", shmq_store_relaxed(&place->offset, offset)); /* PAIR reader */
        SHMQ_SHARED("readers.seq", shmq_store_relaxed(&place->seq, seq));          /* PAIR reader */
        SHMQ_SHARED("readers.thread", shmq_store_relaxed(&place->thread, shmq_thread_id()));
        SHMQ_SHARED("readers.joined", shmq_store_release(&place->owner, me)); /* PAIR reader: publishes the place */
        *entry = index;
        return SHMQ_OK;
    }
    return SHMQ_E_READERS;
}

bool shmq_readers_move(struct shmq_partition *partition, uint32_t entry, uint64_t offset, uint64_t seq, uint64_t thread,
                       uint64_t *woken) {
    struct shmq_reader_entry *place = entry_at(partition, entry);
    uint64_t before = shmq_load_relaxed(&place->seq); /* PAIR mine: only this reader writes it */
    SHMQ_SHARED("readers.move_offset", shmq_store_relaxed(&place->offset, offset)); /* PAIR reader: for display */
    if (shmq_load_relaxed(&place->thread) != thread) /* PAIR mine */
        SHMQ_SHARED("readers.move_thread", shmq_store_relaxed(&place->thread, thread));
    if (before == seq)
        return false;
    /* PAIR passed: the acquire load in shmq_readers_passed(); who sees the new place may remove the old segment. */
    SHMQ_SHARED("readers.move_seq", shmq_store_release(&place->seq, seq));
    shmq_fence();
    return shmq_waiters_wake(&partition->ring.control->producers_waiting, woken);
}

bool shmq_readers_leave(struct shmq_partition *partition, uint32_t entry, uint64_t *woken) {
    uint64_t me = owner_of(partition->process);
    SHMQ_SHARED("readers.leave", shmq_cas(&entry_at(partition, entry)->owner, &me, 0));
    return shmq_waiters_wake(&partition->ring.control->producers_waiting, woken);
}

int shmq_readers_passed(struct shmq_partition *partition, uint64_t seq, bool *only_self) {
    uint32_t registered = 0, holding = 0, self = 0;
    for (uint32_t index = 0; index < SHMQ_READERS; index++) {
        struct shmq_reader_entry *place = entry_at(partition, index);
        uint64_t owner = shmq_load_acquire(&place->owner); /* PAIR reader: who sees the owner sees its place */
        if (!owner)
            continue;
        if (life_of(partition->process, owner) == SHMQ_LIFE_DEAD) {
            SHMQ_SHARED("readers.bury", shmq_cas(&place->owner, &owner, 0));
            continue;
        }
        registered++;
        if (!(owner & JOINING) && shmq_load_acquire(&place->seq) > seq) /* PAIR passed */
            continue;
        holding++;
        /* PAIR mine: a thread knows its own number. */
        self += owner == owner_of(partition->process) && shmq_load_relaxed(&place->thread) == shmq_thread_id();
    }
    *only_self = holding && holding == self;
    return registered && !holding ? SHMQ_OK : SHMQ_FULL;
}

uint64_t shmq_thread_id(void) {
    static __thread uint64_t id, fork_count;
    if (!id || fork_count != shmq_fork_count()) {
        id = (uint64_t)gettid();
        fork_count = shmq_fork_count();
    }
    return id;
}
