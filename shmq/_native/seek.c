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

static int find_end(void *argument) {
    struct end *end = argument;
    struct shmq_journal *journal = &end->segment->journal;
    uint64_t before = shmq_journal_before(journal, shmq_journal_end(journal));
    end->offset = end->segment->base_offset + shmq_word_count(before);
    return SHMQ_OK;
}

static int find_begin(struct shmq_reader *reader, uint64_t *begin) {
    struct shmq_segment tail = {0};
    int result = shmq_segment_map_tail(reader->partition, &tail, &reader->fail);
    if (result == SHMQ_OK)
        *begin = tail.base_offset;
    shmq_segment_unmap(&tail);
    return result;
}

int shmq_reader_bounds(struct shmq_reader *reader, uint64_t *begin, uint64_t *end) {
    *begin = *end = 0;
    int result = shmq_segment_map_head(reader->partition, &reader->head, &reader->fail);
    if (result == SHMQ_NOTHING)
        return SHMQ_OK;
    struct end call = {.segment = &reader->head};
    if (result == SHMQ_OK)
        result = shmq_guarded(find_end, &call, &reader->fail, reader->partition->directory);
    *end = call.offset;
    if (result == SHMQ_OK)
        result = find_begin(reader, begin);
    if (result == SHMQ_OK && *begin > *end)
        *end = *begin; /* the log moved on between the two looks */
    return result;
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

static int out_of_range(struct shmq_reader *reader, uint64_t offset) {
    uint64_t begin, end;
    int result = shmq_reader_bounds(reader, &begin, &end);
    if (result != SHMQ_OK)
        return result;
    reader->fail.wanted = offset;
    reader->fail.limit = begin;
    reader->fail.limit2 = end;
    return SHMQ_E_OUT_OF_RANGE;
}

int shmq_reader_seek(struct shmq_reader *reader, uint64_t offset) {
    struct shmq_segment segment = {0};
    int result = SHMQ_LOST;
    for (uint32_t tries = 0; result == SHMQ_LOST && tries < SEARCH_TRIES; tries++)
        result = find_segment(reader, offset, &segment);
    struct place place = {.segment = &segment, .offset = offset};
    if (result == SHMQ_OK)
        result = shmq_guarded(find_word, &place, &reader->fail, reader->partition->directory);
    if (result == SHMQ_OK) {
        shmq_segment_unmap(&reader->segment);
        reader->segment = segment;
        shmq_reader_stand_at(reader, place.index, place.before);
        reader->next_offset = offset;
        return SHMQ_OK;
    }
    shmq_segment_unmap(&segment);
    if (result == SHMQ_NOTHING && offset == 0) {
        shmq_segment_unmap(&reader->segment);
        shmq_reader_stand_at(reader, 0, 0);
        reader->next_offset = 0;
        return SHMQ_OK;
    }
    return result == SHMQ_NOTHING || result == SHMQ_E_OUT_OF_RANGE ? out_of_range(reader, offset) : result;
}

/* Jump over segments that end before that time; NOTHING behind the last one. */
static int skip_old_segments(struct shmq_reader *reader, int64_t timestamp_ms) {
    while (reader->segment.header && reader->index == 0) {
        int result;
        uint64_t max = shmq_segment_max_timestamp(reader->partition, &reader->segment, &result, &reader->fail);
        if (result != SHMQ_OK)
            return result;
        if (max > (uint64_t)timestamp_ms)
            return SHMQ_OK;
        result = shmq_segment_map_seq(reader->partition, reader->segment.seq + 1, &reader->segment, &reader->fail);
        if (result != SHMQ_OK)
            return result;
        shmq_reader_stand_at(reader, 0, 0);
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
