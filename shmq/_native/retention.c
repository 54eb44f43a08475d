#include "retention.h"

#include <unistd.h>

#include "batch.h"
#include "doorbell.h"
#include "fault.h"
#include "files.h"
#include "guard.h"
#include "prepare.h"
#include "reader.h"
#include "waiters.h"

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
        /* PAIR options: these two never change. */
        .reuse = shmq_load_relaxed(&words->reuse) != 0,
        .item_bytes = clamp(shmq_load_relaxed(&words->item_bytes), 0, SHMQ_MAX_SEGMENT_BYTES / 4),
    };
    return options;
}

/* Give up the claim `entry` at `index` if its owner is dead: no reader may ever come by. */
static bool settle(const struct shmq_process *process, struct shmq_journal *journal, uint32_t index, uint64_t word) {
    return shmq_owner_life(process, shmq_word_owner(word)) != SHMQ_LIFE_ALIVE &&
           shmq_journal_abort(journal, index, word) == SHMQ_OK;
}

/* Raise `max` to the largest timestamp + 1 of a committed batch. NOTHING, or E_CORRUPT. */
static int look_through(const struct shmq_segment *segment, const struct shmq_entry *entry, uint64_t *max) {
    struct shmq_batch_cursor cursor;
    struct shmq_view view;
    const char *what;
    int result = shmq_batch_open(segment, entry, false, &cursor, &what);
    while (result == SHMQ_OK && (result = shmq_batch_next(&cursor, &view, &what)) == SHMQ_OK)
        if (view.timestamp_ms >= 0 && (uint64_t)view.timestamp_ms + 1 > *max)
            *max = (uint64_t)view.timestamp_ms + 1;
    return result;
}

struct max_look {
    const struct shmq_process *process;
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
        if (result == SHMQ_PENDING && settle(look->process, &segment->journal, index, entry.word))
            result = SHMQ_LOST;
        if (result == SHMQ_SEALED)
            break;
        if (result == SHMQ_NOTHING || result == SHMQ_PENDING)
            return look->max = INT64_MAX, SHMQ_OK;
        before = entry.word;
        if (result == SHMQ_LOST)
            continue;
        if (result == SHMQ_OK)
            result = look_through(segment, &entry, &max);
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
    struct max_look look = {.process = partition->process, .segment = segment};
    *result = shmq_guarded(find_max, &look, fail, partition->directory);
    if (*result == SHMQ_E_CORRUPT)
        shmq_fail(fail, *result, partition->directory, "a batch of segment %llu breaks the format",
                  (unsigned long long)segment->seq);
    return look.max;
}

struct room {
    const struct shmq_partition *partition;
    uint64_t next_seq, seq, incarnation; /* behind the newest segment; the oldest one */
    uint64_t start_offset, retired;
    struct shmq_options options;
    struct shmq_segment next; /* after `seq`, where it matters */
    struct shmq_retired *left; /* NULL: every file is removed */
    uint64_t lost;
    uint32_t spares;
    bool only_self, ask_again, wake;
    uint64_t woken[SHMQ_MAX_SLOTS / 64]; /* filled if `wake` */
};

static int look_at_tail(void *argument) {
    struct room *room = argument;
    room->options = shmq_options_now(room->partition);
    room->start_offset = shmq_start_offset(room->partition);
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
    int result = shmq_ring_retire(&room->partition->ring, room->seq, room->incarnation);
    room->wake = result == SHMQ_OK && shmq_waiters_wake(&room->partition->ring.control->producers_waiting, room->woken);
    return result;
}

static int retire(struct room *room, struct shmq_fail *fail) {
    int result = shmq_guarded(take_out, room, fail, room->partition->directory);
    if (result != SHMQ_OK)
        return result == SHMQ_LOST ? SHMQ_OK : result;
    room->retired++;
    struct shmq_retired file = {true, room->seq, room->incarnation};
    if (room->left && room->options.reuse && !room->left->some)
        *room->left = file;
    else
        shmq_reuse_drop(room->partition, &file);
    if (room->wake)
        shmq_doorbell_ring_all(room->partition->process, room->woken);
    return SHMQ_OK;
}

