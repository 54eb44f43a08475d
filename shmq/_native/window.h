/* The window of a share group over one partition: which records are taken, by whom, and which are settled.
 *
 * It knows nothing of bytes and processes, only of words, so that the same source runs in the product, under the
 * sanitizers and in the model checker. Layout: layout.h. The file is the business of window_file.c, reading of share.c.
 *
 * INVARIANTS
 *   K1  A record belongs to who made its word ACQUIRED, until the word changes. Every change is a CAS from the word as it
 *       was seen, and the word names the record (lap), the holder and the number of this delivery: so who comes late, since
 *       the record went to another meanwhile, changes nothing and is told.
 *   K2  A record is taken only if it is fresh or was given back: by its holder, or by who found that one dead or its time up.
 *       To give back a living holder's record costs that holder its acknowledgement, and nothing else.
 *   K3  `start` passes a record only after it was accepted or rejected, or if there is none (never was, or deleted). Whoever
 *       settles a record advances `start` as far as it goes, and so does every taker: who settled the first record of the
 *       window may have died right after it.
 *   K4  A word is used for the next lap only when `start` has passed its record: a taker looks at `start` before it looks at
 *       the word, and takes nothing at or beyond start + W.
 *   K5  `fresh` passes a record only when it was seen not to be fresh any more, so nobody who begins there overlooks one.
 *   K6  `start` passes a rejected or skipped record only after its tally counts it: a CAS of the tally, then one of `start`.
 *       Who dies in between leaves a tally ahead of `start`, and it says how far: so nothing is counted twice.
 * WHAT MAY GO WRONG
 *   One record that nobody settles holds `start`, and W records after it nothing more can be taken: until its holder's time
 *   is up. An epoch has 9 bits here: where nobody looks while its holder's slot is let 512 times, the record may seem to be
 *   held by the last of those, until that one dies or its time is up. Deliveries are counted up to 127, then stay there. */
#ifndef SHMQ_WINDOW_H
#define SHMQ_WINDOW_H

#include "layout.h"
#include "result.h"

struct shmq_window {
    struct shmq_window_header *header; /* NULL when closed */
    shmq_a64 *words, *deadlines;
    uint32_t length; /* W */
    uint32_t lap_shift;
    enum shmq_window_kind kind;
    uint64_t first, max_items;
    uint64_t topic_id;
    uint32_t partition;
    size_t mapped_bytes;
    char path[SHMQ_PATH_BYTES];
};

/* A record that was taken: what its word is as long as it is ours. */
struct shmq_lease {
    uint64_t offset, word;
};

enum shmq_standing {
    SHMQ_STANDS_FRESH,
    SHMQ_STANDS_BACK, /* given back, perhaps for later (DELAYED) */
    SHMQ_STANDS_HELD,
    SHMQ_STANDS_SETTLED,
    SHMQ_STANDS_BEYOND, /* the window does not reach it */
};

/* How the record at `offset` stands. `start` as it was loaded before; `*word` is what was seen. */
enum shmq_standing shmq_window_look(const struct shmq_window *window, uint64_t offset, uint64_t start, uint64_t *word);

uint64_t shmq_window_start(const struct shmq_window *window);

/* Take the record, whose word was seen as `word`, until `deadline_ms` (0: as long as the holder lives). LOST: another was
 * faster. */
int shmq_window_acquire(struct shmq_window *window, uint64_t offset, uint64_t word, uint32_t holder, uint64_t deadline_ms,
                        struct shmq_lease *lease);

/* There is no record at this fresh offset. */
void shmq_window_skip(struct shmq_window *window, uint64_t offset, uint64_t word);

/* When a record that is held or DELAYED is to be given back; UINT64_MAX: when its holder is dead. A holder that was stopped
 * before it could say so gets `lock_ms` from now on (0: for ever). */
uint64_t shmq_window_due_ms(const struct shmq_window *window, uint64_t offset, uint64_t word, uint64_t now_ms, uint64_t lock_ms);

/* Give back a record that was seen as `word`: its holder is dead, or it is due. LOST: it was another word by then. */
int shmq_window_give_back(struct shmq_window *window, uint64_t offset, uint64_t word);

/* Is it time to look for such records? True for one process alone, once in `period_ms`. */
bool shmq_window_watch(struct shmq_window *window, uint64_t now_ms, uint64_t period_ms);

/* ACCEPTED or REJECTED. LOST: it is not ours any more. */
int shmq_window_settle(struct shmq_window *window, const struct shmq_lease *lease, enum shmq_record_state state);

/* Give it back, to be taken at once (0) or from `not_before_ms` on. LOST. */
int shmq_window_release(struct shmq_window *window, const struct shmq_lease *lease, uint64_t not_before_ms);

/* Keep it until `deadline_ms`. LOST. */
int shmq_window_renew(struct shmq_window *window, const struct shmq_lease *lease, uint64_t deadline_ms);

/* Let `start` pass what is settled, and what lies before `deleted_before`. Returns where it is then. */
uint64_t shmq_window_advance(const struct shmq_window *window, uint64_t deleted_before);

/* Where to look for fresh records; and: all before `offset` were seen not to be fresh. */
uint64_t shmq_window_fresh(const struct shmq_window *window);
void shmq_window_pass(struct shmq_window *window, uint64_t offset);

/* Kind cursor: take `count` records at `offset`. LOST: others were faster. */
int shmq_window_take(struct shmq_window *window, uint64_t offset, uint64_t count);

/* Kind cursor: there are no records in [start, end): count them as skipped (K6), and go on after them. LOST. */
int shmq_window_leap(struct shmq_window *window, uint64_t start, uint64_t end);

/* Every record before it was taken at least once: `start` or `fresh`, as the kind has it. */
uint64_t shmq_window_taken(const struct shmq_window *window);

/* How often records were given back. */
uint64_t shmq_window_returned(const struct shmq_window *window);

/* `start`, and how many rejected and skipped ones lie before it; records in the window by their state. */
struct shmq_tallies {
    uint64_t start, rejected, skipped;
    uint64_t held, delayed, settled, settled_skipped; /* not yet passed by start; the last are among the settled ones */
};
/* Exact while nobody takes or settles. */
void shmq_window_census(const struct shmq_window *window, uint64_t now_ms, struct shmq_tallies *census);
void shmq_window_cursor_census(const struct shmq_window *window, struct shmq_tallies *census);

/* ---- window_file.c ---- */

/* Make the file, whole or not at all; OK if it is there already. E_STORAGE_FULL, E_STORAGE. */
int shmq_window_create(const char *path, const struct shmq_window *like, struct shmq_fail *fail);

/* NOTHING: there is no such file. E_CORRUPT, E_VERSION, E_STORAGE. */
int shmq_window_open(struct shmq_window *window, const char *path, uint64_t topic_id, uint32_t partition,
                     struct shmq_fail *fail);
void shmq_window_close(struct shmq_window *window);

#endif
