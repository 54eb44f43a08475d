/* The reading side of log.h, and what must hold in every state. */
#include <string.h>

#include "log.h"

struct place {
    struct log_handle handle;
    uint64_t offset, before;
    uint32_t index;
};

static void deliver(const struct place *place, const struct shmq_entry *entry) {
    unsigned file = (unsigned)place->handle.journal.incarnation;
    const shmq_a64 *data = log_files[file - 1].data;
    uint64_t payload = model_data_load(&data[entry->start_pos]);
    for (unsigned unit = entry->start_pos + 1; unit < entry->end_pos; unit++) {
        uint64_t next = model_data_load(&data[unit]);
        MODEL_CHECK(next == payload, "torn", next, payload);
    }
    ledger_delivered(payload, file, place->handle.base_offset, entry);
}

/* To the end of the segment. False: there is nothing more to come. */
static bool read_segment(struct place *place) {
    for (;;) {
        struct shmq_entry entry;
        int result = shmq_journal_read(&place->handle.journal, place->index, place->before, &entry);
        MODEL_CHECK(result >= 0, "corrupt", result, place->index);
        if (result == SHMQ_SEALED)
            return true;
        if (result == SHMQ_NOTHING) {
            if (!model_pause())
                return false;
        } else if (result == SHMQ_PENDING) {
            if (!model_pause())
                shmq_journal_abort(&place->handle.journal, place->index, entry.word);
        } else {
            if (result == SHMQ_OK)
                deliver(place, &entry);
            place->before = entry.word;
            place->index++;
            place->offset = place->handle.base_offset + entry.end_count;
        }
    }
}

/* Where reading goes on when the segment that comes next is gone. */
static void start_over(struct place *place, uint64_t *seq) {
    uint64_t incarnation;
    int result = shmq_ring_tail(&log_ring, seq, &incarnation);
    MODEL_CHECK(result == SHMQ_OK, "corrupt", result, *seq);
    log_map(&place->handle, *seq, incarnation);
    MODEL_CHECK(place->handle.base_offset >= place->offset, "base", place->handle.base_offset, place->offset);
    place->offset = place->handle.base_offset;
}

void log_read_all(void) {
    struct place place = {.offset = 0};
    for (uint64_t seq = 0;;) {
        uint64_t incarnation;
        enum shmq_seq_state state = shmq_ring_look(&log_ring, seq, &incarnation);
        MODEL_CHECK(state != SHMQ_SEQ_CORRUPT, "corrupt", state, seq);
        if (state == SHMQ_SEQ_FUTURE) {
            if (!model_pause())
                return;
            continue;
        }
        if (state == SHMQ_SEQ_RETIRED)
            start_over(&place, &seq);
        else
            log_map(&place.handle, seq, incarnation);
        MODEL_CHECK(place.handle.base_offset == place.offset, "base", place.handle.base_offset, place.offset);
        place.index = 0;
        place.before = 0;
        if (!read_segment(&place))
            return;
        seq++;
    }
}

void log_heal(void) {
    unsigned file = model_choose(log_shape.owners * log_shape.files), index = model_choose(log_shape.units);
    file = file / log_shape.owners * LOG_OWNERS + file % log_shape.owners;
    shmq_a64 *words = log_files[file].words;
    struct shmq_journal journal = {words, log_shape.units + 1, log_shape.units, file + 1, 0};
    uint64_t word = shmq_load_acquire(&words[index]);
    if (shmq_word_state(word) != SHMQ_CLAIMED || shmq_journal_abort(&journal, index, word) != SHMQ_OK)
        model_drop();
}

static struct {
    uint32_t was_live;    /* files that ever were in the log */
    uint8_t newest;       /* segment + 1 that was ever published; 0 for none */
    uint8_t head, tail;   /* hints */
    uint8_t base[LOG_SEGMENTS]; /* + 1 of each segment, as the first to publish it said */
    uint8_t file[LOG_SEGMENTS]; /* incarnation of each segment */
} ghost;

void log_check_begin(void) {
    memset(&ghost, 0, sizeof(ghost));
    model_ghost(&ghost, sizeof(ghost));
}

void log_agree(uint64_t seq, uint64_t base_offset) {
    MODEL_CHECK(seq < LOG_SEGMENTS, "bound", seq, base_offset);
    MODEL_CHECK(!ghost.base[seq] || ghost.base[seq] == base_offset + 1, "base", seq, base_offset);
    ghost.base[seq] = (uint8_t)(base_offset + 1);
}

static uint64_t seq_of(uint64_t slot, uint64_t word) {
    return shmq_ring_lap(word) * log_ring.slots + slot;
}

static void check_hints(uint64_t oldest) {
    uint64_t head = model_newest(&log_ring.control->head_seq), tail = model_newest(&log_ring.control->tail_seq);
    MODEL_CHECK(head >= ghost.head && head < (ghost.newest ? ghost.newest : 1u), "hint", head, ghost.newest);
    MODEL_CHECK(tail >= ghost.tail && tail <= oldest, "hint", tail, oldest);
    MODEL_CHECK(head + 2 >= ghost.newest && tail + 1 >= oldest, "hint", head, tail);
    ghost.head = (uint8_t)head;
    ghost.tail = (uint8_t)tail;
}

void log_check(void) {
    uint64_t live = 0, oldest = LOG_SEGMENTS, newest = 0;
    for (uint64_t slot = 0; slot < log_ring.slots; slot++) {
        uint64_t word = model_newest(&log_ring.control->ring[slot]), seq = seq_of(slot, word);
        if (shmq_ring_state(word) != SHMQ_RING_LIVE)
            continue;
        live++;
        oldest = seq < oldest ? seq : oldest;
        newest = seq + 1 > newest ? seq + 1 : newest;
        MODEL_CHECK(seq < LOG_SEGMENTS, "bound", seq, word);
        ghost.was_live |= 1u << shmq_ring_incarnation(word);
        ghost.file[seq] = (uint8_t)shmq_ring_incarnation(word);
    }
    MODEL_CHECK(newest >= ghost.newest, "live-run", newest, ghost.newest);
    MODEL_CHECK(live == 0 || newest - oldest == live, "live-run", newest, oldest);
    ghost.newest = (uint8_t)newest;
    check_hints(live ? oldest : 0);
}

bool log_was_live(uint64_t seq, uint64_t incarnation) {
    return seq < LOG_SEGMENTS && incarnation && ghost.file[seq] == incarnation;
}

void log_finish(void) {
    uint32_t retired = ghost.was_live;
    for (uint64_t slot = 0; slot < log_ring.slots; slot++) {
        uint64_t word = model_newest(&log_ring.control->ring[slot]);
        if (shmq_ring_state(word) == SHMQ_RING_LIVE)
            retired &= ~(1u << shmq_ring_incarnation(word));
    }
    ledger_finish(retired);
}
