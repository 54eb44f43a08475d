/* What really happened, kept beside the log as ghost state: every claim, what became of it, and what the reader got.
 *
 * PROPERTIES, by the name that a failure shows:
 *   overlap      two claims, or a claim and a reservation, share bytes or offsets
 *   torn         the reader got a payload that is not one batch, whole
 *   never-sent   the reader got a batch that nobody claimed there
 *   aborted-read the reader got a batch whose producer was told LOST
 *   doubled      the reader got a batch twice
 *   order        the reader got a producer's batches out of order, or offsets that do not follow
 *   lost-record  a batch was acknowledged, and the reader never got it */
#ifndef MODEL_LEDGER_H
#define MODEL_LEDGER_H

#include "journal.h"
#include "model.h"

#define LEDGER_OWNERS 3u
#define LEDGER_BATCHES 3u
#define LEDGER_ATTEMPTS 4u
#define LEDGER_ENTRIES (LEDGER_OWNERS * LEDGER_BATCHES * LEDGER_ATTEMPTS)

enum ledger_state { LEDGER_NONE, LEDGER_CLAIMED, LEDGER_ACKNOWLEDGED, LEDGER_LOST };

struct ledger_entry {
    uint8_t state, file, start_pos, end_pos, first_offset, end_offset;
    bool delivered;
};

/* Clear it and make it ghost state. To be called by start(). */
void ledger_begin(void);

static inline unsigned ledger_number(unsigned owner, unsigned batch, unsigned attempt) {
    return (owner * LEDGER_BATCHES + batch) * LEDGER_ATTEMPTS + attempt;
}

/* What the payload of that append consists of, word for word. */
static inline uint64_t ledger_payload(unsigned number) {
    return number + 1;
}

/* A reservation in file 0: at most one of each owner. */
void ledger_reserved(unsigned owner, const struct shmq_claim *claim);
void ledger_claimed(unsigned number, unsigned file, uint64_t base_offset, const struct shmq_claim *claim);
void ledger_acknowledged(unsigned number);
void ledger_lost(unsigned number);

/* The reader got a batch at this place, whose payload begins with `payload`. */
void ledger_delivered(uint64_t payload, unsigned file, uint64_t base_offset, const struct shmq_entry *entry);

/* At the end: everything acknowledged was delivered, but for what is in the `retired` files, one bit each. */
void ledger_finish(uint32_t retired);

#endif
