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

struct shmq_geometry shmq_segment_geometry(const struct shmq_options *options) {
    /* A word for each batch, so that the smallest ones fill the data area; two for each where the space for one may be
     * reserved first; and one more for SEALED. Never so few that a batch which fits finds no word. */
    uint64_t batch_units = options->item_bytes / SHMQ_UNIT_BYTES / 2;
    batch_units = batch_units ? batch_units : 1;
    uint64_t bytes = options->segment_bytes - 2 * SHMQ_PAGE_BYTES - 8;
    uint64_t units = bytes * batch_units / (SHMQ_UNIT_BYTES * batch_units + 8);
    uint64_t words = units / batch_units + 1 > 3 ? units / batch_units + 1 : 3;
    uint64_t data_pos = data_pos_of(words);
    return (struct shmq_geometry){(uint32_t)words, (uint32_t)units, data_pos, data_pos + units * SHMQ_UNIT_BYTES};
}

static uint32_t seed_of(uint64_t incarnation, uint64_t base_offset) {
    uint64_t words[2] = {incarnation, base_offset};
    return shmq_crc32c(0, words, sizeof words);
}

static uint32_t header_crc(const struct shmq_segment_header *header) {
    return shmq_crc32c(0, header, offsetof(struct shmq_segment_header, header_crc));
}

/* Takes over one use of the mapping, and its pin if there is one. */
static void attach(const struct shmq_partition *partition, struct shmq_segment *segment, struct shmq_mapping *mapping,
                   bool pinned, const struct shmq_segment_header *header) {
    char *base = (char *)mapping->header;
    *segment = (struct shmq_segment){
        .header = mapping->header,
        .mapping = mapping,
        .pinned = pinned,
        .reuse = header->flags & SHMQ_FLAG_REUSE,
        .journal = {.words = (shmq_a64 *)(base + SHMQ_PAGE_BYTES),
                    .length = header->journal_words,
                    .data_units = header->data_units,
                    .incarnation = header->incarnation},
        .data = (uint8_t *)base + header->data_pos,
        .mapped_bytes = mapping->bytes,
        .seq = header->seq,
        .base_offset = header->base_offset,
        .created_ms = header->created_ms,
        .crc = header->flags & SHMQ_FLAG_CRC,
        .crc_seed = seed_of(header->incarnation, header->base_offset),
    };
    if (segment->reuse)
        shmq_cache_put(partition->cache, mapping, header->seq, header->incarnation, &partition->ring);
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
                                             uint64_t incarnation, uint64_t base_offset,
                                             const struct shmq_options *options) {
    struct shmq_geometry geometry = shmq_segment_geometry(options);
    struct shmq_segment_header header = {
        .version = SHMQ_LAYOUT_VERSION,
        .partition = partition->number,
        .flags = (options->crc ? SHMQ_FLAG_CRC : 0) | (options->reuse ? SHMQ_FLAG_REUSE : 0),
        .topic_id = partition->topic_id,
        .incarnation = incarnation,
        .seq = seq,
        .base_offset = base_offset,
        .created_ms = shmq_wall_ms(),
        .journal_words = geometry.journal_words,
        .data_units = geometry.data_units,
        .data_pos = geometry.data_pos,
    };
    memcpy(header.magic, SHMQ_SEGMENT_MAGIC, sizeof header.magic);
    header.header_crc = header_crc(&header);
    return header;
}

static int no_memory(struct shmq_fail *fail, const char *path) {
    return shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "calloc", ENOMEM);
}

int shmq_segment_create(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation,
                        uint64_t base_offset, const struct shmq_options *options, struct shmq_segment *segment,
                        struct shmq_fail *fail) {
    char path[SHMQ_PATH_BYTES];
    shmq_segment_path(partition, seq, incarnation, path);
    size_t bytes = shmq_segment_geometry(options).file_bytes;
    void *base;
    SHMQ_FAULT("segment.create.before");
    int result = shmq_create_mapped(path, bytes, &base, fail);
    if (result != SHMQ_OK)
        return result;
    SHMQ_FAULT("segment.create.after");
    struct shmq_mapping *mapping = shmq_mapping_new(base, bytes);
    if (!mapping) {
        unlink(path);
        return no_memory(fail, path);
    }
    struct shmq_segment_header header = new_header(partition, seq, incarnation, base_offset, options);
    memcpy(base, &header, HEADER_BYTES);
    attach(partition, segment, mapping, false, &header);
    shmq_journal_reset(&segment->journal);
    SHMQ_FAULT("segment.reset.after");
    return SHMQ_OK;
}

