/* What is done with a record that was taken, and whether there are others to take. */
#include "files.h"
#include "share_parts.h"

/* ---- News ---- */

static int has_news(void *argument) {
    const struct shmq_share *share = argument;
    const struct shmq_window *window = share->window;
    if (shmq_window_returned(window) != share->seen_returned || share->look_from)
        return SHMQ_OK;
    return share->full_start != SHMQ_NOWHERE && share->full_start == shmq_window_start(window) ? SHMQ_NOTHING : SHMQ_PENDING;
}

bool shmq_share_has_news(struct shmq_share *share, bool settled) {
    int result = SHMQ_PENDING;
    if (share->window->kind == SHMQ_WINDOW_RECORDS)
        result = shmq_guarded(has_news, share, &share->reader->fail, share->window->path);
    return result == SHMQ_PENDING ? shmq_reader_has_news(share->reader, settled) : result != SHMQ_NOTHING;
}

static int is_watching(void *argument) {
    const struct shmq_share *share = argument;
    return shmq_window_start(share->window) < shmq_window_fresh(share->window) ? SHMQ_OK : SHMQ_NOTHING;
}

bool shmq_share_is_watching(struct shmq_share *share) {
    return share->window->kind == SHMQ_WINDOW_RECORDS &&
           shmq_guarded(is_watching, share, &share->reader->fail, share->window->path) == SHMQ_OK;
}

/* ---- Acknowledging ---- */

struct acknowledge {
    struct shmq_share *share;
    struct shmq_lease lease;
    enum shmq_acknowledge what;
    uint64_t delay_ms;
    struct shmq_wake wake;
};

static int acknowledge(void *argument) {
    struct acknowledge *call = argument;
    struct shmq_share *share = call->share;
    struct shmq_window *window = share->window;
    int result;
    switch (call->what) {
    case SHMQ_RENEW:
        return shmq_window_renew(window, &call->lease,
                                 share->lock_ms ? shmq_later_ms(shmq_now_ms(), share->lock_ms) : UINT64_MAX);
    case SHMQ_RELEASE:
        result = shmq_window_release(window, &call->lease, call->delay_ms ? shmq_later_ms(shmq_now_ms(), call->delay_ms) : 0);
        if (result == SHMQ_OK)
            shmq_share_wake_readers(share, &call->wake);
        return result;
    default:
        result = shmq_window_settle(window, &call->lease, call->what == SHMQ_ACCEPT ? SHMQ_ACCEPTED : SHMQ_REJECTED);
        if (result == SHMQ_OK)
            shmq_share_advance(share, &call->wake);
        return result;
    }
}

int shmq_share_acknowledge(struct shmq_share *share, uint64_t offset, uint32_t deliveries, enum shmq_acknowledge what,
                           uint64_t delay_ms) {
    if (share->window->kind == SHMQ_WINDOW_CURSOR)
        return SHMQ_OK; /* it was settled when it was taken, and has no word */
    uint64_t lap = offset >> share->window->lap_shift;
    struct acknowledge call; /* member by member: `wake` needs few zeros */
    call.share = share;
    call.lease = (struct shmq_lease){offset, shmq_taken_word(SHMQ_ACQUIRED, deliveries, shmq_share_name(share), lap)};
    call.what = what;
    call.delay_ms = delay_ms;
    call.wake.producers = call.wake.readers = false;
    int result = shmq_guarded(acknowledge, &call, &share->reader->fail, share->window->path);
    shmq_share_ring(share, &call.wake);
    if (result != SHMQ_LOST)
        return result;
    /* Perhaps since this process was taken for dead: then what it takes from now on would not be its own either. */
    int renewed = shmq_process_renew(share->reader->partition->process, &share->reader->fail);
    return renewed == SHMQ_OK ? result : renewed;
}
