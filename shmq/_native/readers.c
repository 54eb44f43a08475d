#define _GNU_SOURCE /* gettid */
#include "readers.h"

#include <unistd.h>

#include "fault.h"
#include "waiters.h"

#define NAME_MASK ((UINT64_C(1) << SHMQ_OWNER_BITS) - 1)

/* An owner word: joining:1 | ticket:12 | epoch:41 | slot:10. The whole epoch, so that an entry can never be mistaken for one
 * of a later tenant; the ticket in the same word, which changes by CAS alone, so that nobody's late store can change it
 * (G2): an owner who no longer knew its own entry would leave it there for good. */
#define JOINING (UINT64_C(1) << 63)
#define TICKET_POS 51
#define TICKET_MASK (UINT64_C(0xfff) << TICKET_POS)
_Static_assert(SHMQ_SLOT_BITS + SHMQ_TENANT_EPOCH_BITS <= TICKET_POS, "an owner word holds a whole epoch");

static uint64_t owner_of(const struct shmq_process *process) {
    return process->epoch << SHMQ_SLOT_BITS | process->slot;
}

static enum shmq_life life_of(const struct shmq_process *process, uint64_t owner) {
    owner &= ~(JOINING | TICKET_MASK);
    return shmq_tenant_life(process, (uint32_t)(owner & (SHMQ_MAX_SLOTS - 1)), owner >> SHMQ_SLOT_BITS);
}

/* The first segment that a reader needs, in its name (G2). */
static uint64_t place_of(const struct shmq_process *process, uint64_t seq) {
    return seq << SHMQ_OWNER_BITS | process->owner;
}

static bool has_passed(uint64_t owner, uint64_t place, uint64_t seq) {
    uint32_t name = shmq_owner((uint32_t)(owner & (SHMQ_MAX_SLOTS - 1)), owner >> SHMQ_SLOT_BITS);
    return !(owner & JOINING) && (place & NAME_MASK) == name && place >> SHMQ_OWNER_BITS > seq;
}

static struct shmq_reader_entry *entry_at(struct shmq_partition *partition, int64_t entry) {
    return &partition->ring.control->readers[entry];
}

/* PAIR mine: this process alone writes its names, and reads its own; what others wrote is not its name. */
static bool is_still(const struct shmq_process *process, const struct shmq_reader_entry *place,
                     const struct shmq_registration *registration) {
    return shmq_load_relaxed(&place->owner) == registration->owner &&
           (registration->owner & ~TICKET_MASK) == owner_of(process);
}

int shmq_readers_register(struct shmq_partition *partition, uint64_t offset, uint64_t seq,
                          struct shmq_registration *registration, bool *wake, uint64_t *woken) {
    static uint64_t tickets;
    *wake = false;
    for (uint32_t index = 0; index < SHMQ_READERS; index++) {
        struct shmq_reader_entry *place = entry_at(partition, index);
        uint64_t owner = shmq_load_acquire(&place->owner); /* PAIR reader: as in shmq_readers_passed() */
        if (owner && life_of(partition->process, owner) != SHMQ_LIFE_DEAD)
            continue;
        uint64_t ticket = __atomic_add_fetch(&tickets, 1, __ATOMIC_RELAXED) << TICKET_POS & TICKET_MASK;
        uint64_t me = owner_of(partition->process) | ticket, joining = me | JOINING;
        if (!SHMQ_SHARED("readers.join", shmq_cas(&place->owner, &owner, joining)))
            continue;
        /* PAIR reader: published by the CAS below. */
        SHMQ_SHARED("readers.offset", shmq_store_relaxed(&place->offset, offset));
        SHMQ_SHARED("readers.seq", shmq_store_relaxed(&place->seq, place_of(partition->process, seq)));
        SHMQ_SHARED("readers.thread", shmq_store_relaxed(&place->thread, shmq_thread_id()));
        *registration = (struct shmq_registration){index, me};
        /* A CAS, since the place may be another's by now (G2). */
        if (!SHMQ_SHARED("readers.joined", shmq_cas(&place->owner, &joining, me)))
            return SHMQ_LOST;
        /* While it was being made, the entry held everything: a producer may have gone to sleep over it. */
        *wake = shmq_waiters_wake(&partition->ring.control->producers_waiting, woken);
        return SHMQ_OK;
    }
    return SHMQ_E_READERS;
}

int shmq_readers_move(struct shmq_partition *partition, const struct shmq_registration *registration, uint64_t offset,
                      uint64_t seq, bool *wake, uint64_t *woken) {
    struct shmq_reader_entry *place = entry_at(partition, registration->entry);
    uint64_t before = shmq_load_relaxed(&place->seq), now = place_of(partition->process, seq); /* PAIR mine */
    *wake = false;
    if (!is_still(partition->process, place, registration) ||
        (before & NAME_MASK) != partition->process->owner)
        return SHMQ_LOST;
    SHMQ_SHARED("readers.move_offset", shmq_store_relaxed(&place->offset, offset)); /* PAIR reader: for display */
    if (shmq_load_relaxed(&place->thread) != shmq_thread_id()) /* PAIR mine */
        SHMQ_SHARED("readers.move_thread", shmq_store_relaxed(&place->thread, shmq_thread_id()));
    if (before == now)
        return SHMQ_OK;
    /* PAIR passed: the acquire load in shmq_readers_passed(); who sees the new place may remove the old segment. */
    SHMQ_SHARED("readers.move_seq", shmq_store_release(&place->seq, now));
    shmq_fence();
    *wake = shmq_waiters_wake(&partition->ring.control->producers_waiting, woken);
    return SHMQ_OK;
}

bool shmq_readers_leave(struct shmq_partition *partition, const struct shmq_registration *registration,
                        uint64_t *woken) {
    struct shmq_reader_entry *place = entry_at(partition, registration->entry);
    uint64_t me = registration->owner;
    if (!is_still(partition->process, place, registration))
        return false;
    SHMQ_SHARED("readers.leave", shmq_cas(&place->owner, &me, 0));
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
        if (has_passed(owner, shmq_load_acquire(&place->seq), seq)) /* PAIR passed */
            continue;
        holding++;
        /* PAIR mine: a thread knows its own number. */
        self += (owner & ~TICKET_MASK) == owner_of(partition->process) && shmq_load_relaxed(&place->thread) == shmq_thread_id();
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