struct rewriting {
    struct shmq_segment_header *mapped;
    struct shmq_segment_header header;
    struct shmq_journal *journal; /* to be reset; NULL: it is already */
};

/* Who has the file mapped from an earlier life looks at what comes before the incarnation, which is the same in each, and at
 * the incarnation. The rest is for who finds this segment in the ring. */
static int rewrite(void *argument) {
    struct rewriting *call = argument;
    const size_t before = offsetof(struct shmq_segment_header, incarnation), after = before + sizeof call->header.incarnation;
    if (!call->journal)
        memcpy(call->mapped, &call->header, before);
    memcpy((char *)call->mapped + after, (char *)&call->header + after, HEADER_BYTES - after);
    /* PAIR max: seen by others only through the CAS that publishes the segment. */
    SHMQ_SHARED("segment.renew_max", shmq_store_relaxed(&call->mapped->max_timestamp, 0));
    /* PAIR incarnation: shmq_cache_find(). */
    SHMQ_SHARED("segment.renew", shmq_store_relaxed(shmq_incarnation_of(call->mapped), call->header.incarnation));
    if (call->journal)
        shmq_journal_reset(call->journal);
    return SHMQ_OK;
}

/* Give the mapped file, which is the caller's alone and is called `from`, a new name and header. */
static int rename_and_rewrite(const struct shmq_partition *partition, struct shmq_segment *segment, const char *from,
                              const struct shmq_segment_header *header, bool reset, struct shmq_fail *fail) {
    char to[SHMQ_PATH_BYTES];
    shmq_segment_path(partition, header->seq, header->incarnation, to);
    SHMQ_FAULT("segment.rename.before");
    if (rename(from, to) != 0)
        return errno == ENOENT ? SHMQ_LOST : shmq_fail_errno(fail, SHMQ_E_STORAGE, from, "rename", errno);
    SHMQ_FAULT("segment.rename.after");
    struct shmq_journal journal = segment->journal;
    journal.incarnation = header->incarnation;
    /* Written whole: what stands there may have changed since it was checked. */
    struct rewriting call = {segment->header, *header, reset ? &journal : NULL};
    int result = shmq_guarded(rewrite, &call, fail, to);
    if (result != SHMQ_OK) {
        unlink(to);
        return result;
    }
    SHMQ_FAULT("segment.adopt.after");
    attach(partition, segment, segment->mapping, segment->pinned, header);
    return SHMQ_OK;
}

int shmq_segment_adopt(const struct shmq_partition *partition, uint64_t seq, uint64_t base_offset,
                       const struct shmq_options *options, struct shmq_segment *segment, struct shmq_fail *fail) {
    if (segment->mapped_bytes != shmq_segment_geometry(options).file_bytes)
        return SHMQ_LOST;
    struct shmq_segment_header header = new_header(partition, seq, segment->journal.incarnation, base_offset, options);
    char from[SHMQ_PATH_BYTES];
    shmq_segment_path(partition, SHMQ_SPARE_SEQ, segment->journal.incarnation, from);
    return rename_and_rewrite(partition, segment, from, &header, false, fail);
}

