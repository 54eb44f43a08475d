#include "verify.h"

#include <inttypes.h>

#include "batch.h"
#include "files.h"
#include "guard.h"
#include "spare.h"

struct check {
    struct shmq_partition *partition;
    struct shmq_segment segment;
    struct shmq_census *census;
    struct shmq_fail *fail;
    uint64_t seq, end;
    uint64_t expected_base; /* of the segment, or UINT64_MAX if the one before it was not seen */
    uint64_t end_offset;    /* of the segment, if sealed */
    bool sealed;
    uint64_t start_offset, spare; /* words of the control file */
    uint64_t max_timestamp; /* + 1, of the records seen in the segment */
};

static int broken(struct check *check, uint64_t pos, const char *what) {
    check->fail->pos = pos;
    shmq_segment_path(check->partition, check->segment.seq, check->segment.journal.incarnation, check->fail->path);
    return shmq_fail(check->fail, SHMQ_E_CORRUPT, check->fail->path, "%s", what);
}

static bool is_reserved(struct check *check, const struct shmq_batch_cursor *cursor) {
    uint64_t unit = (uint64_t)(cursor->items - check->segment.data) / SHMQ_UNIT_BYTES;
    uint64_t units = shmq_batch_units((uint64_t)cursor->header.count * cursor->item_bytes);
    return shmq_journal_is_reserved(&check->segment.journal, (uint32_t)unit, (uint32_t)(unit + units));
}

static int check_batch(struct check *check, const struct shmq_entry *entry) {
    struct shmq_batch_cursor cursor;
    struct shmq_view view;
    const char *what;
    int result = shmq_batch_open(&check->segment, entry, true, &cursor, &what);
    while (result == SHMQ_OK && (result = shmq_batch_next(&cursor, &view, &what)) == SHMQ_OK)
        if (view.timestamp_ms >= 0 && (uint64_t)view.timestamp_ms + 1 > check->max_timestamp)
            check->max_timestamp = (uint64_t)view.timestamp_ms + 1;
    if (result == SHMQ_NOTHING && cursor.header.kind == SHMQ_KIND_REFERENCE && !is_reserved(check, &cursor)) {
        what = "the items of a reference do not lie in units that were reserved for them";
        result = SHMQ_E_CORRUPT;
    }
    if (result == SHMQ_NOTHING)
        return SHMQ_OK;
    uint64_t data_pos = (uint64_t)(check->segment.data - (uint8_t *)check->segment.header);
    return broken(check, data_pos + (uint64_t)entry->start_pos * SHMQ_UNIT_BYTES, what);
}

static int count_entry(struct check *check, int result, const struct shmq_entry *entry) {
    if (shmq_word_state(entry->word) == SHMQ_RESERVED)
        return check->census->reserved++, SHMQ_OK;
    check->census->batches++;
    check->census->claimed += result == SHMQ_PENDING;
    check->census->aborted += result == SHMQ_LOST;
    if (result != SHMQ_OK)
        return SHMQ_OK;
    check->census->records += entry->end_count - entry->first_count;
    return check_batch(check, entry);
}

/* EMPTY words are a suffix. Others may append meanwhile, so a word that was EMPTY is asked again. */
static int check_suffix(struct check *check, uint32_t first) {
    const struct shmq_journal *journal = &check->segment.journal;
    uint64_t empty = shmq_empty_word(journal->incarnation);
    for (uint32_t index = first + 1; index < journal->length; index++) {
        /* PAIR publish: who sees a later word sees the earlier one as it was then, or newer. */
        if (shmq_load_acquire(&journal->words[index]) == empty)
            continue;
        if (check->sealed || shmq_load_acquire(&journal->words[index - 1]) == empty)
            return broken(check, SHMQ_PAGE_BYTES + 8 * (uint64_t)index, "a word behind the end of the journal is not EMPTY");
    }
    return SHMQ_OK;
}

static int check_journal(void *argument) {
    struct check *check = argument;
    struct shmq_segment *segment = &check->segment;
    uint64_t before = 0;
    /* PAIR max: who sees it set sees it set for good, and only a segment whose claims are settled has it. */
    uint64_t max_timestamp = shmq_load_relaxed(&segment->header->max_timestamp);
    check->sealed = false;
    check->max_timestamp = 0;
    for (uint32_t index = 0; index < segment->journal.length; index++) {
        struct shmq_entry entry;
        int result = shmq_journal_read(&segment->journal, index, before, &entry);
        if (result == SHMQ_E_CORRUPT)
            return broken(check, SHMQ_PAGE_BYTES + 8 * (uint64_t)index, "a journal word breaks the format");
        check->sealed = result == SHMQ_SEALED;
        if (result == SHMQ_NOTHING || result == SHMQ_SEALED) {
            check->end_offset = segment->base_offset + shmq_word_count(before);
            if (max_timestamp && (!check->sealed || max_timestamp != check->max_timestamp))
                return broken(check, offsetof(struct shmq_segment_header, max_timestamp),
                              "max_timestamp_ms is not that of its records");
            return check_suffix(check, index);
        }
        result = count_entry(check, result, &entry);
        if (result != SHMQ_OK)
            return result;
        before = entry.word;
    }
    return broken(check, SHMQ_PAGE_BYTES, "the journal has no end");
}