/* Are all records of the oldest segment below start_offset? */
static bool is_deleted(struct room *room, struct shmq_fail *fail) {
    return room->start_offset && shmq_segment_map_seq(room->partition, room->seq + 1, &room->next, fail) == SHMQ_OK &&
           room->next.base_offset <= room->start_offset;
}

/* Has retention_ms passed since the file was made? One that is younger is not even looked into: records with old
 * timestamps stay for retention_ms after they were appended. */
static bool is_old(const struct room *room, const struct shmq_segment *segment) {
    return room->options.retention == SHMQ_RETENTION_DELETE && room->options.retention_ms != UINT64_MAX &&
           segment->created_ms + room->options.retention_ms <= shmq_wall_ms();
}

/* Has it passed for the whole oldest segment, by its records' timestamps, too? */
static bool is_expired(const struct room *room, struct shmq_segment *tail, struct shmq_fail *fail) {
    if (room->options.retention != SHMQ_RETENTION_DELETE || room->options.retention_ms == UINT64_MAX)
        return false;
    int result = shmq_segment_map_tail(room->partition, tail, fail);
    if (result != SHMQ_OK || tail->seq != room->seq || !is_old(room, tail))
        return false;
    uint64_t max = shmq_segment_max_timestamp(room->partition, tail, &result, fail);
    /* What cannot be read is not thrown away for its age. */
    return result == SHMQ_OK && max < INT64_MAX && max + room->options.retention_ms <= shmq_wall_ms();
}

/* Retire the oldest segments: those that are deleted or expired, and those that must go for `more` of them to fit.
 * With retention "consumed" none goes for that unless `must`, and then readers are asked: FULL. Never the newest. */
static int trim(struct room *room, uint32_t more, bool must, struct shmq_fail *fail) {
    struct shmq_segment tail = {0};
    int result;
    while ((result = look(room, fail)) == SHMQ_OK && room->seq + 1 < room->next_seq) {
        const struct shmq_options *options = &room->options;
        uint64_t most = clamp(options->retention_bytes / options->segment_bytes, 2, room->partition->ring.slots - 1);
        bool fits = room->next_seq - room->seq + more <= most;
        bool consumed = options->retention == SHMQ_RETENTION_CONSUMED;
        if (!is_deleted(room, fail)) {
            if (fits ? !is_expired(room, &tail, fail) : consumed && !must)
                break;
            result = consumed ? ask_all(room, fail) : SHMQ_OK;
            if (result == SHMQ_LOST)
                continue;
        }
        shmq_segment_unpin(&tail); /* it goes, and its memory may be wanted */
        if (result != SHMQ_OK || (result = retire(room, fail)) != SHMQ_OK)
            break;
    }
    shmq_segment_unmap(&tail);
    shmq_segment_unmap(&room->next);
    return result == SHMQ_NOTHING ? SHMQ_OK : result;
}

int shmq_retention_make_room(const struct shmq_partition *partition, uint64_t next_seq, bool *only_self,
                             struct shmq_retired *left, struct shmq_fail *fail) {
    struct room room = {.partition = partition, .next_seq = next_seq, .left = left};
    int result = trim(&room, 1, true, fail);
    *only_self = result == SHMQ_FULL && room.only_self;
    return result;
}

struct raise {
    const struct shmq_partition *partition;
    uint64_t offset;
};

static int raise_start(void *argument) {
    const struct raise *call = argument;
    shmq_a64 *start = &call->partition->ring.control->configuration.start_offset;
    uint64_t now = shmq_load_relaxed(start); /* PAIR start: a value that is too old makes the CAS fail */
    while (now < call->offset && !SHMQ_SHARED("start.raise", shmq_cas(start, &now, call->offset))) {
    }
    return SHMQ_OK;
}

struct last_look {
    const struct room *room;
    struct shmq_segment segment;
    uint64_t end_offset, expired_ms;
};

/* NOTHING: a record that is not deleted is younger, or not yet there. OK: `end_offset` follows them all. From the end on,
 * since most logs have their youngest record there. */