int shmq_segment_renew(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation, uint64_t base_offset,
                       const struct shmq_options *options, struct shmq_segment *segment, struct shmq_fail *fail) {
    struct shmq_segment_header header = new_header(partition, seq, incarnation, base_offset, options);
    char from[SHMQ_PATH_BYTES];
    shmq_segment_path(partition, segment->seq, segment->journal.incarnation, from);
    return rename_and_rewrite(partition, segment, from, &header, true, fail);
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

/* What may be read before it is pinned: the same in each life of a file. */
static int copy_flags(void *argument) {
    struct header_look *look = argument;
    look->header.flags = *(const volatile uint32_t *)&look->mapped->flags;
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

struct naming {
    const struct shmq_ring *ring;
    uint64_t seq, incarnation;
};

static int is_named(void *argument) {
    const struct naming *look = argument;
    uint64_t incarnation;
    bool named = shmq_ring_look(look->ring, look->seq, &incarnation) == SHMQ_SEQ_LIVE && incarnation == look->incarnation;
    return named ? SHMQ_OK : SHMQ_LOST;
}

/* LOST: the ring does not name this very file, so that the pin does not hold. */
static int pin(const struct shmq_partition *partition, struct shmq_mapping *mapping, uint64_t seq, uint64_t incarnation,
               struct shmq_fail *fail) {
    struct naming look = {&partition->ring, seq, incarnation};
    int result = shmq_mapping_pin(mapping, partition->process, fail);
    if (result == SHMQ_OK && (result = shmq_guarded(is_named, &look, fail, partition->directory)) != SHMQ_OK)
        shmq_mapping_unpin(mapping);
    return result;
}

/* The file, mapped: that which is mapped already, or by its name. */
static int find_file(const struct shmq_partition *partition, const char *path, uint64_t incarnation,
                     struct shmq_mapping **mapping, struct shmq_fail *fail) {
    *mapping = shmq_cache_find(partition->cache, incarnation, fail);
    if (*mapping)
        return SHMQ_OK;
    void *base;
    size_t bytes;
    int result = shmq_map_file(path, &base, &bytes, fail);
    if (result != SHMQ_OK)
        return result == SHMQ_E_STORAGE && fail->error_number == ENOENT ? SHMQ_LOST : result;
    *mapping = shmq_mapping_new(base, bytes);
    return *mapping ? SHMQ_OK : no_memory(fail, path);
}

/* `own`: the caller has retired it, or it is a spare: no pin is needed, or possible. */
static int map_file(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation, bool own,
                    struct shmq_segment *segment, struct shmq_fail *fail) {
    char path[SHMQ_PATH_BYTES];
    shmq_segment_path(partition, seq, incarnation, path);
    struct shmq_mapping *mapping;
    int result = find_file(partition, path, incarnation, &mapping, fail);
    if (result != SHMQ_OK)
        return result;
    struct header_look look = {.mapped = mapping->header};
    result = shmq_check_magic(path, mapping->header, mapping->bytes, SHMQ_SEGMENT_MAGIC, fail);
    if (result == SHMQ_OK)
        result = shmq_guarded(copy_flags, &look, fail, path);
    bool pinned = false;
    if (result == SHMQ_OK && !own && look.header.flags & SHMQ_FLAG_REUSE) {
        result = pin(partition, mapping, seq, incarnation, fail);
        pinned = result == SHMQ_OK;
    }
    if (result == SHMQ_OK)
        result = shmq_guarded(copy_header, &look, fail, path);
    if (result == SHMQ_OK)
        result = check_header(partition, &look.header, mapping->bytes, seq, incarnation, path, fail);
    if (result != SHMQ_OK) {
        if (pinned)
            shmq_mapping_unpin(mapping);
        shmq_mapping_release(mapping);
        return result;
    }
    shmq_segment_unmap(segment);
    attach(partition, segment, mapping, pinned, &look.header);
    return SHMQ_OK;
}

int shmq_segment_map(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation,
                     struct shmq_segment *segment, struct shmq_fail *fail) {
    return map_file(partition, seq, incarnation, seq == SHMQ_SPARE_SEQ, segment, fail);
}

int shmq_segment_map_own(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation,
                         struct shmq_segment *segment, struct shmq_fail *fail) {
    return map_file(partition, seq, incarnation, true, segment, fail);
}

void shmq_segment_unpin(struct shmq_segment *segment) {
    if (segment->header && segment->pinned)
        shmq_mapping_unpin(segment->mapping);
    segment->pinned = false;
}

void shmq_segment_unmap(struct shmq_segment *segment) {
    if (!segment->header)
        return;
    shmq_segment_unpin(segment);
    shmq_mapping_release(segment->mapping);
    segment->header = NULL;
}

int shmq_segment_pin_again(const struct shmq_partition *partition, struct shmq_segment *segment, struct shmq_fail *fail) {
    int result = pin(partition, segment->mapping, segment->seq, segment->journal.incarnation, fail);
    segment->pinned = result == SHMQ_OK;
    return result;
}

struct shmq_mapping *shmq_segment_keep(const struct shmq_partition *partition, const struct shmq_segment *segment,
                                       struct shmq_fail *fail) {
    struct shmq_mapping *mapping = segment->mapping;
    int result = SHMQ_OK;
    if (segment->pinned)
        result = shmq_mapping_pin(mapping, partition->process, fail); /* one more of those that hold the same pin */
    else if (segment->reuse)
        result = pin(partition, mapping, segment->seq, segment->journal.incarnation, fail);
    if (result != SHMQ_OK)
        return NULL;
    shmq_mapping_hold(mapping);
    return mapping;
}
