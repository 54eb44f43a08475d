#include "log.h"

#include <string.h>

struct log_file log_files[LOG_OWNERS * LOG_FILES];
struct shmq_ring log_ring;
struct log_shape log_shape;

static union {
    struct shmq_control control;
    unsigned char bytes[sizeof(struct shmq_control) + 8 * 8];
} memory;

static struct log_file *file_of(uint64_t incarnation) {
    return &log_files[incarnation - 1];
}

static void register_file(unsigned number) {
    struct log_file *file = &log_files[number];
    unsigned digits = 10 * (number + 1); /* file 3, word 1 is printed as 31 */
    model_word(&file->base_offset, 99, MODEL_NUMBER, MODEL_EAGER, "base_offset of file", number + 1);
    for (unsigned index = 0; index <= log_shape.units; index++)
        model_word(&file->words[index], shmq_empty_word(99), MODEL_JOURNAL, MODEL_EAGER, "journal", digits + index);
    for (unsigned unit = 0; unit < log_shape.units; unit++)
        model_word(&file->data[unit], 0, MODEL_NUMBER, MODEL_EAGER, "data", digits + unit);
}

void log_begin(const struct log_shape *wanted) {
    log_shape = *wanted;
    log_check_begin();
    ledger_begin();
    log_ring = (struct shmq_ring){.control = &memory.control, .slots = log_shape.ring_slots};
    for (unsigned slot = 0; slot < log_shape.ring_slots; slot++)
        model_word(&memory.control.ring[slot], shmq_ring_word(SHMQ_RING_FREE, 0, 0), MODEL_RING, 0, "ring", slot);
    model_word(&memory.control.head_seq, 0, MODEL_NUMBER, 0, "head_seq", 0);
    model_word(&memory.control.tail_seq, 0, MODEL_NUMBER, 0, "tail_seq", 0);
    for (unsigned number = 0; number < LOG_OWNERS * LOG_FILES; number++)
        if (number % LOG_OWNERS < log_shape.owners && number / LOG_OWNERS < log_shape.files)
            register_file(number);
}

void log_map(struct log_handle *handle, uint64_t seq, uint64_t incarnation) {
    if (handle->journal.incarnation == incarnation)
        return; /* keeps its hint, as the product does */
    handle->seq = seq;
    handle->base_offset = model_data_load(&file_of(incarnation)->base_offset);
    handle->journal = (struct shmq_journal){.words = file_of(incarnation)->words,
                                            .length = log_shape.units + 1,
                                            .data_units = log_shape.units,
                                            .incarnation = incarnation};
}

static int try_append(struct log_handle *handle, unsigned number) {
    struct shmq_claim claim;
    unsigned units = log_shape.batch_units[handle->owner];
    if (!handle->journal.incarnation)
        return SHMQ_ROLL;
    int result = shmq_journal_claim(&handle->journal, shmq_owner(handle->owner, 1), units, units, &claim);
    MODEL_CHECK(result >= 0, "corrupt", result, claim.index);
    if (result != SHMQ_OK) {
        handle->finished = handle->journal.incarnation;
        return SHMQ_ROLL;
    }
    unsigned file = (unsigned)handle->journal.incarnation;
    ledger_claimed(number, file, handle->base_offset, &claim);
    for (unsigned unit = claim.start_pos; unit < claim.start_pos + units; unit++)
        model_data_store(&file_of(file)->data[unit], ledger_payload(number));
    return shmq_journal_commit(&handle->journal, &claim);
}

/* Retention "delete" with as many segments as the ring can hold beside the one that is being made. */
static void make_room(uint64_t next_seq) {
    uint64_t seq, incarnation;
    int result;
    while ((result = shmq_ring_tail(&log_ring, &seq, &incarnation)) == SHMQ_OK) {
        if (seq + 1 >= next_seq || next_seq - seq < log_ring.slots - 1)
            return;
        shmq_ring_retire(&log_ring, seq, incarnation);
    }
    MODEL_CHECK(result >= 0, "corrupt", result, next_seq);
}

/* Make a file aside and publish it. False: no file left. */
static bool make_segment(struct log_handle *handle, uint64_t seq, uint64_t base_offset) {
    uint64_t incarnation = 1 + handle->owner + (uint64_t)LOG_OWNERS * handle->made++, other;
    if (handle->made > log_shape.files)
        return false;
    struct log_file *file = file_of(incarnation);
    struct shmq_journal fresh = {file->words, log_shape.units + 1, log_shape.units, incarnation, 0};
    shmq_journal_reset(&fresh);
    model_data_store(&file->base_offset, base_offset);
    log_agree(seq, base_offset);
    if (shmq_ring_publish(&log_ring, seq, incarnation) == SHMQ_OK) {
        handle->seq = seq;
        handle->base_offset = base_offset;
        handle->journal = fresh;
    } else {
        enum shmq_seq_state state = shmq_ring_look(&log_ring, seq, &other);
        MODEL_CHECK(state == SHMQ_SEQ_LIVE || state == SHMQ_SEQ_RETIRED, "corrupt", seq, state); /* lost to nobody */
    }
    return true;
}

static bool roll(struct log_handle *handle) {
    uint64_t seq, incarnation, next_seq = 0, base_offset = 0;
    int result = shmq_ring_head(&log_ring, &seq, &incarnation);
    MODEL_CHECK(result >= 0, "corrupt", result, 0);
    if (result == SHMQ_OK) {
        uint32_t end_count;
        log_map(handle, seq, incarnation);
        if (incarnation != handle->finished)
            return true;
        next_seq = seq + 1;
        make_room(next_seq);
        result = shmq_journal_seal(&handle->journal, &end_count);
        MODEL_CHECK(result == SHMQ_OK || result == SHMQ_SEALED, "corrupt", result, seq);
        base_offset = handle->base_offset + end_count;
    }
    if (shmq_ring_look(&log_ring, next_seq, &incarnation) != SHMQ_SEQ_FUTURE)
        return true;
    return make_segment(handle, next_seq, base_offset);
}

bool log_append(struct log_handle *handle, unsigned batch) {
    for (unsigned attempt = 0;;) {
        unsigned number = ledger_number(handle->owner, batch, attempt);
        int result = try_append(handle, number);
        if (result == SHMQ_ROLL) {
            if (!roll(handle))
                return false;
            continue;
        }
        if (result == SHMQ_OK) {
            ledger_acknowledged(number);
            return true;
        }
        ledger_lost(number);
        attempt++;
    }
}
