/* The ring of segments: which files are the log, in which order.
 *
 * Only words again; files are the business of segment.c. Layout: layout.h.
 *
 * INVARIANTS
 *   R1  A ring word goes FREE(lap) -> LIVE(lap, incarnation) -> FREE(lap + 1) and never back, so a CAS made for one
 *       segment never lands on another.
 *   R2  Segment s + 1 is published only after s was sealed, so its base offset is final: all who race to publish it
 *       agree on everything but the file, and exactly one file wins.
 *   R3  Segments are retired oldest first and never the newest, so LIVE seqs are one unbroken run.
 *   R4  The hints head_seq and tail_seq only rise, never pass the truth, and are at most one behind it: who publishes
 *       or retires was told where by shmq_ring_head() or shmq_ring_tail(), which raise them. */
#ifndef SHMQ_RING_H
#define SHMQ_RING_H

#include "layout.h"
#include "result.h"

/* A mapped ring. `slots` was checked against the file's length when it was mapped; the file's own number is not read
 * again, since a file may change under our feet. */
struct shmq_ring {
    struct shmq_control *control;
    uint32_t slots;
};

/* What a ring slot says of segment `seq`. */
enum shmq_seq_state {
    SHMQ_SEQ_FUTURE,  /* not yet published */
    SHMQ_SEQ_LIVE,    /* `incarnation` is the file */
    SHMQ_SEQ_RETIRED, /* gone */
    SHMQ_SEQ_CORRUPT,
};

enum shmq_seq_state shmq_ring_look(const struct shmq_ring *ring, uint64_t seq, uint64_t *incarnation);

/* Make all words FREE(0). Only for memory that nobody else can reach. */
void shmq_ring_reset(const struct shmq_ring *ring);

/* `seq` follows what shmq_ring_head() named, or is 0. OK: `incarnation` is segment `seq`. LOST: another file is, or
 * was. */
int shmq_ring_publish(const struct shmq_ring *ring, uint64_t seq, uint64_t incarnation);

/* Take the oldest segment, as shmq_ring_tail() named it, out of the log; the winner unlinks its file. LOST: another process did. */
int shmq_ring_retire(const struct shmq_ring *ring, uint64_t seq, uint64_t incarnation);

/* The newest and the oldest LIVE segment. NOTHING: the log has none yet. E_CORRUPT: the words make no sense. */
int shmq_ring_head(const struct shmq_ring *ring, uint64_t *seq, uint64_t *incarnation);
int shmq_ring_tail(const struct shmq_ring *ring, uint64_t *seq, uint64_t *incarnation);

#endif
