/* Whom a taken, settled or given back record lets go on: producers, other readers, and the group's hold (Q3, Q4). */
#include "doorbell.h"
#include "share_parts.h"
#include "waiters.h"

uint32_t shmq_share_name(const struct shmq_share *share) {
    const struct shmq_process *process = share->reader->partition->process;
    return shmq_holder(process->slot, process->epoch);
}

void shmq_share_ring(struct shmq_share *share, const struct shmq_wake *wake) {
    if (wake->producers)
        shmq_doorbell_ring_all(share->reader->partition->process, wake->producer_bits);
    if (wake->readers)
        shmq_doorbell_ring_all(share->reader->partition->process, wake->reader_bits);
}

static void add_bits(bool *wake, uint64_t *bits, const uint64_t *woken) {
    for (uint32_t index = 0; index < SHMQ_MAX_SLOTS / 64; index++)
        bits[index] = (*wake ? bits[index] : 0) | woken[index];
    *wake = true;
}

/* May be called more than once before shmq_share_ring(): whose bit was taken before is not forgotten. */
static void wake_all(struct shmq_bitmap *waiters, bool *wake, uint64_t *bits) {
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    if (shmq_waiters_wake(waiters, woken))
        add_bits(wake, bits, woken);
}

void shmq_share_wake_producers(struct shmq_share *share, struct shmq_wake *wake) {
    wake_all(&share->reader->partition->ring.control->producers_waiting, &wake->producers, wake->producer_bits);
}

void shmq_share_wake_readers(struct shmq_share *share, struct shmq_wake *wake) {
    wake_all(&share->reader->partition->ring.control->readers_waiting, &wake->readers, wake->reader_bits);
}

void shmq_share_move_hold(struct shmq_share *share, uint64_t start, struct shmq_wake *wake) {
    struct shmq_partition *partition = share->reader->partition;
    struct shmq_hold *hold = &share->reader->hold;
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
    bool woke;
    while (hold->entry >= 0 && hold->offset < start) {
        if (shmq_hold_move(partition, hold, start, &woke, woken) == SHMQ_OK)
            hold->offset = start;
        else
            shmq_hold_find(partition, share->group, hold); /* it was set anew, or is gone */
        if (woke)
            add_bits(&wake->producers, wake->producer_bits, woken);
    }
}

uint64_t shmq_share_advance(struct shmq_share *share, struct shmq_wake *wake) {
    struct shmq_window *window = share->window;
    uint64_t before = shmq_window_start(window);
    uint64_t start = shmq_window_advance(window, shmq_start_offset(share->reader->partition));
    shmq_share_move_hold(share, start, wake);
    if (start != before && shmq_window_fresh(window) - before >= window->length) /* it was full */
        shmq_share_wake_readers(share, wake);
    return start;
}
