#include "segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crc32c.h"
#include "fault.h"
#include "files.h"
#include "guard.h"

#define HEADER_BYTES offsetof(struct shmq_segment_header, max_timestamp) /* what never changes */

/* Behind the header's page and the journal, on the next page. */
static uint64_t data_pos_of(uint64_t journal_words) {
    return (SHMQ_PAGE_BYTES + 8 * journal_words + SHMQ_PAGE_BYTES - 1) / SHMQ_PAGE_BYTES * SHMQ_PAGE_BYTES;
}

struct shmq_geometry shmq_segment_geometry(uint64_t segment_bytes) {
    /* A word for each unit, so that the smallest records fill the data area, and one more for SEALED. */
    uint64_t units = (segment_bytes - 2 * SHMQ_PAGE_BYTES - 8) / (SHMQ_UNIT_BYTES + 8);
    uint64_t data_pos = data_pos_of(units + 1);
    return (struct shmq_geometry){(uint32_t)units + 1, (uint32_t)units, data_pos, data_pos + units * SHMQ_UNIT_BYTES};
}

static uint32_t seed_of(uint64_t incarnation, uint64_t base_offset) {
    uint64_t words[2] = {incarnation, base_offset};
    return shmq_crc32c(0, words, sizeof words);
}

static uint32_t header_crc(const struct shmq_segment_header *header) {
    return shmq_crc32c(0, header, offsetof(struct shmq_segment_header, header_crc));
}

static void attach(struct shmq_segment *segment, void *base, size_t bytes, const struct shmq_segment_header *header) {
    *segment = (struct shmq_segment){
        .header = base,
        .journal = {.words = (shmq_a64 *)((char *)base + SHMQ_PAGE_BYTES),
                    .length = header->journal_words,
                    .data_units = header->data_units,
                    .incarnation = header->incarnation},
        .data = (uint8_t *)base + header->data_pos,
        .mapped_bytes = bytes,
        .seq = header->seq,
        .base_offset = header->base_offset,
        .created_ms = header->created_ms,
        .crc = header->flags & SHMQ_FLAG_CRC,
        .crc_seed = seed_of(header->incarnation, header->base_offset),
    };
}

struct number {
    struct shmq_control *control;
    uint64_t incarnation;
};

static int take_number(void *argument) {
    struct number *call = argument;
    call->incarnation = SHMQ_SHARED("segment.number", shmq_fetch_add(&call->control->next_incarnation, 1)) + 1;
    return call->incarnation && call->incarnation <= SHMQ_MAX_INCARNATION ? SHMQ_OK : SHMQ_E_CORRUPT;
}

int shmq_segment_number(const struct shmq_partition *partition, uint64_t *incarnation, struct shmq_fail *fail) {
    struct number call = {.control = partition->ring.control};
    int result = shmq_guarded(take_number, &call, fail, partition->directory);
    *incarnation = call.incarnation;
    fail->pos = offsetof(struct shmq_control, next_incarnation);
    return result == SHMQ_E_CORRUPT ? shmq_fail(fail, result, partition->directory,
                                                "control: next_incarnation is beyond the last possible one")
                                    : result;
}

static struct shmq_segment_header new_header(const struct shmq_partition *partition, uint64_t seq,
                                             uint64_t incarnation, uint64_t base_offset, bool crc,
                                             const struct shmq_geometry *geometry) {
    struct shmq_segment_header header = {
        .version = SHMQ_LAYOUT_VERSION,
        .partition = partition->number,
        .flags = crc ? SHMQ_FLAG_CRC : 0,
        .topic_id = partition->topic_id,
        .incarnation = incarnation,
        .seq = seq,
        .base_offset = base_offset,
        .created_ms = shmq_wall_ms(),
        .journal_words = geometry->journal_words,
        .data_units = geometry->data_units,
        .data_pos = geometry->data_pos,
    };
    memcpy(header.magic, SHMQ_SEGMENT_MAGIC, sizeof header.magic);
    header.header_crc = header_crc(&header);
    return header;
}