static int find_young(void *argument) {
    struct last_look *look = argument;
    struct shmq_journal *journal = &look->segment.journal;
    uint32_t end = shmq_journal_end(journal);
    look->end_offset = look->segment.base_offset + shmq_word_count(shmq_journal_before(journal, end));
    for (uint32_t index = end; index-- > 0;) {
        struct shmq_entry entry;
        uint64_t max = 0;
        int result = shmq_journal_read(journal, index, shmq_journal_before(journal, index), &entry);
        if (result == SHMQ_SEALED || result == SHMQ_LOST)
            continue;
        if (result >= 0 && look->segment.base_offset + entry.end_count <= look->room->start_offset)
            break;
        if (result == SHMQ_PENDING && settle(look->room->partition->process, journal, index, entry.word))
            continue;
        if (result == SHMQ_OK)
            result = look_through(&look->segment, &entry, &max);
        if (result != SHMQ_NOTHING || max > look->expired_ms)
            return result < 0 ? result : SHMQ_NOTHING;
    }
    return look->end_offset > look->room->start_offset ? SHMQ_OK : SHMQ_NOTHING;
}

/* The newest segment stays, but its records do not outlive retention_ms: if all have expired they are deleted. */
static int expire_newest(const struct room *room, struct shmq_fail *fail) {
    struct last_look look = {.room = room};
    int result = shmq_segment_map_seq(room->partition, room->seq, &look.segment, fail);
    if (result == SHMQ_OK && is_old(room, &look.segment)) {
        look.expired_ms = shmq_wall_ms() - room->options.retention_ms;
        result = shmq_guarded(find_young, &look, fail, room->partition->directory);
        struct raise call = {room->partition, look.end_offset};
        if (result == SHMQ_OK)
            result = shmq_guarded(raise_start, &call, fail, room->partition->directory);
    }
    shmq_segment_unmap(&look.segment);
    return result == SHMQ_E_DELETED ? result : SHMQ_OK; /* what cannot be read is not thrown away for its age */
}

static int look_at_head(void *argument) {
    struct room *room = argument;
    uint64_t incarnation;
    if (shmq_partition_is_deleted(room->partition))
        return SHMQ_E_DELETED;
    room->spares = shmq_prepare_count(room->partition);
    int result = shmq_ring_head(&room->partition->ring, &room->next_seq, &incarnation);
    room->next_seq++;
    return result;
}

int shmq_retention_apply(const struct shmq_partition *partition, uint64_t *retired, struct shmq_fail *fail) {
    struct room room = {.partition = partition};
    *retired = 0;
    int result = shmq_guarded(look_at_head, &room, fail, partition->directory);
    if (result == SHMQ_NOTHING)
        return SHMQ_OK;
    if (result == SHMQ_E_CORRUPT)
        return contradiction(&room, fail);
    if (result == SHMQ_OK)
        result = trim(&room, room.spares, false, fail);
    *retired = room.retired;
    /* With a segment before it that stays, so do the records of the newest one: what is deleted is the log's beginning. */
    return result == SHMQ_OK && room.seq + 1 == room.next_seq ? expire_newest(&room, fail) : result;
}

int shmq_retention_delete(struct shmq_partition *partition, uint64_t before_offset, uint64_t *begin,
                          struct shmq_fail *fail) {
    struct shmq_reader reader;
    uint64_t end, retired;
    shmq_reader_init(&reader, partition, false);
    int result = shmq_reader_bounds(&reader, begin, &end);
    struct raise call = {partition, before_offset == SHMQ_TO_THE_END ? end : before_offset};
    if (result == SHMQ_OK && call.offset > end) {
        fail->wanted = call.offset;
        fail->limit = *begin;
        fail->limit2 = end;
        shmq_reader_close(&reader);
        return shmq_fail(fail, SHMQ_E_OUT_OF_RANGE, partition->directory, "there are no such records");
    }
    if (result == SHMQ_OK)
        result = shmq_guarded(raise_start, &call, &reader.fail, partition->directory);
    if (result == SHMQ_OK)
        result = shmq_retention_apply(partition, &retired, &reader.fail);
    if (result == SHMQ_OK)
        result = shmq_reader_bounds(&reader, begin, &end);
    if (result != SHMQ_OK)
        *fail = reader.fail;
    shmq_reader_close(&reader);
    return result;
}