static int check_segment(struct check *check) {
    if (check->expected_base != UINT64_MAX && check->segment.base_offset != check->expected_base)
        return broken(check, offsetof(struct shmq_segment_header, base_offset),
                      "base_offset does not follow the segment before it");
    check->census->segments++;
    check->census->bytes += check->segment.mapped_bytes;
    int result = shmq_guarded(check_journal, check, check->fail, check->partition->directory);
    if (result == SHMQ_OK && !check->sealed && check->seq + 1 < check->end)
        return broken(check, SHMQ_PAGE_BYTES, "a newer segment was published before this one was sealed");
    check->expected_base = check->end_offset;
    return result;
}

struct ring_check {
    const struct shmq_ring *ring;
    uint64_t tail, end; /* LIVE are the segments from tail up to, without, end */
    uint64_t broken_at;
};

static int look_at_ends(struct ring_check *check) {
    uint64_t incarnation, head;
    check->tail = check->end = 0;
    int result = shmq_ring_tail(check->ring, &check->tail, &incarnation);
    if (result == SHMQ_OK)
        result = shmq_ring_head(check->ring, &head, &incarnation);
    if (result == SHMQ_OK)
        check->end = head + 1;
    return result;
}

/* From the tail on: LIVE up to the head, then FREE for the segments to come, each in its own lap; and no hint passes the
 * truth. Words that others change meanwhile are looked at again: LOST. */
static int check_ring(void *argument) {
    struct ring_check *check = argument;
    const struct shmq_ring *ring = check->ring;
    int result = look_at_ends(check);
    if (result < 0)
        return result;
    uint64_t tail = check->tail, end = check->end, incarnation;
    bool good = end - tail <= ring->slots;
    for (uint64_t seq = tail; good && seq < tail + ring->slots; seq++) {
        /* PAIR empty: only the word itself is of interest here. */
        uint64_t word = shmq_load_acquire(&ring->control->ring[seq % ring->slots]);
        check->broken_at = offsetof(struct shmq_control, ring) + 8 * (seq % ring->slots);
        good = seq < end ? shmq_ring_look(ring, seq, &incarnation) == SHMQ_SEQ_LIVE
                         : word == shmq_ring_word(SHMQ_RING_FREE, seq / ring->slots, 0);
    }
    result = look_at_ends(check);
    if (result >= 0 && (tail != check->tail || end != check->end))
        return SHMQ_LOST;
    return good ? result : SHMQ_E_CORRUPT;
}

int shmq_verify_ring(const struct shmq_partition *partition, uint64_t *tail, uint64_t *end, struct shmq_fail *fail) {
    struct ring_check check = {.ring = &partition->ring, .broken_at = offsetof(struct shmq_control, ring)};
    int result = SHMQ_LOST;
    for (int tries = 0; result == SHMQ_LOST && tries < 100; tries++)
        result = shmq_guarded(check_ring, &check, fail, partition->directory);
    fail->pos = check.broken_at;
    *tail = check.tail;
    *end = check.end;
    if (result == SHMQ_E_CORRUPT)
        return shmq_fail(fail, result, partition->directory,
                         "control: the LIVE segments of the ring are not one unbroken run");
    return result < 0 ? result : SHMQ_OK; /* LOST, always moving: its segments are checked all the same */
}

struct entry_check {
    const struct shmq_partition *partition;
    uint32_t index;
};

static int check_entries(void *argument) {
    struct entry_check *check = argument;
    for (check->index = 0; check->index < SHMQ_READERS; check->index++) {
        const struct shmq_reader_entry *entry = &check->partition->ring.control->readers[check->index];
        uint64_t owner = shmq_load_acquire(&entry->owner); /* PAIR reader: only the word itself is of interest here */
        bool known = owner == 0 || shmq_is_group(owner) ||
                     (shmq_entry_epoch(owner) && shmq_entry_slot(owner) < check->partition->process->slots);
        if (!known || entry->reserved[0] || entry->reserved[1])
            return SHMQ_E_CORRUPT;
    }
    return SHMQ_OK;
}

static int verify_entries(const struct shmq_partition *partition, struct shmq_fail *fail) {
    struct entry_check check = {.partition = partition};
    int result = shmq_guarded(check_entries, &check, fail, partition->directory);
    fail->pos = offsetof(struct shmq_control, readers) + check.index * sizeof(struct shmq_reader_entry);
    return result == SHMQ_E_CORRUPT ? shmq_fail(fail, result, partition->directory,
                                                "control: an entry of a reader or a group breaks the format")
                                    : result;
}