int shmq_segment_create(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation,
                        uint64_t base_offset, uint64_t segment_bytes, bool crc, struct shmq_segment *segment,
                        struct shmq_fail *fail) {
    struct shmq_geometry geometry = shmq_segment_geometry(segment_bytes);
    char path[SHMQ_PATH_BYTES];
    shmq_segment_path(partition, seq, incarnation, path);
    void *base;
    SHMQ_FAULT("segment.create.before");
    int result = shmq_create_mapped(path, geometry.file_bytes, &base, fail);
    if (result != SHMQ_OK)
        return result;
    SHMQ_FAULT("segment.create.after");
    struct shmq_segment_header header = new_header(partition, seq, incarnation, base_offset, crc, &geometry);
    memcpy(base, &header, HEADER_BYTES);
    attach(segment, base, geometry.file_bytes, &header);
    shmq_journal_reset(&segment->journal);
    SHMQ_FAULT("segment.reset.after");
    return SHMQ_OK;
}

struct adoption {
    struct shmq_segment_header *mapped;
    struct shmq_segment_header header;
};

static int write_header(void *argument) {
    struct adoption *call = argument;
    memcpy(call->mapped, &call->header, HEADER_BYTES);
    return SHMQ_OK;
}

int shmq_segment_adopt(const struct shmq_partition *partition, uint64_t seq, uint64_t base_offset,
                       uint64_t segment_bytes, bool crc, struct shmq_segment *segment, struct shmq_fail *fail) {
    uint64_t incarnation = segment->journal.incarnation;
    struct shmq_geometry geometry = shmq_segment_geometry(segment_bytes);
    if (segment->mapped_bytes != geometry.file_bytes)
        return SHMQ_LOST;
    char from[SHMQ_PATH_BYTES], to[SHMQ_PATH_BYTES];
    shmq_segment_path(partition, SHMQ_SPARE_SEQ, incarnation, from);
    shmq_segment_path(partition, seq, incarnation, to);
    SHMQ_FAULT("segment.rename.before");
    if (rename(from, to) != 0)
        return errno == ENOENT ? SHMQ_LOST : shmq_fail_errno(fail, SHMQ_E_STORAGE, from, "rename", errno);
    SHMQ_FAULT("segment.rename.after");
    /* Written whole: what stands there may have changed since it was checked. */
    struct adoption call = {segment->header, new_header(partition, seq, incarnation, base_offset, crc, &geometry)};
    int result = shmq_guarded(write_header, &call, fail, to);
    if (result != SHMQ_OK) {
        unlink(to);
        return result;
    }
    SHMQ_FAULT("segment.adopt.after");
    attach(segment, segment->header, segment->mapped_bytes, &call.header);
    return SHMQ_OK;
}

struct header_look {
    const struct shmq_segment_header *mapped;
    struct shmq_segment_header header;
};

static int copy_header(void *argument) {
    struct header_look *look = argument;
    memcpy(&look->header, look->mapped, HEADER_BYTES);
    return SHMQ_OK;
}

static int check_header(const struct shmq_partition *partition, const struct shmq_segment_header *header, size_t bytes,
                        uint64_t seq, uint64_t incarnation, const char *path, struct shmq_fail *fail) {
    fail->pos = 0;
    if (header->header_crc != header_crc(header))
        return shmq_fail(fail, SHMQ_E_CORRUPT, path, "the header's checksum is wrong");
    if (header->topic_id != partition->topic_id || header->partition != partition->number || header->seq != seq ||
        header->incarnation != incarnation)
        return shmq_fail(fail, SHMQ_E_CORRUPT, path, "the header names another place: segment %" PRIu64
                         " of partition %u of topic id %016" PRIx64, header->seq, header->partition, header->topic_id);
    if (header->journal_words < 2 || header->data_units == 0 || header->data_units > SHMQ_MAX_UNITS ||
        header->data_pos != data_pos_of(header->journal_words) ||
        header->data_pos + (uint64_t)header->data_units * SHMQ_UNIT_BYTES != bytes)
        return shmq_fail(fail, SHMQ_E_CORRUPT, path, "%u journal words and %u data units do not fit %zu bytes",
                         header->journal_words, header->data_units, bytes);
    if (header->base_offset > (uint64_t)INT64_MAX - SHMQ_MAX_COUNT)
        return shmq_fail(fail, SHMQ_E_CORRUPT, path, "base_offset %" PRIu64 " is beyond the last possible offset",
                         header->base_offset);
    return SHMQ_OK;
}

