#include "retention.h"

#include <unistd.h>

#include "batch.h"
#include "fault.h"
#include "files.h"
#include "guard.h"
#include "readers.h"

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high) {
    return value < low ? low : value > high ? high : value;
}

struct shmq_options shmq_options_now(const struct shmq_partition *partition) {
    const struct shmq_configuration *words = &partition->ring.control->configuration;
    /* PAIR options: each word stands for itself. */
    struct shmq_options options = {
        .segment_bytes =
            clamp(shmq_load_relaxed(&words->segment_bytes), SHMQ_MIN_SEGMENT_BYTES, SHMQ_MAX_SEGMENT_BYTES),
        .retention_bytes = shmq_load_relaxed(&words->retention_bytes),
        .retention_ms = shmq_load_relaxed(&words->retention_ms),
        .retention = shmq_load_relaxed(&words->retention),
        .max_message_bytes = shmq_load_relaxed(&words->max_message_bytes),
        .crc = shmq_load_relaxed(&words->crc),
        .timestamp_type = shmq_load_relaxed(&words->timestamp_type),
        .claim_timeout_ms = clamp(shmq_load_relaxed(&words->claim_timeout_ms), 1, 3600000),
    };
    return options;
}

struct max_look {
    struct shmq_segment *segment;
    uint64_t max;
};

/* Every batch of a settled segment. Timestamps need not rise (CreateTime), so all are looked at. */
static int find_max(void *argument) {
    struct max_look *look = argument;
    struct shmq_segment *segment = look->segment;
    /* PAIR max: everybody who computes it computes the same number from words that never change again. */
    look->max = shmq_load_relaxed(&segment->header->max_timestamp);
    if (look->max)
        return SHMQ_OK;
    uint64_t before = 0, max = 0;
    for (uint32_t index = 0;; index++) {
        struct shmq_entry entry;
        int result = shmq_journal_read(&segment->journal, index, before, &entry);
        if (result == SHMQ_SEALED)
            break;
        if (result == SHMQ_NOTHING || result == SHMQ_PENDING)
            return look->max = INT64_MAX, SHMQ_OK;
        before = entry.word;
        if (result == SHMQ_LOST)
            continue;
        struct shmq_batch_cursor cursor;
        struct shmq_view view;
        const char *what;
        if (result == SHMQ_OK)
            result = shmq_batch_open(segment, &entry, false, &cursor, &what);
        while (result == SHMQ_OK && (result = shmq_batch_next(&cursor, &view, &what)) == SHMQ_OK)
            if (view.timestamp_ms >= 0 && (uint64_t)view.timestamp_ms + 1 > max)
                max = (uint64_t)view.timestamp_ms + 1;
        if (result != SHMQ_NOTHING)
            return result;
    }
    look->max = max;
    if (max)
        SHMQ_SHARED("segment.max_timestamp", shmq_store_relaxed(&segment->header->max_timestamp, max)); /* PAIR max */
    return SHMQ_OK;
}

uint64_t shmq_segment_max_timestamp(const struct shmq_partition *partition, struct shmq_segment *segment, int *result,
                                    struct shmq_fail *fail) {
    struct max_look look = {.segment = segment};
    *result = shmq_guarded(find_max, &look, fail, partition->directory);
    if (*result == SHMQ_E_CORRUPT)
        shmq_fail(fail, *result, partition->directory, "a batch of segment %llu breaks the format",
                  (unsigned long long)segment->seq);
    return look.max;
}

struct room {
    const struct shmq_partition *partition;
    uint64_t next_seq, seq, incarnation;
    struct shmq_options options;
    struct shmq_segment next; /* after `seq`, where a group asks for it */
    uint64_t lost;
    bool only_self, ask_again;
};

static int look_at_tail(void *argument) {
    struct room *room = argument;
    room->options = shmq_options_now(room->partition);
    return shmq_ring_tail(&room->partition->ring, &room->seq, &room->incarnation);
}

static int contradiction(const struct room *room, struct shmq_fail *fail) {
    return shmq_fail(fail, SHMQ_E_CORRUPT, room->partition->directory, "the ring's words contradict each other");
}

static int look(struct room *room, struct shmq_fail *fail) {
    int result = shmq_guarded(look_at_tail, room, fail, room->partition->directory);
    return result == SHMQ_E_CORRUPT ? contradiction(room, fail) : result;
}

