/* Finding a place in the log: by offset, by time, and its two ends. */
#include "fault.h"
#include "files.h"
#include "guard.h"
#include "reader.h"
#include "retention.h"

/* Segments may be retired while we search; each time the search begins again at a later one. */
#define SEARCH_TRIES 1000

struct end {
    struct shmq_segment *segment;
    uint64_t offset;
};

static int contradiction(struct shmq_reader *reader) {
    reader->fail.pos = 0;
    return shmq_fail(&reader->fail, SHMQ_E_CORRUPT, reader->partition->directory,
                     "control and segments disagree on which offsets there are");
}

static int find_end(void *argument) {
    struct end *end = argument;
    struct shmq_journal *journal = &end->segment->journal;
    uint64_t before = shmq_journal_before(journal, shmq_journal_end(journal));
    end->offset = end->segment->base_offset + shmq_word_count(before);
    return SHMQ_OK;
}

struct start {
    const struct shmq_partition *partition;
    uint64_t offset;
};

static int find_start(void *argument) {
    struct start *start = argument;
    start->offset = shmq_start_offset(start->partition);
    return SHMQ_OK;
}

static int find_begin(struct shmq_reader *reader, uint64_t *begin, uint64_t *seq) {
    struct shmq_segment tail = {0};
    int result = shmq_segment_map_tail(reader->partition, &tail, &reader->fail);
    if (result == SHMQ_OK) {
        *begin = tail.base_offset;
        *seq = tail.seq;
    }
    shmq_segment_unmap(&tail);
    return result;
}

int shmq_reader_bounds(struct shmq_reader *reader, uint64_t *begin, uint64_t *end) {
    *begin = *end = 0;
    /* First, for the end cannot lie before it then. */
    struct start start = {.partition = reader->partition};
    int result = shmq_guarded(find_start, &start, &reader->fail, reader->partition->directory);
    if (result == SHMQ_OK)
        result = shmq_segment_map_head(reader->partition, &reader->head, &reader->fail);
    if (result == SHMQ_NOTHING)
        return start.offset ? contradiction(reader) : SHMQ_OK;
    struct end call = {.segment = &reader->head};
    if (result == SHMQ_OK)
        result = shmq_guarded(find_end, &call, &reader->fail, reader->partition->directory);
    shmq_segment_unpin(&reader->head); /* or its memory could not be used again until this reader looks once more */
    *end = call.offset;
    uint64_t tail_seq = 0;
    if (result == SHMQ_OK)
        result = find_begin(reader, begin, &tail_seq);
    bool contradict = (*begin > *end && tail_seq <= reader->head.seq) || start.offset > *end;
    if (result == SHMQ_NOTHING || (result == SHMQ_OK && contradict))
        return contradiction(reader);
    if (*begin < start.offset)
        *begin = start.offset;
    if (result != SHMQ_OK || *begin <= *end)
        return result;
    *end = *begin; /* the log moved on between the two looks */
    return SHMQ_OK;
}

/* Map the segment that holds `offset`: the last one whose base is not beyond it. */
static int find_segment(struct shmq_reader *reader, uint64_t offset, struct shmq_segment *segment) {
    const struct shmq_partition *partition = reader->partition;
    int result = shmq_segment_map_head(partition, segment, &reader->fail);
    if (result != SHMQ_OK || offset >= segment->base_offset)
        return result;
    uint64_t above = segment->seq;
    result = shmq_segment_map_tail(partition, segment, &reader->fail);
    if (result != SHMQ_OK)
        return result;
    if (offset < segment->base_offset)
        return SHMQ_E_OUT_OF_RANGE;
    uint64_t below = segment->seq; /* its base is not beyond the offset */
    while (below + 1 < above) {
        uint64_t middle = below + (above - below) / 2;
        result = shmq_segment_map_seq(partition, middle, segment, &reader->fail);
        if (result != SHMQ_OK)
            return result == SHMQ_E_OUT_OF_RANGE ? SHMQ_LOST : result;
        if (segment->base_offset <= offset)
            below = middle;
        else
            above = middle;
    }
    result = shmq_segment_map_seq(partition, below, segment, &reader->fail);
    return result == SHMQ_E_OUT_OF_RANGE ? SHMQ_LOST : result;
}

struct place {
    struct shmq_segment *segment;
    uint64_t offset, before;
    uint32_t index;
};

static int find_word(void *argument) {
    struct place *place = argument;
    struct shmq_journal *journal = &place->segment->journal;
    uint64_t count = place->offset - place->segment->base_offset;
    if (count > SHMQ_MAX_COUNT)
        return SHMQ_E_OUT_OF_RANGE;
    place->index = shmq_journal_find(journal, (uint32_t)count);
    place->before = shmq_journal_before(journal, place->index);
    if (place->index == shmq_journal_end(journal) && count > shmq_word_count(place->before))
        return SHMQ_E_OUT_OF_RANGE;
    return SHMQ_OK;
}

int shmq_reader_stand_within(struct shmq_reader *reader, uint64_t offset) {
    struct shmq_journal *journal = &reader->segment.journal;
    if (offset < reader->segment.base_offset)
        return SHMQ_LOST;
    uint64_t count = offset - reader->segment.base_offset, most = SHMQ_MAX_COUNT;
    /* Mostly every batch is one record; then the word is as far ahead as the offset. */
    uint64_t guess = reader->index + (offset - reader->next_offset);
    bool found = guess > 0 && guess < journal->hint && shmq_word_count(shmq_journal_before(journal, (uint32_t)guess)) == count;
    uint32_t index = found ? (uint32_t)guess : shmq_journal_find(journal, (uint32_t)(count < most ? count : most));
    shmq_reader_stand_at(reader, index, shmq_journal_before(journal, index));
    reader->next_offset = reader->aborted_from = offset > reader->next_offset ? offset : reader->next_offset;
    return SHMQ_OK;
}