int shmq_segment_map(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation,
                     struct shmq_segment *segment, struct shmq_fail *fail) {
    char path[SHMQ_PATH_BYTES];
    shmq_segment_path(partition, seq, incarnation, path);
    void *base;
    size_t bytes;
    int result = shmq_map_file(path, &base, &bytes, fail);
    if (result == SHMQ_E_STORAGE && fail->error_number == ENOENT)
        return SHMQ_LOST;
    if (result != SHMQ_OK)
        return result;
    struct header_look look = {.mapped = base};
    result = shmq_check_magic(path, base, bytes, SHMQ_SEGMENT_MAGIC, fail);
    if (result == SHMQ_OK)
        result = shmq_guarded(copy_header, &look, fail, path);
    if (result == SHMQ_OK)
        result = check_header(partition, &look.header, bytes, seq, incarnation, path, fail);
    if (result != SHMQ_OK) {
        munmap(base, bytes);
        return result;
    }
    shmq_segment_unmap(segment);
    attach(segment, base, bytes, &look.header);
    return SHMQ_OK;
}

void shmq_segment_unmap(struct shmq_segment *segment) {
    if (segment->header)
        munmap(segment->header, segment->mapped_bytes);
    segment->header = NULL;
}

/* Each lost try means that others have rolled, so this many in a row mean that the ring makes no sense. */
#define MAP_TRIES 1000

enum find { FIND_HEAD, FIND_TAIL, FIND_SEQ };

struct search {
    const struct shmq_partition *partition;
    enum find find;
    uint64_t seq, incarnation;
};

static int search(void *argument) {
    struct search *want = argument;
    const struct shmq_ring *ring = &want->partition->ring;
    if (shmq_partition_is_deleted(want->partition))
        return SHMQ_E_DELETED;
    if (want->find == FIND_HEAD)
        return shmq_ring_head(ring, &want->seq, &want->incarnation);
    if (want->find == FIND_TAIL)
        return shmq_ring_tail(ring, &want->seq, &want->incarnation);
    switch (shmq_ring_look(ring, want->seq, &want->incarnation)) {
    case SHMQ_SEQ_LIVE:
        return SHMQ_OK;
    case SHMQ_SEQ_FUTURE:
        return SHMQ_NOTHING;
    case SHMQ_SEQ_RETIRED:
        return SHMQ_E_OUT_OF_RANGE;
    default:
        return SHMQ_E_CORRUPT;
    }
}

static int find_and_map(const struct shmq_partition *partition, struct search *want, struct shmq_segment *segment,
                        struct shmq_fail *fail) {
    /* A segment may be retired between the look and the open; each turn then finds a newer one. */
    for (uint32_t tries = 0; tries < MAP_TRIES; tries++) {
        int result = shmq_guarded(search, want, fail, partition->directory);
        if (result == SHMQ_E_CORRUPT)
            return shmq_fail(fail, result, partition->directory, "the ring's words contradict each other");
        if (result != SHMQ_OK)
            return result;
        if (segment->header && segment->seq == want->seq && segment->journal.incarnation == want->incarnation)
            return SHMQ_OK;
        uint64_t incarnation = want->incarnation;
        result = shmq_segment_map(partition, want->seq, incarnation, segment, fail);
        if (result != SHMQ_LOST)
            return result;
        if (shmq_guarded(search, want, fail, partition->directory) == SHMQ_OK && want->incarnation == incarnation) {
            char path[SHMQ_PATH_BYTES];
            shmq_segment_path(partition, want->seq, incarnation, path);
            return shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "open", ENOENT);
        }
    }
    return shmq_fail(fail, SHMQ_E_CORRUPT, partition->directory, "the ring names segments faster than they can be opened");
}

int shmq_segment_map_head(const struct shmq_partition *partition, struct shmq_segment *segment,
                          struct shmq_fail *fail) {
    struct search want = {.partition = partition, .find = FIND_HEAD};
    return find_and_map(partition, &want, segment, fail);
}

int shmq_segment_map_tail(const struct shmq_partition *partition, struct shmq_segment *segment,
                          struct shmq_fail *fail) {
    struct search want = {.partition = partition, .find = FIND_TAIL};
    return find_and_map(partition, &want, segment, fail);
}

int shmq_segment_map_seq(const struct shmq_partition *partition, uint64_t seq, struct shmq_segment *segment,
                         struct shmq_fail *fail) {
    struct search want = {.partition = partition, .find = FIND_SEQ, .seq = seq};
    return find_and_map(partition, &want, segment, fail);
}