static int ask_readers(void *argument) {
    struct room *room = argument;
    uint64_t next_base = room->next.header && room->next.seq == room->seq + 1 ? room->next.base_offset : UINT64_MAX;
    return shmq_readers_passed((struct shmq_partition *)room->partition, room->seq, next_base, &room->only_self,
                               &room->ask_again);
}

/* Has everybody gone past the oldest segment? OK or FULL; LOST: it went meanwhile. Groups hold by offset, so their answer
 * needs the segment after it, which is mapped only where there are groups. */
static int ask_all(struct room *room, struct shmq_fail *fail) {
    int result = shmq_guarded(ask_readers, room, fail, room->partition->directory);
    if (result != SHMQ_FULL || !room->ask_again)
        return result;
    result = shmq_segment_map_seq(room->partition, room->seq + 1, &room->next, fail);
    if (result == SHMQ_OK)
        return shmq_guarded(ask_readers, room, fail, room->partition->directory);
    if (result == SHMQ_NOTHING || (result == SHMQ_E_OUT_OF_RANGE && room->lost == room->seq + 1))
        return contradiction(room, fail);
    room->lost = room->seq + 1; /* if it is the oldest still when looked at again, it did not go */
    return result == SHMQ_E_OUT_OF_RANGE ? SHMQ_LOST : result;
}

static int take_out(void *argument) {
    struct room *room = argument;
    return shmq_ring_retire(&room->partition->ring, room->seq, room->incarnation);
}

static int retire(struct room *room, struct shmq_fail *fail) {
    int result = shmq_guarded(take_out, room, fail, room->partition->directory);
    if (result != SHMQ_OK)
        return result == SHMQ_LOST ? SHMQ_OK : result;
    char path[SHMQ_PATH_BYTES];
    shmq_segment_path(room->partition, room->seq, room->incarnation, path);
    SHMQ_FAULT("segment.unlink.before");
    unlink(path); /* if it fails the file is an orphan, for shmq_partition_clean() */
    SHMQ_FAULT("segment.unlink.after");
    return SHMQ_OK;
}

/* Has retention_ms passed for the whole oldest segment, by its records' timestamps? A file younger than that is not even
 * looked into: records with old timestamps stay for retention_ms after they were appended. */
static bool is_expired(struct room *room, struct shmq_segment *tail, struct shmq_fail *fail) {
    if (room->options.retention_ms == UINT64_MAX)
        return false;
    int result = shmq_segment_map_tail(room->partition, tail, fail);
    if (result != SHMQ_OK || tail->seq != room->seq || tail->created_ms + room->options.retention_ms > shmq_wall_ms())
        return false;
    uint64_t max = shmq_segment_max_timestamp(room->partition, tail, &result, fail);
    /* What cannot be read is not thrown away for its age. */
    return result == SHMQ_OK && max < INT64_MAX && max + room->options.retention_ms <= shmq_wall_ms();
}

int shmq_retention_make_room(const struct shmq_partition *partition, uint64_t next_seq, bool *only_self,
                             struct shmq_fail *fail) {
    struct room room = {.partition = partition, .next_seq = next_seq};
    struct shmq_segment tail = {0};
    int result;
    while ((result = look(&room, fail)) == SHMQ_OK) {
        uint64_t most = clamp(room.options.retention_bytes / room.options.segment_bytes, 2, partition->ring.slots - 1);
        uint64_t live = next_seq - room.seq; /* without the new one */
        if (room.seq + 1 >= next_seq)
            break; /* the newest stays */
        if (live < most && !(room.options.retention == SHMQ_RETENTION_DELETE && is_expired(&room, &tail, fail)))
            break;
        result = room.options.retention == SHMQ_RETENTION_CONSUMED ? ask_all(&room, fail) : SHMQ_OK;
        if (result == SHMQ_LOST)
            continue;
        if (result != SHMQ_OK || (result = retire(&room, fail)) != SHMQ_OK)
            break;
    }
    shmq_segment_unmap(&tail);
    shmq_segment_unmap(&room.next);
    *only_self = result == SHMQ_FULL && room.only_self;
    return result == SHMQ_NOTHING ? SHMQ_OK : result;
}
