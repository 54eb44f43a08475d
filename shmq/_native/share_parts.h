/* What the parts of share.h have in common: one look for records, and whom that lets go on. Not for others. */
#ifndef SHMQ_SHARE_PARTS_H
#define SHMQ_SHARE_PARTS_H

#include "clock.h"
#include "guard.h"
#include "share.h"

/* Waiters whose bits were taken, to be rung when the words are left. */
struct shmq_wake {
    bool producers, readers;
    uint64_t producer_bits[SHMQ_MAX_SLOTS / 64], reader_bits[SHMQ_MAX_SLOTS / 64];
};

/* One look for records. */
struct shmq_taking {
    struct shmq_share *share;
    struct shmq_view *views;
    struct shmq_lease *leases;
    uint32_t most, count;
    uint64_t most_bytes, bytes;
    uint64_t start, deadline_ms;
    struct shmq_wake wake;
};

/* ---- share_wake.c: under guard, all but shmq_share_ring() ---- */

void shmq_share_ring(struct shmq_share *share, const struct shmq_wake *wake);
void shmq_share_wake_producers(struct shmq_share *share, struct shmq_wake *wake);
void shmq_share_wake_readers(struct shmq_share *share, struct shmq_wake *wake);

/* Q3. By all who come by: who let `start` go on may have died before this. */
void shmq_share_move_hold(struct shmq_share *share, uint64_t start, struct shmq_wake *wake);

/* Let `start` go on, and who waited for that. */
uint64_t shmq_share_advance(struct shmq_share *share, struct shmq_wake *wake);

/* This process, as it stands in words. */
uint32_t shmq_share_name(const struct shmq_share *share);

/* ---- share_back.c ---- */

/* Records that were given back: OK if there is one, and more. NOTHING. */
int shmq_taking_back(struct shmq_taking *taking);

/* ---- For both ways of taking ---- */

static inline bool shmq_taking_has_room(const struct shmq_taking *taking) {
    return taking->count < taking->most && (taking->count == 0 || taking->bytes < taking->most_bytes);
}

static inline void shmq_taking_add(struct shmq_taking *taking, const struct shmq_view *view) {
    taking->bytes += shmq_view_bytes(view);
    taking->count++;
}

static inline int shmq_taking_guarded(struct shmq_taking *taking, int (*what)(void *)) {
    struct shmq_share *share = taking->share;
    return shmq_guarded(what, taking, &share->reader->fail, share->window->path);
}

#endif