static int look_at_start(void *argument) {
    struct check *check = argument;
    check->start_offset = shmq_start_offset(check->partition);
    return SHMQ_OK;
}

static int look_at_spare(void *argument) {
    struct check *check = argument;
    check->spare = shmq_spare_look(check->partition->ring.control);
    return SHMQ_OK;
}

static int check_control(struct check *check, size_t pos, const char *what) {
    check->fail->pos = pos;
    return shmq_fail(check->fail, SHMQ_E_CORRUPT, check->partition->directory, "control: %s", what);
}

static int check_spare_journal(void *argument) {
    struct check *check = argument;
    const struct shmq_segment *segment = &check->segment;
    if (segment->base_offset)
        return broken(check, offsetof(struct shmq_segment_header, base_offset), "a spare has no base_offset yet");
    if (segment->journal.data_units != shmq_spare_units(check->spare) || segment->crc != shmq_spare_crc(check->spare))
        return broken(check, offsetof(struct shmq_segment_header, data_units), "it is not what the control file says");
    /* PAIR max: nobody has written it yet. */
    if (shmq_load_relaxed(&segment->header->max_timestamp))
        return broken(check, offsetof(struct shmq_segment_header, max_timestamp), "a spare has no records");
    for (uint32_t index = 0; index < segment->journal.length; index++)
        /* PAIR empty: through the spare's word. */
        if (shmq_load_acquire(&segment->journal.words[index]) != shmq_empty_word(segment->journal.incarnation))
            return broken(check, SHMQ_PAGE_BYTES + 8 * (uint64_t)index, "a word of a spare is not EMPTY");
    return SHMQ_OK;
}

/* A READY spare is whole, unless it is none any more once that was looked at: then others have it. */
static int check_spare(struct check *check) {
    int result = shmq_guarded(look_at_spare, check, check->fail, check->partition->directory);
    uint64_t word = check->spare;
    if (result != SHMQ_OK || !word)
        return result;
    if (shmq_spare_state(word) == SHMQ_SPARE_MAKING)
        return SHMQ_OK;
    if (shmq_spare_state(word) != SHMQ_SPARE_READY)
        return check_control(check, offsetof(struct shmq_control, spare), "the spare's word breaks the format");
    result = shmq_segment_map(check->partition, SHMQ_SPARE_SEQ, shmq_spare_incarnation(word), &check->segment, check->fail);
    if (result == SHMQ_LOST)
        result = check_control(check, offsetof(struct shmq_control, spare), "the spare segment is missing");
    else if (result == SHMQ_OK)
        result = shmq_guarded(check_spare_journal, check, check->fail, check->partition->directory);
    struct shmq_fail ignored;
    int again = shmq_guarded(look_at_spare, check, &ignored, check->partition->directory);
    if (again != SHMQ_OK || check->spare != word)
        return SHMQ_OK;
    check->census->spares = 1;
    check->census->bytes += result == SHMQ_OK ? check->segment.mapped_bytes : 0;
    return result;
}

int shmq_partition_verify(struct shmq_partition *partition, struct shmq_census *census, struct shmq_fail *fail) {
    struct check check = {.partition = partition, .census = census, .fail = fail, .expected_base = UINT64_MAX};
    *census = (struct shmq_census){0};
    uint64_t tail = 0;
    int result = shmq_guarded(look_at_start, &check, fail, partition->directory);
    if (result == SHMQ_OK)
        result = shmq_verify_ring(partition, &tail, &check.end, fail);
    if (result == SHMQ_OK)
        result = verify_entries(partition, fail);
    for (check.seq = tail; check.seq < check.end && result == SHMQ_OK; check.seq++) {
        result = shmq_segment_map_seq(partition, check.seq, &check.segment, fail);
        if (result == SHMQ_E_OUT_OF_RANGE) {
            check.expected_base = UINT64_MAX;
            result = SHMQ_OK;
            continue;
        }
        if (result == SHMQ_NOTHING)
            result = shmq_fail(fail, SHMQ_E_CORRUPT, partition->directory, "control: segment %" PRIu64 " is missing",
                               check.seq);
        if (result == SHMQ_OK)
            result = check_segment(&check);
    }
    bool is_end_known = tail == check.end || check.expected_base != UINT64_MAX;
    if (result == SHMQ_OK && is_end_known && check.start_offset > check.end_offset)
        result = check_control(&check, offsetof(struct shmq_control, configuration.start_offset),
                               "start_offset is beyond the end of the log");
    if (result == SHMQ_OK)
        result = check_spare(&check);
    shmq_segment_unmap(&check.segment);
    return result;
}