/* LOST: it is in range now; search again. */
static int out_of_range(struct shmq_reader *reader, uint64_t offset) {
    uint64_t begin, end;
    int result = shmq_reader_bounds(reader, &begin, &end);
    if (result != SHMQ_OK)
        return result;
    reader->fail.wanted = offset;
    reader->fail.limit = begin;
    reader->fail.limit2 = end;
    return offset < begin || offset > end ? SHMQ_E_OUT_OF_RANGE : SHMQ_LOST;
}

static int search(struct shmq_reader *reader, struct place *place) {
    struct start start = {.partition = reader->partition};
    int result = shmq_guarded(find_start, &start, &reader->fail, reader->partition->directory);
    if (result == SHMQ_OK && place->offset < start.offset)
        result = SHMQ_E_OUT_OF_RANGE;
    if (result == SHMQ_OK)
        result = find_segment(reader, place->offset, place->segment);
    if (result == SHMQ_OK)
        result = shmq_guarded(find_word, place, &reader->fail, reader->partition->directory);
    if (result == SHMQ_E_OUT_OF_RANGE || (result == SHMQ_NOTHING && place->offset))
        result = out_of_range(reader, place->offset);
    return result;
}

int shmq_reader_seek(struct shmq_reader *reader, uint64_t offset) {
    struct shmq_segment segment = {0};
    struct place place = {.segment = &segment, .offset = offset};
    int result = SHMQ_LOST;
    for (uint32_t tries = 0; result == SHMQ_LOST && tries < SEARCH_TRIES; tries++)
        result = search(reader, &place);
    if (result == SHMQ_OK) {
        shmq_segment_unmap(&reader->segment);
        reader->segment = segment;
        shmq_reader_stand_at(reader, place.index, place.before);
        reader->next_offset = reader->aborted_from = offset;
        shmq_reader_settle(reader);
        return SHMQ_OK;
    }
    shmq_segment_unmap(&segment);
    if (result != SHMQ_NOTHING)
        return result == SHMQ_LOST ? contradiction(reader) : result;
    shmq_segment_unmap(&reader->segment); /* offset 0 of an empty log */
    shmq_reader_stand_at(reader, 0, 0);
    reader->next_offset = reader->aborted_from = 0;
    return SHMQ_OK;
}

/* From the word that holds `offset` on, over the aborted ones. SEALED: up to the end of the segment. */
static int pass_aborted(void *argument) {
    struct place *place = argument;
    int result = find_word(place);
    while (result == SHMQ_OK || result == SHMQ_LOST) {
        struct shmq_entry entry;
        result = shmq_journal_read(&place->segment->journal, place->index, place->before, &entry);
        if (result != SHMQ_LOST)
            return result;
        place->before = entry.word;
        place->index++;
        place->offset = place->segment->base_offset + entry.end_count;
    }
    return result;
}

uint64_t shmq_reader_settled(struct shmq_reader *reader, uint64_t offset) {
    if (offset >= reader->aborted_from || !reader->segment.header)
        return offset < reader->next_offset ? reader->next_offset : offset;
    struct shmq_segment other = {0};
    struct place place = {.segment = &reader->segment, .offset = offset};
    int result = SHMQ_OK;
    if (offset < reader->segment.base_offset) {
        place.segment = &other;
        result = search(reader, &place);
    }
    while (result == SHMQ_OK) {
        result = shmq_guarded(pass_aborted, &place, &reader->fail, reader->partition->directory);
        if (result != SHMQ_SEALED || place.segment == &reader->segment)
            break;
        place.segment = other.seq + 1 == reader->segment.seq ? &reader->segment : &other;
        result = place.segment == &other
                     ? shmq_segment_map_seq(reader->partition, other.seq + 1, &other, &reader->fail)
                     : SHMQ_OK;
    }
    shmq_segment_unmap(&other);
    return place.offset < reader->next_offset ? place.offset : reader->next_offset;
}

/* Jump over segments that end before that time; NOTHING behind the last one. Once for each: within the first batch
 * `index` is 0 as well, and to look for the newest time may be to look through all of it. */
static int skip_old_segments(struct shmq_reader *reader, int64_t timestamp_ms) {
    while (reader->segment.header && reader->index == 0 && !reader->in_batch) {
        int result;
        uint64_t max = shmq_segment_max_timestamp(reader->partition, &reader->segment, &result, &reader->fail);
        if (result != SHMQ_OK)
            return result;
        if (max > (uint64_t)timestamp_ms)
            return SHMQ_OK;
        result = shmq_segment_map_seq(reader->partition, reader->segment.seq + 1, &reader->segment, &reader->fail);
        if (result == SHMQ_OK)
            shmq_reader_stand_at(reader, 0, 0);
        else if (result == SHMQ_E_OUT_OF_RANGE)
            result = shmq_reader_pass_by(reader);
        if (result != SHMQ_OK)
            return result;
    }
    return SHMQ_OK;
}

int shmq_reader_find_time(struct shmq_reader *reader, int64_t timestamp_ms, struct shmq_view *found) {
    for (;;) {
        uint32_t count;
        int result = skip_old_segments(reader, timestamp_ms);
        if (result == SHMQ_OK)
            result = shmq_reader_fetch(reader, found, 1, UINT64_MAX, &count);
        if (result != SHMQ_OK || found->timestamp_ms >= timestamp_ms)
            return result;
    }
}
