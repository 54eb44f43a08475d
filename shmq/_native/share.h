/* Reading one partition through a window: each record goes to one of many readers (window.h).
 *
 * INVARIANTS
 *   Q1  A record is handed out only after it was taken in the window, and each taking hands it out once.
 *   Q2  Records are looked for in order: first those that were given back, then fresh ones. So a partition's records keep
 *       their order as far as redelivery allows.
 *   Q3  The group's hold follows `start`: producers never retire a segment with a record in it that nobody has settled.
 *   Q4  Who takes, settles or gives back wakes whom that lets go on: producers that wait for space, readers that found the
 *       window full or nothing in it. Those whose record's holder has died, or is too late, are found by who looks: every
 *       reader does, once in a while, as long as any record is held. */
#ifndef SHMQ_SHARE_H
#define SHMQ_SHARE_H

#include "reader.h"
#include "window.h"

#define SHMQ_NOWHERE UINT64_MAX

struct shmq_share {
    struct shmq_reader *reader; /* stands where fresh records are looked for */
    struct shmq_window *window;
    uint32_t group;             /* its number */
    uint64_t lock_ms;           /* how long a record is ours; 0: as long as this process lives */
    bool alone;                 /* a record that was given back is taken alone: it may be what killed its holder */
    bool only_fresh;            /* none that was given back is taken now */
    uint64_t seen_returned;     /* all that were given back before that count were looked at */
    uint64_t look_from;         /* where to go on with that; 0: at the start */
    uint64_t full_start;        /* the window was full, with this start; SHMQ_NOWHERE: it was not */
    struct shmq_reader back;    /* goes to records that were given back */
};

/* What is done with a record. */
enum shmq_acknowledge { SHMQ_ACCEPT = 1, SHMQ_RELEASE = 2, SHMQ_REJECT = 3, SHMQ_RENEW = 4 };

/* `reader` and `window` are the caller's and outlive it. The group's hold, if it has one, moves with the window; it is no one
 * thread's: a producer that waits for it does not wait for itself, since any other taker may let it go on. */
int shmq_share_init(struct shmq_share *share, struct shmq_reader *reader, struct shmq_window *window, uint32_t group);
void shmq_share_close(struct shmq_share *share);

/* Take up to `most` records, all of one segment; as shmq_reader_fetch() otherwise. `leases` has `most` places; kind cursor:
 * they are settled. */
int shmq_share_fetch(struct shmq_share *share, struct shmq_view *views, struct shmq_lease *leases, uint32_t most,
                     uint64_t most_bytes, uint32_t *count);

/* As shmq_reader_has_news(). */
bool shmq_share_has_news(struct shmq_share *share, bool settled);

/* Is a record held or delayed? Then nobody sleeps for long: its holder may die. */
bool shmq_share_is_watching(struct shmq_share *share);

/* OK, for kind cursor always; LOST: the record is not ours any more. `delay_ms`: of RELEASE. */
int shmq_share_acknowledge(struct shmq_share *share, uint64_t offset, uint32_t deliveries, enum shmq_acknowledge what,
                           uint64_t delay_ms);

/* E_CORRUPT: the window speaks of a record that is not there. */
int shmq_share_beyond(const struct shmq_window *window, uint64_t offset, uint64_t end, struct shmq_fail *fail);

struct shmq_counts {
    struct shmq_tallies census;
    uint64_t ready;
};

/* ---- share_count.c ---- */

/* Exact while nobody takes, settles or appends. */
int shmq_share_count(struct shmq_share *share, struct shmq_counts *counts);

/* For producers of a partition whose window has max_items: the offset at which so many records lie there untaken. Aborted
 * claims and deleted records do not count; claims of dead owners are given up here. It can only be too low later on. */
int shmq_window_limit(const struct shmq_window *window, struct shmq_partition *partition, uint64_t *limit,
                      struct shmq_fail *fail);

#endif
