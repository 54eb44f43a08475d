#include "holds.h"

#include "fault.h"
#include "readers.h"
#include "waiters.h"

#define TAG_MASK ((UINT64_C(1) << (64 - SHMQ_HOLD_BITS)) - 1)
#define THREAD_MASK UINT64_C(0xffffffff)

static struct shmq_reader_entry *place_at(const struct shmq_partition *partition, int64_t entry) {
    return &partition->ring.control->readers[entry];
}

/* H2: the word is looked at between two looks at the owner, so it is not of whoever had or has the entry before or after.
 * PAIR reader: the owner's publication. PAIR hold: the CAS in change(); who sees its word sees who had the entry then. */
bool shmq_hold_look(const struct shmq_partition *partition, uint32_t entry, struct shmq_hold *hold) {
    const struct shmq_reader_entry *place = place_at(partition, entry);
    uint64_t owner = shmq_load_acquire(&place->owner);
    if (!shmq_is_group(owner))
        return false;
    uint64_t word = shmq_load_acquire(&place->hold);
    *hold = (struct shmq_hold){entry, owner, shmq_hold_tag(word), shmq_hold_offset(word)};
    return shmq_load_acquire(&place->owner) == owner;
}

/* PAIR hold: release side. */
static bool change(struct shmq_reader_entry *place, uint64_t *word, uint64_t tag, uint64_t offset) {
    return SHMQ_SHARED("holds.change", shmq_cas(&place->hold, word, shmq_hold_word(tag & TAG_MASK, offset)));
}

int shmq_hold_find(struct shmq_partition *partition, uint32_t number, struct shmq_hold *found) {
    uint64_t owner = shmq_group_owner(number);
    found->entry = -1;
    for (uint32_t index = 0; index < SHMQ_READERS; index++) {
        struct shmq_hold hold;
        if (!shmq_hold_look(partition, index, &hold) || hold.owner != owner)
            continue;
        if (found->entry < 0)
            *found = hold;
        else /* H3 */
            SHMQ_SHARED("holds.merge", shmq_cas(&place_at(partition, index)->owner, &hold.owner, 0));
    }
    return found->entry < 0 ? SHMQ_NOTHING : SHMQ_OK;
}

/* LOST: this process was taken for dead. */
static int make(struct shmq_partition *partition, uint32_t number, uint64_t offset) {
    struct shmq_registration mine;
    struct shmq_hold unused;
    int result = shmq_readers_take(partition, &mine);
    if (result != SHMQ_OK)
        return result;
    struct shmq_reader_entry *place = place_at(partition, mine.entry);
    uint64_t joining = mine.owner | SHMQ_JOINING, word;
    do {
        word = shmq_load_acquire(&place->hold); /* PAIR hold: who sees the word of another that has the place by now ... */
        if (shmq_load_acquire(&place->owner) != joining) /* PAIR reader: ... sees that it has it */
            return SHMQ_LOST;
    } while (!change(place, &word, shmq_hold_tag(word) + 1, offset));
    if (!SHMQ_SHARED("holds.made", shmq_cas(&place->owner, &joining, shmq_group_owner(number)))) /* PAIR reader */
        return SHMQ_LOST;
    /* PAIR merge: with the same fence of another process that makes one at once: at least one of the two sees both. */
    shmq_fence_after_rmw();
    shmq_hold_find(partition, number, &unused);
    return SHMQ_OK;
}

int shmq_hold_set(struct shmq_partition *partition, uint32_t number, uint64_t offset, bool *wake, uint64_t *woken) {
    struct shmq_hold hold;
    int result = SHMQ_LOST;
    *wake = false;
    while (result == SHMQ_LOST) {
        if (shmq_hold_find(partition, number, &hold) != SHMQ_OK) {
            result = make(partition, number, offset);
            break;
        }
        uint64_t word = shmq_hold_word(hold.tag, hold.offset);
        if (change(place_at(partition, hold.entry), &word, hold.tag + 1, offset))
            result = SHMQ_OK;
    }
    /* While it was being made, the entry held everything. */
    if (result == SHMQ_OK)
        *wake = shmq_waiters_wake(&partition->ring.control->producers_waiting, woken);
    return result;
}

int shmq_hold_move(struct shmq_partition *partition, const struct shmq_hold *hold, uint64_t offset, bool *wake,
                   uint64_t *woken) {
    struct shmq_hold now;
    uint64_t word;
    *wake = false;
    do {
        if (!shmq_hold_look(partition, (uint32_t)hold->entry, &now) || now.owner != hold->owner || now.tag != hold->tag)
            return SHMQ_LOST;
        if (offset <= now.offset || offset > SHMQ_MAX_HOLD)
            return SHMQ_OK;
        word = shmq_hold_word(now.tag, now.offset);
    } while (!change(place_at(partition, hold->entry), &word, now.tag, offset));
    *wake = shmq_waiters_wake(&partition->ring.control->producers_waiting, woken);
    return SHMQ_OK;
}

bool shmq_hold_release(struct shmq_partition *partition, uint32_t number, uint64_t *woken) {
    struct shmq_hold hold;
    if (shmq_hold_find(partition, number, &hold) != SHMQ_OK)
        return false;
    SHMQ_SHARED("holds.release", shmq_cas(&place_at(partition, hold.entry)->owner, &hold.owner, 0));
    return shmq_waiters_wake(&partition->ring.control->producers_waiting, woken);
}

static uint64_t mover_of(const struct shmq_partition *partition, uint64_t tag) {
    return tag << SHMQ_HOLD_BITS | (shmq_thread_id() & THREAD_MASK) << SHMQ_OWNER_BITS | partition->process->owner;
}

/* PAIR mine: a thread knows its own name; a late store carries a tag that is not the hold's any more. */
void shmq_hold_attend(struct shmq_partition *partition, const struct shmq_hold *hold) {
    struct shmq_reader_entry *place = place_at(partition, hold->entry);
    uint64_t mover = mover_of(partition, hold->tag);
    if (shmq_load_relaxed(&place->mover) != mover)
        SHMQ_SHARED("holds.attend", shmq_store_relaxed(&place->mover, mover));
}

/* PAIR mine: another member may have come since. */
void shmq_hold_leave(struct shmq_partition *partition, const struct shmq_hold *hold) {
    uint64_t mover = mover_of(partition, hold->tag);
    SHMQ_SHARED("holds.leave", shmq_cas(&place_at(partition, hold->entry)->mover, &mover, 0));
}

bool shmq_hold_has_passed(const struct shmq_reader_entry *place, uint64_t offset) {
    return shmq_hold_offset(shmq_load_acquire(&place->hold)) >= offset; /* PAIR hold */
}

bool shmq_hold_is_own(const struct shmq_partition *partition, const struct shmq_reader_entry *place) {
    uint64_t tag = shmq_hold_tag(shmq_load_acquire(&place->hold));  /* PAIR hold */
    return shmq_load_relaxed(&place->mover) == mover_of(partition, tag); /* PAIR mine */
}
