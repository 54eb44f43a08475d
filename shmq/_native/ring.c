#include "ring.h"

#include "fault.h"

static shmq_a64 *word_of(const struct shmq_ring *ring, uint64_t seq) {
    return &ring->control->ring[seq % ring->slots];
}

static uint64_t lap_of(const struct shmq_ring *ring, uint64_t seq) {
    return seq / ring->slots;
}

/* How far lap `found` is ahead of `lap`; laps are counted modulo 2^SHMQ_LAP_BITS. */
static int32_t laps_ahead(uint64_t found, uint64_t lap) {
    return (int32_t)((uint32_t)(found - lap) << (32 - SHMQ_LAP_BITS));
}

void shmq_ring_reset(const struct shmq_ring *ring) {
    for (uint32_t index = 0; index < ring->slots; index++)
        /* PAIR create: seen by others only after the topic's directory was renamed into place. */
        shmq_store_relaxed(&ring->control->ring[index], shmq_ring_word(SHMQ_RING_FREE, 0, 0));
}

enum shmq_seq_state shmq_ring_look(const struct shmq_ring *ring, uint64_t seq, uint64_t *incarnation) {
    /* PAIR empty: the acquire side of shmq_ring_publish(); who sees the incarnation sees its journal reset. */
    uint64_t word = shmq_load_acquire(word_of(ring, seq));
    int32_t ahead = laps_ahead(shmq_ring_lap(word), lap_of(ring, seq));
    *incarnation = shmq_ring_incarnation(word);
    if (shmq_ring_state(word) != SHMQ_RING_LIVE && (shmq_ring_state(word) != SHMQ_RING_FREE || *incarnation))
        return SHMQ_SEQ_CORRUPT;
    if (ahead > 0)
        return SHMQ_SEQ_RETIRED;
    if (ahead < 0 || shmq_ring_state(word) == SHMQ_RING_FREE)
        return SHMQ_SEQ_FUTURE;
    return SHMQ_SEQ_LIVE;
}

/* Raise a hint; losing the race means that somebody raised it. R4.
 *
 * PAIR hint: the CAS, with the acquire loads in shmq_ring_head() and shmq_ring_tail(): who starts from a hint sees the
 * words that it was raised for. Without that a newer hint meets older words, and they seem to be damaged. */
static void raise_hint(shmq_a64 *hint, uint64_t seq) {
    /* Relaxed: a value that is too old makes the CAS fail (PAIR hint). */
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

/* No end within a whole ring's length of `start`. Either this process was stopped in the middle and the log went on,
 * and then the hint went on too (R4); or the words make no sense. */
static bool went_on(const shmq_a64 *hint, uint64_t start) {
    return shmq_load_acquire(hint) != start; /* PAIR hint */
}

int shmq_ring_tail(const struct shmq_ring *ring, uint64_t *seq, uint64_t *incarnation) {
    shmq_a64 *hint = &ring->control->tail_seq;
    uint64_t start;
    do {
        start = shmq_load_acquire(hint); /* PAIR hint */
        for (*seq = start; *seq - start <= ring->slots; ++*seq) {
            enum shmq_seq_state state = shmq_ring_look(ring, *seq, incarnation);
            if (state == SHMQ_SEQ_RETIRED)
                continue;
            if (state != SHMQ_SEQ_LIVE) /* R3: behind a retired segment there is always another */
                return state == SHMQ_SEQ_FUTURE && *seq == 0 ? SHMQ_NOTHING : SHMQ_E_CORRUPT;
            if (*seq != start)
                raise_hint(hint, *seq);
            return SHMQ_OK;
        }
    } while (went_on(hint, start));
    return SHMQ_E_CORRUPT;
}

int shmq_ring_head(const struct shmq_ring *ring, uint64_t *seq, uint64_t *incarnation) {
    shmq_a64 *hint = &ring->control->head_seq;
    uint64_t start;
    do {
        start = shmq_load_acquire(hint); /* PAIR hint */
        enum shmq_seq_state state = SHMQ_SEQ_FUTURE, before = SHMQ_SEQ_FUTURE;
        for (uint64_t next = start; next - start <= ring->slots; next++, before = state) {
            uint64_t candidate;
            state = shmq_ring_look(ring, next, &candidate);
            if (state == SHMQ_SEQ_CORRUPT)
                return SHMQ_E_CORRUPT;
            if (state == SHMQ_SEQ_FUTURE && next == 0)
                return SHMQ_NOTHING;
            if (state == SHMQ_SEQ_FUTURE && before != SHMQ_SEQ_LIVE) /* R3: the newest is never retired */
                return SHMQ_E_CORRUPT;
            if (state == SHMQ_SEQ_FUTURE) {
                if (*seq != start)
                    raise_hint(hint, *seq);
                return SHMQ_OK;
            }
            *seq = next;
            *incarnation = candidate;
        }
    } while (went_on(hint, start));
    return SHMQ_E_CORRUPT;
}
