/* Appending to one partition: claim, copy, commit, and rolling to the next segment.
 *
 * INVARIANTS
 *   A1  Claim to commit runs without a lock, an allocation or a wait for anybody.
 *   A2  Limits are checked before anything is sealed: a batch that no segment could hold changes nothing.
 *   A3  OK is returned only after the commit: from then on the record survives the death of every process.
 * One thread at a time may use an appender; the glue sees to that. */
#ifndef SHMQ_APPENDER_H
#define SHMQ_APPENDER_H

#include "batch.h"
#include "segment.h"
#include "window.h"

#define SHMQ_APPEND_ATTEMPTS 3 /* at most */

struct shmq_appender {
    struct shmq_partition *partition;
    struct shmq_segment segment; /* the one appended to last */
    uint64_t finished;           /* incarnation of the segment that the last ROLL was about, 0 for none */
    uint8_t attempts;            /* 1 to SHMQ_APPEND_ATTEMPTS: how often an append is tried */
    bool only_self;              /* with FULL: the readers that hold the space belong to this very thread */
    const struct shmq_window *window; /* NULL, or the window whose max_items bounds what lies here untaken */
    uint64_t limit;              /* as was found last with great care: records before this offset may be appended */
    bool beyond;                 /* with FULL: by the window, not by the ring */
    uint8_t attempt;             /* how often the append under way was aborted */
    uint64_t wanted_bytes;       /* of the append under way */
    uint64_t rolled, aborted;    /* counters */
    struct shmq_fail fail;
};

struct shmq_appended {
    uint64_t base_offset;
    int64_t timestamp_ms; /* of the first record, as stored */
};

/* Append `count` rows, or items if `rows` is NULL, as one batch. A timestamp below 0 means now. Items in place whose segment is
 * not the newest any more, or is full, are copied: then `items->incarnation` is 0 after it.
 *
 * OK. ROLL: call shmq_appender_roll(), then again. E_TOO_LARGE: `fail.wanted` bytes, `fail.limit` allowed, and
 * `fail.what` names the limit. E_ABORTED: a healer took this process for dead `attempts` times. E_DELETED,
 * E_CORRUPT, E_STORAGE. FULL with `beyond`: it would go past the window's max_items. Nothing was appended unless OK. */
int shmq_append(struct shmq_appender *appender, struct shmq_row *rows, struct shmq_items *items, uint32_t count,
                struct shmq_appended *appended);

/* Take units of the segment appended to, for items that are appended in place later. */
struct shmq_reservation {
    uint64_t incarnation;
    uint32_t unit;
    uint8_t *data;                /* in the mapping */
    struct shmq_mapping *mapping; /* which is kept: shmq_mapping_let_go() */
};

/* Reserve room for `count` items of `item_bytes`. OK: the bytes are the caller's to write until the items are appended.
 * Otherwise as shmq_append(). Who dies, or never appends them, leaves a hole: nobody waits for it. */
int shmq_reserve(struct shmq_appender *appender, uint32_t count, uint64_t item_bytes, struct shmq_reservation *reservation);

/* roll.c: go to the newest segment, making it if need be. Makes system calls and may take milliseconds.
 *
 * OK: append again. FULL: retention "consumed" keeps everything; wait and call again. Errors as above and
 * E_STORAGE_FULL. */
int shmq_appender_roll(struct shmq_appender *appender);

void shmq_appender_close(struct shmq_appender *appender);

/* For roll.c. Is the segment that was appended to last no part of the log any more? Under guard. */
bool shmq_appender_was_left(const struct shmq_appender *appender);
/* A journal word of it breaks the format: E_CORRUPT. */
int shmq_appender_fail_corrupt(struct shmq_appender *appender);

#endif
