/* A whole log out of the product's words: ring, journals and files in memory. Who appends, rolls and retires here does
 * it in the order of appender.c and retention.c, without their system calls.
 *
 * PROPERTIES, beside those of ledger.h:
 *   corrupt   a function of the product takes the log for damaged
 *   base      two that race to publish a segment disagree about its base offset, or a reader finds a wrong one
 *   live-run  the newest segment was retired, or the LIVE ones are not one unbroken run
 *   hint      a hint passed the truth or fell back */
#ifndef MODEL_LOG_H
#define MODEL_LOG_H

#include "ledger.h"
#include "ring.h"

#define LOG_OWNERS 2u
#define LOG_FILES 4u
#define LOG_UNITS 3u
#define LOG_SEGMENTS 8u /* that a run may publish */

struct log_shape {
    unsigned owners, ring_slots;
    unsigned files; /* that each owner may make; incarnation 1 + owner + LOG_OWNERS * n is its n-th */
    unsigned units; /* of each file, with one journal word for each and one for the seal */
    unsigned batch_units[LOG_OWNERS]; /* of each owner's batches */
};

/* What one process has mapped. */
struct log_handle {
    unsigned owner, made; /* files that it made so far */
    uint64_t seq, base_offset, finished;
    struct shmq_journal journal; /* incarnation 0: nothing is mapped */
};

extern struct shmq_ring log_ring;

void log_begin(const struct log_shape *shape);
/* Map the file `incarnation`, as segment `seq`. */
void log_map(struct log_handle *handle, uint64_t seq, uint64_t incarnation);
/* One batch, with a record for each unit, until it is acknowledged. False: the owner has no file left. */
bool log_append(struct log_handle *handle, unsigned batch);
/* Follow the log from its beginning to its end; claims of the dead are aborted when everybody else is still. */
void log_read_all(void);
/* Abort any one claim. */
void log_heal(void);
/* The hooks of a scenario: in every state, and at the end. */
void log_check(void);
void log_finish(void);
/* Whether segment `seq` was ever this file. */
bool log_was_live(uint64_t seq, uint64_t incarnation);

/* Between log.c and log_read.c. */
struct log_file {
    shmq_a64 base_offset; /* of its header */
    shmq_a64 words[LOG_UNITS + 1], data[LOG_UNITS];
};
extern struct log_file log_files[LOG_OWNERS * LOG_FILES];
extern struct log_shape log_shape;
void log_check_begin(void);
void log_agree(uint64_t seq, uint64_t base_offset); /* somebody is about to publish `seq` with this base offset */

#endif
