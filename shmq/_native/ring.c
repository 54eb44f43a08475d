#include "ring.h"

#include "fault.h"

static shmq_a64 *word_of(const struct shmq_ring *ring, uint64_t seq) {
    return &ring->control->ring[seq % ring->slots];
}

static uint64_t lap_of(const struct shmq_ring *ring, uint64_t seq) {
    return seq / ring->slots;
}

void shmq_ring_reset(const struct shmq_ring *ring) {
    for (uint32_t index = 0; index < ring->slots; index++)
        /* PAIR create: seen by others only after the topic's directory was renamed into place. */
        shmq_store_relaxed(&ring->control->ring[index], shmq_ring_word(SHMQ_RING_FREE, 0, 0));
}

enum shmq_seq_state shmq_ring_look(const struct shmq_ring *ring, uint64_t seq, uint64_t *incarnation) {
    /* PAIR empty: the acquire side of shmq_ring_publish(); who sees the incarnation sees its journal reset. */
    uint64_t word = shmq_load_acquire(word_of(ring, seq));
    uint64_t lap = lap_of(ring, seq), found = shmq_ring_lap(word);
    *incarnation = shmq_ring_incarnation(word);
    if (shmq_ring_state(word) != SHMQ_RING_FREE && shmq_ring_state(word) != SHMQ_RING_LIVE)
        return SHMQ_SEQ_CORRUPT;
    if (found > lap)
        return SHMQ_SEQ_RETIRED;
    if (found < lap || shmq_ring_state(word) == SHMQ_RING_FREE)
        return SHMQ_SEQ_FUTURE;
    return SHMQ_SEQ_LIVE;
}

/* Raise a hint; losing the race means that somebody raised it. R4. */
static void raise_hint(shmq_a64 *hint, uint64_t seq) {
    /* PAIR hint: any older value is a hint as well, so the look may be relaxed. */
    uint64_t now = shmq_load_relaxed(hint);
    while (now < seq && !SHMQ_SHARED("ring.hint", shmq_cas(hint, &now, seq))) {
    }
}

int shmq_ring_publish(const struct shmq_ring *ring, uint64_t seq, uint64_t incarnation) {
    uint64_t expected = shmq_ring_word(SHMQ_RING_FREE, lap_of(ring, seq), 0);
    uint64_t live = shmq_ring_word(SHMQ_RING_LIVE, lap_of(ring, seq), incarnation);
    /* PAIR empty: publishes the segment's header and its reset journal. */
    if (!SHMQ_SHARED("ring.publish", shmq_cas(word_of(ring, seq), &expected, live)))
        return SHMQ_LOST;
    raise_hint(&ring->control->head_seq, seq);
    return SHMQ_OK;
}

int shmq_ring_retire(const struct shmq_ring *ring, uint64_t seq, uint64_t incarnation) {
    uint64_t expected = shmq_ring_word(SHMQ_RING_LIVE, lap_of(ring, seq), incarnation);
    uint64_t next = shmq_ring_word(SHMQ_RING_FREE, lap_of(ring, seq) + 1, 0);
    if (!SHMQ_SHARED("ring.retire", shmq_cas(word_of(ring, seq), &expected, next)))
        return SHMQ_LOST;
    raise_hint(&ring->control->tail_seq, seq + 1);
    return SHMQ_OK;
}

/* Walk from the hint over segments in `skip` state to the first that is not; at most one ring's length. */
static int walk(const struct shmq_ring *ring, shmq_a64 *hint, enum shmq_seq_state skip, uint64_t *seq) {
    uint64_t start = shmq_load_relaxed(hint); /* PAIR hint: any older value is a hint as well */
    uint64_t incarnation;
    for (*seq = start; *seq - start <= ring->slots; (*seq)++) {
        enum shmq_seq_state state = shmq_ring_look(ring, *seq, &incarnation);
        if (state == SHMQ_SEQ_CORRUPT)
            return SHMQ_E_CORRUPT;
        if (state != skip) {
            if (*seq != start && hint == &ring->control->tail_seq)
                raise_hint(hint, *seq);
            return SHMQ_OK;
        }
    }
    return SHMQ_E_CORRUPT;
}

int shmq_ring_tail(const struct shmq_ring *ring, uint64_t *seq, uint64_t *incarnation) {
    for (uint32_t tries = 0; tries <= ring->slots; tries++) {
        int result = walk(ring, &ring->control->tail_seq, SHMQ_SEQ_RETIRED, seq);
        if (result != SHMQ_OK)
            return result;
        enum shmq_seq_state state = shmq_ring_look(ring, *seq, incarnation);
        if (state == SHMQ_SEQ_LIVE)
            return SHMQ_OK;
        if (state == SHMQ_SEQ_FUTURE)
            return *seq == 0 ? SHMQ_NOTHING : SHMQ_E_CORRUPT; /* R3: the newest segment is never retired */
    }
    return SHMQ_E_CORRUPT;
}

int shmq_ring_head(const struct shmq_ring *ring, uint64_t *seq, uint64_t *incarnation) {
    for (uint32_t tries = 0; tries <= ring->slots; tries++) {
        uint64_t next, start = shmq_load_relaxed(&ring->control->head_seq); /* PAIR hint: as in walk() */
        enum shmq_seq_state state = shmq_ring_look(ring, start, incarnation);
        if (state == SHMQ_SEQ_CORRUPT)
            return SHMQ_E_CORRUPT;
        if (state == SHMQ_SEQ_FUTURE)
            return start == 0 ? SHMQ_NOTHING : SHMQ_E_CORRUPT;
        /* The hint lags if a publisher died before raising it, or was overtaken; the truth is at most a ring ahead. */
        for (next = start; next - start <= ring->slots; next++) {
            uint64_t candidate;
            state = shmq_ring_look(ring, next, &candidate);
            if (state == SHMQ_SEQ_CORRUPT)
                return SHMQ_E_CORRUPT;
            if (state == SHMQ_SEQ_FUTURE)
                break;
            *seq = next;
            *incarnation = candidate;
        }
        raise_hint(&ring->control->head_seq, *seq);
        if (shmq_ring_look(ring, *seq, incarnation) == SHMQ_SEQ_LIVE)
            return SHMQ_OK;
    }
    return SHMQ_E_CORRUPT;
}
