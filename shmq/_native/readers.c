#define _GNU_SOURCE /* gettid */
#include "readers.h"

#include <unistd.h>

#include "fault.h"
#include "holds.h"
#include "waiters.h"

#define NAME_MASK ((UINT64_C(1) << SHMQ_OWNER_BITS) - 1)

/* An owner word holds the whole epoch, so that an entry can never be mistaken for one of a later tenant; and the ticket,
 * since the word changes by CAS alone, so that nobody's late store can change it (G2): an owner who no longer knew its own
 * entry would leave it there for good. */
#define JOINING SHMQ_JOINING
#define TICKET_MASK SHMQ_TICKET_MASK

static uint64_t owner_of(const struct shmq_process *process) {
    return process->epoch << SHMQ_SLOT_BITS | process->slot;
}

static bool is_dead(const struct shmq_process *process, uint64_t owner) {
    return !shmq_is_group(owner) &&
           shmq_tenant_life(process, shmq_entry_slot(owner), shmq_entry_epoch(owner)) == SHMQ_LIFE_DEAD;
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

int shmq_readers_take(struct shmq_partition *partition, struct shmq_registration *registration) {
    static uint64_t tickets;
    for (uint32_t index = 0; index < SHMQ_READERS; index++) {
        struct shmq_reader_entry *place = entry_at(partition, index);
        uint64_t owner = shmq_load_acquire(&place->owner); /* PAIR reader: as in shmq_readers_passed() */
        if (owner && !is_dead(partition->process, owner))
            continue;
        uint64_t ticket = __atomic_add_fetch(&tickets, 1, __ATOMIC_RELAXED) << SHMQ_TICKET_POS & TICKET_MASK;
        *registration = (struct shmq_registration){index, owner_of(partition->process) | ticket};
        if (SHMQ_SHARED("readers.join", shmq_cas(&place->owner, &owner, registration->owner | JOINING)))
            return SHMQ_OK;
    }
    return SHMQ_E_READERS;
}

int shmq_readers_register(struct shmq_partition *partition, uint64_t offset, uint64_t seq,
                          struct shmq_registration *registration, bool *wake, uint64_t *woken) {
    *wake = false;
    int result = shmq_readers_take(partition, registration);
    if (result != SHMQ_OK)
        return result;
    struct shmq_reader_entry *place = entry_at(partition, registration->entry);
    uint64_t joining = registration->owner | JOINING;
    /* PAIR reader: published by the CAS below. */
    SHMQ_SHARED("readers.offset", shmq_store_relaxed(&place->offset, offset));
    SHMQ_SHARED("readers.seq", shmq_store_relaxed(&place->seq, place_of(partition->process, seq)));
    SHMQ_SHARED("readers.thread", shmq_store_relaxed(&place->thread, shmq_thread_id()));
    /* A CAS, since the place may be another's by now (G2). */
    if (!SHMQ_SHARED("readers.joined", shmq_cas(&place->owner, &joining, registration->owner)))
        return SHMQ_LOST;
    /* While it was being made, the entry held everything: a producer may have gone to sleep over it. */
    *wake = shmq_waiters_wake(&partition->ring.control->producers_waiting, woken);
    return SHMQ_OK;
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

/* Does it belong to this very thread? */
static bool is_own(const struct shmq_partition *partition, const struct shmq_reader_entry *place, uint64_t owner) {
    if (shmq_is_group(owner))
        return shmq_hold_is_own(partition, place);
    /* PAIR mine: a thread knows its own number. */
    return (owner & ~TICKET_MASK) == owner_of(partition->process) &&
           shmq_load_relaxed(&place->thread) == shmq_thread_id();
}

int shmq_readers_passed(struct shmq_partition *partition, uint64_t seq, uint64_t next_base, bool *only_self,
                        bool *ask_again) {
    uint32_t registered = 0, holding = 0, self = 0;
    *ask_again = false;
    for (uint32_t index = 0; index < SHMQ_READERS; index++) {
        struct shmq_reader_entry *place = entry_at(partition, index);
        uint64_t owner = shmq_load_acquire(&place->owner); /* PAIR reader: who sees the owner sees its place */
        if (!owner)
            continue;
        if (is_dead(partition->process, owner)) {
            SHMQ_SHARED("readers.bury", shmq_cas(&place->owner, &owner, 0));
            continue;
        }
        registered++;
        bool group = shmq_is_group(owner);
        *ask_again |= group && next_base == UINT64_MAX;
        if (group ? shmq_hold_has_passed(place, next_base)
                  : has_passed(owner, shmq_load_acquire(&place->seq), seq)) /* PAIR passed */
            continue;
        holding++;
        self += is_own(partition, place, owner);
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
