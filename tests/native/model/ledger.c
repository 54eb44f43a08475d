#include "ledger.h"

#include <string.h>

static struct {
    struct ledger_entry entries[LEDGER_ENTRIES];
    uint8_t next_batch[LEDGER_OWNERS]; /* that the reader may get from each */
    struct {
        uint8_t start_pos, end_pos;
    } reserved[LEDGER_OWNERS];
} ledger;

void ledger_begin(void) {
    memset(&ledger, 0, sizeof(ledger));
    model_ghost(&ledger, sizeof(ledger));
}

void ledger_reserved(unsigned owner, const struct shmq_claim *claim) {
    uint32_t start_pos = claim->start_pos, end_pos = shmq_word_pos(claim->word);
    for (unsigned other = 0; other < LEDGER_OWNERS; other++)
        MODEL_CHECK(ledger.reserved[other].end_pos <= start_pos || end_pos <= ledger.reserved[other].start_pos, "overlap",
                    other, owner);
    for (unsigned other = 0; other < LEDGER_ENTRIES; other++) {
        const struct ledger_entry *that = &ledger.entries[other];
        bool apart = that->end_pos <= start_pos || end_pos <= that->start_pos;
        MODEL_CHECK(apart || that->state == LEDGER_NONE || that->file, "overlap", other, owner);
    }
    ledger.reserved[owner].start_pos = (uint8_t)start_pos;
    ledger.reserved[owner].end_pos = (uint8_t)end_pos;
}

void ledger_claimed(unsigned number, unsigned file, uint64_t base_offset, const struct shmq_claim *claim) {
    struct ledger_entry *entry = &ledger.entries[number];
    MODEL_CHECK(entry->state == LEDGER_NONE, "bound", number, entry->state);
    *entry = (struct ledger_entry){.state = LEDGER_CLAIMED,
                                   .file = (uint8_t)file,
                                   .start_pos = (uint8_t)claim->start_pos,
                                   .end_pos = (uint8_t)shmq_word_pos(claim->word),
                                   .first_offset = (uint8_t)(base_offset + claim->first_count),
                                   .end_offset = (uint8_t)(base_offset + shmq_word_count(claim->word))};
    for (unsigned other = 0; other < LEDGER_ENTRIES; other++) {
        const struct ledger_entry *that = &ledger.entries[other];
        if (other == number || that->state == LEDGER_NONE)
            continue;
        bool apart = that->end_offset <= entry->first_offset || entry->end_offset <= that->first_offset;
        MODEL_CHECK(apart, "overlap", other, number);
        apart = that->end_pos <= entry->start_pos || entry->end_pos <= that->start_pos;
        MODEL_CHECK(apart || that->file != entry->file, "overlap", other, number);
    }
    for (unsigned owner = 0; owner < LEDGER_OWNERS && file == 0; owner++)
        MODEL_CHECK(ledger.reserved[owner].end_pos <= entry->start_pos || entry->end_pos <= ledger.reserved[owner].start_pos,
                    "overlap", owner, number);
}

void ledger_acknowledged(unsigned number) {
    ledger.entries[number].state = LEDGER_ACKNOWLEDGED;
}

void ledger_lost(unsigned number) {
    ledger.entries[number].state = LEDGER_LOST;
    MODEL_CHECK(!ledger.entries[number].delivered, "aborted-read", number, 0);
}

void ledger_delivered(uint64_t payload, unsigned file, uint64_t base_offset, const struct shmq_entry *read) {
    MODEL_CHECK(payload >= 1 && payload <= LEDGER_ENTRIES, "torn", payload, read->word);
    unsigned number = (unsigned)payload - 1;
    struct ledger_entry *entry = &ledger.entries[number];
    MODEL_CHECK(entry->state != LEDGER_NONE && entry->file == file && entry->start_pos == read->start_pos &&
                    entry->end_pos == read->end_pos,
                "never-sent", number, read->word);
    MODEL_CHECK(entry->first_offset == base_offset + read->first_count &&
                    entry->end_offset == base_offset + read->end_count,
                "order", number, read->word);
    MODEL_CHECK(entry->state != LEDGER_LOST, "aborted-read", number, read->word);
    unsigned batch = number / LEDGER_ATTEMPTS % LEDGER_BATCHES, owner = number / LEDGER_ATTEMPTS / LEDGER_BATCHES;
    for (unsigned attempt = 0; attempt < LEDGER_ATTEMPTS; attempt++)
        MODEL_CHECK(!ledger.entries[ledger_number(owner, batch, attempt)].delivered, "doubled", number, attempt);
    MODEL_CHECK(batch >= ledger.next_batch[owner], "order", number, ledger.next_batch[owner]);
    ledger.next_batch[owner] = (uint8_t)(batch + 1);
    entry->delivered = true;
}

void ledger_finish(uint32_t retired) {
    for (unsigned number = 0; number < LEDGER_ENTRIES; number++) {
        const struct ledger_entry *entry = &ledger.entries[number];
        MODEL_CHECK(entry->state != LEDGER_ACKNOWLEDGED || entry->delivered || retired >> entry->file & 1,
                    "lost-record", number, entry->first_offset);
    }
}
