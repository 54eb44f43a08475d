#include "appender.h"

#include <string.h>

#include "doorbell.h"
#include "fault.h"
#include "files.h"
#include "guard.h"
#include "retention.h"
#include "waiters.h"

struct append {
    struct shmq_appender *appender;
    struct shmq_row *rows;    /* NULL: items */
    struct shmq_items *items;
    uint32_t count;
    uint64_t bytes;
    struct shmq_appended *appended;
    struct shmq_claim claim;
    bool claimed, wake;
    uint64_t woken[SHMQ_MAX_SLOTS / 64]; /* filled if `wake` */
};

static uint64_t largest_of(const struct shmq_row *rows, uint32_t count) {
    uint64_t largest = 0;
    for (uint32_t row = 0; row < count; row++) {
        uint64_t bytes = (rows[row].key_bytes > 0 ? (uint64_t)rows[row].key_bytes : 0) +
                         (rows[row].value_bytes > 0 ? (uint64_t)rows[row].value_bytes : 0) + rows[row].headers_bytes;
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

/* A2, for a single record. */
static int check_record(struct shmq_appender *appender, uint64_t largest) {
    /* PAIR options: each word stands for itself. */
    uint64_t limit = shmq_load_relaxed(&appender->partition->ring.control->configuration.max_message_bytes);
    if (__builtin_expect(largest <= limit, 1))
        return SHMQ_OK;
    appender->fail.wanted = largest;
    appender->fail.limit = limit;
    return shmq_fail(&appender->fail, SHMQ_E_TOO_LARGE, appender->partition->directory, "max_message_bytes");
}

/* A2, for the batch: a new segment is wanted; would it fit one? ROLL, or E_TOO_LARGE. */
static int check_batch(struct shmq_appender *appender, uint64_t bytes, uint32_t count) {
    struct shmq_options options = shmq_options_now(appender->partition);
    struct shmq_geometry geometry = shmq_segment_geometry(&options);
    uint64_t room = (uint64_t)geometry.data_units * SHMQ_UNIT_BYTES;
    if (bytes <= room && count <= SHMQ_MAX_COUNT)
        return SHMQ_ROLL;
    appender->fail.wanted = bytes;
    appender->fail.limit = room;
    return shmq_fail(&appender->fail, SHMQ_E_TOO_LARGE, appender->partition->directory, "segment_bytes");
}

static void stamp(struct append *append, bool log_append_time) {
    int64_t now = -1;
    if (!append->rows) {
        if (log_append_time || append->items->timestamp_ms < 0)
            append->items->timestamp_ms = (int64_t)shmq_wall_ms();
        return;
    }
    for (uint32_t row = 0; row < append->count; row++)
        if (log_append_time || append->rows[row].timestamp_ms < 0)
            append->rows[row].timestamp_ms = now >= 0 ? now : (now = (int64_t)shmq_wall_ms());
}

/* How many records this segment may have, so that no more than max_items lie untaken. Once true, that stays true. */
static uint32_t most_within(const struct shmq_appender *appender) {
    uint64_t limit = shmq_window_taken(appender->window) + appender->window->max_items;
    uint64_t base = appender->segment.base_offset;
    limit = limit > appender->limit ? limit : appender->limit;
    if (limit <= base)
        return 0;
    return limit - base < SHMQ_MAX_COUNT ? (uint32_t)(limit - base) : SHMQ_MAX_COUNT;
}

/* Items that cannot be appended where they lie. */
static void copy_instead(struct append *append) {
    append->items->incarnation = 0;
    append->bytes = append->appender->wanted_bytes = shmq_items_bytes(append->items);
}

/* May items in place be appended in this segment? Their checksum is taken before the claim, so that readers wait for none. */
static void look_at_place(struct append *append) {
    struct shmq_items *items = append->items;
    const struct shmq_segment *segment = &append->appender->segment;
    if (!items->incarnation)
        return;
    if (!segment->header || segment->journal.incarnation != items->incarnation)
        copy_instead(append);
    else if (segment->crc && !items->summed)
        items->crc = shmq_items_crc(segment, items->unit, (uint64_t)items->count * items->item_bytes);
    items->summed = true;
}

static uint64_t largest_in(const struct append *append) {
    return append->rows ? largest_of(append->rows, append->count)
                        : (uint64_t)append->items->item_bytes + append->items->largest_key;
}

static void write_batch(const struct append *append, bool log_append_time) {
    const struct shmq_appender *appender = append->appender;
    const struct shmq_segment *segment = &appender->segment;
    const struct shmq_claim *claim = &append->claim;
    uint8_t *data = segment->data + (uint64_t)claim->start_pos * SHMQ_UNIT_BYTES;
    uint8_t attributes = log_append_time ? SHMQ_ATTRIBUTE_LOG_APPEND_TIME : 0;
    uint32_t seed = shmq_batch_seed(segment, claim->first_count);
    if (append->rows)
        shmq_batch_write(data, append->rows, append->count, append->bytes, appender->attempt, attributes, segment->crc, seed);
    else
        shmq_items_write(data, append->items, append->bytes, appender->attempt, attributes, segment->crc, seed);
}

bool shmq_appender_was_left(const struct shmq_appender *appender) {
    uint64_t incarnation;
    const struct shmq_segment *segment = &appender->segment;
    return shmq_ring_look(&appender->partition->ring, segment->seq, &incarnation) != SHMQ_SEQ_LIVE ||
           incarnation != segment->journal.incarnation;
}

static int append_guarded(void *argument) {
    struct append *append = argument;
    struct shmq_appender *appender = append->appender;
    struct shmq_segment *segment = &appender->segment;
    const struct shmq_configuration *words = &appender->partition->ring.control->configuration;
    if (shmq_partition_is_deleted(appender->partition))
        return SHMQ_E_DELETED;
    int result = check_record(appender, largest_in(append));
    if (result != SHMQ_OK)
        return result;
    if (!append->rows)
        look_at_place(append);
    if (!segment->header) {
        appender->finished = 0;
        return check_batch(appender, append->bytes, append->count);
    }
    bool log_append_time = shmq_load_relaxed(&words->timestamp_type) != 0; /* PAIR options */
    stamp(append, log_append_time);
    struct shmq_claim *claim = &append->claim;
    uint32_t most_count = appender->window ? most_within(appender) : SHMQ_MAX_COUNT;
    uint64_t units = shmq_batch_units(append->bytes); /* more than 32 bits if a length is out of range: no fit */
    result = shmq_journal_claim_within(&segment->journal, appender->partition->process->owner,
                                       units <= UINT32_MAX ? (uint32_t)units : UINT32_MAX, append->count, most_count, claim);
    if (__builtin_expect(result != SHMQ_OK, 0) && shmq_appender_was_left(appender))
        result = SHMQ_SEALED; /* what the journal said may be of another segment in the same memory */
    if (result == SHMQ_E_CORRUPT) {
        appender->fail.pos = SHMQ_PAGE_BYTES + 8 * (uint64_t)claim->index;
        return result;
    }
    appender->beyond = result == SHMQ_FULL;
    if (result == SHMQ_FULL)
        return result;
    if (result != SHMQ_OK) {
        if (!append->rows && append->items->incarnation)
            copy_instead(append);
        appender->finished = segment->journal.incarnation;
        return check_batch(appender, append->bytes, append->count);
    }
    append->appended->base_offset = segment->base_offset + claim->first_count;
    append->appended->timestamp_ms = append->rows ? append->rows->timestamp_ms : append->items->timestamp_ms;
    append->claimed = true;
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* for give_up(): a fault may end the copy */
    write_batch(append, log_append_time);
    SHMQ_FAULT("append.copied");
    result = shmq_journal_commit(&segment->journal, claim);
    if (result != SHMQ_OK)
        return result;
    append->wake = shmq_waiters_wake(&appender->partition->ring.control->readers_waiting, append->woken);
    return SHMQ_OK;
}

/* A page could not be had between claim and return: readers need not wait for this batch. OK: it was committed before. */
static int give_up(void *argument) {
    struct append *append = argument;
    const struct shmq_claim *claim = &append->claim;
    struct shmq_journal *journal = &append->appender->segment.journal;
    if (shmq_journal_abort(journal, claim->index, claim->word) == SHMQ_OK)
        return SHMQ_E_STORAGE;
    uint64_t word = shmq_journal_before(journal, claim->index + 1);
    return word == shmq_word_with_state(claim->word, SHMQ_COMMITTED) ? SHMQ_OK : SHMQ_E_STORAGE;
}

int shmq_appender_fail_corrupt(struct shmq_appender *appender) {
    struct shmq_segment *segment = &appender->segment;
    shmq_segment_path(appender->partition, segment->seq, segment->journal.incarnation, appender->fail.path);
    return shmq_fail(&appender->fail, SHMQ_E_CORRUPT, appender->fail.path, "a journal word breaks the format");
}

int shmq_append(struct shmq_appender *appender, struct shmq_row *rows, struct shmq_items *items, uint32_t count,
                struct shmq_appended *appended) {
    struct append append; /* member by member: `woken` needs no zeros */
    append.appender = appender;
    append.rows = rows;
    append.items = items;
    append.count = count;
    append.bytes = rows ? shmq_batch_bytes(rows, count) : shmq_items_bytes(items);
    append.appended = appended;
    append.wake = false;
    appender->wanted_bytes = append.bytes;
    for (;;) {
        append.claimed = false;
        int result = shmq_guarded(append_guarded, &append, &appender->fail, appender->partition->directory);
        if (result == SHMQ_E_STORAGE && append.claimed)
            result = shmq_guarded(give_up, &append, &appender->fail, appender->partition->directory);
        if (result == SHMQ_LOST) {
            /* We were taken for dead. Nobody has read the batch: append it again, with a lock that is ours. */
            appender->aborted++;
            result = shmq_process_renew(appender->partition->process, &appender->fail);
            if (result != SHMQ_OK)
                return result;
            if (++appender->attempt < appender->attempts)
                continue;
            result = SHMQ_E_ABORTED;
        }
        if (append.wake)
            shmq_doorbell_ring_all(appender->partition->process, append.woken);
        if (result != SHMQ_ROLL)
            appender->attempt = 0;
        return result == SHMQ_E_CORRUPT ? shmq_appender_fail_corrupt(appender) : result;
    }
}

struct reserve {
    struct shmq_appender *appender;
    uint32_t count;
    uint64_t item_bytes, bytes; /* bytes: of a batch with these items */
    struct shmq_claim claim;
};

static int reserve_guarded(void *argument) {
    struct reserve *reserve = argument;
    struct shmq_appender *appender = reserve->appender;
    struct shmq_segment *segment = &appender->segment;
    if (shmq_partition_is_deleted(appender->partition))
        return SHMQ_E_DELETED;
    int result = check_record(appender, reserve->item_bytes);
    if (result != SHMQ_OK)
        return result;
    if (!segment->header) {
        appender->finished = 0;
        return check_batch(appender, reserve->bytes, reserve->count);
    }
    uint64_t units = shmq_batch_units(reserve->bytes) - 1;
    result = shmq_journal_reserve(&segment->journal, appender->partition->process->owner,
                                  units <= UINT32_MAX ? (uint32_t)units : UINT32_MAX, &reserve->claim);
    if (result == SHMQ_OK)
        return result;
    if (result == SHMQ_E_CORRUPT && !shmq_appender_was_left(appender)) {
        appender->fail.pos = SHMQ_PAGE_BYTES + 8 * (uint64_t)reserve->claim.index;
        return result;
    }
    appender->finished = segment->journal.incarnation;
    return check_batch(appender, reserve->bytes, reserve->count);
}

int shmq_reserve(struct shmq_appender *appender, uint32_t count, uint64_t item_bytes, struct shmq_reservation *reservation) {
    struct reserve reserve = {.appender = appender, .count = count, .item_bytes = item_bytes};
    struct shmq_segment *segment = &appender->segment;
    bool fits = item_bytes <= INT32_MAX && (uint64_t)count * item_bytes <= INT32_MAX - SHMQ_UNIT_BYTES;
    reserve.bytes = appender->wanted_bytes = fits ? SHMQ_UNIT_BYTES + (uint64_t)count * item_bytes : UINT64_MAX;
    appender->beyond = false;
    /* Kept before it is reserved, and a segment that was used again until then takes no reservation any more (J6). */
    struct shmq_mapping *mapping =
        segment->header ? shmq_segment_keep(appender->partition, segment, &appender->fail) : NULL;
    if (segment->header && !mapping) {
        appender->finished = segment->journal.incarnation;
        return SHMQ_ROLL; /* it is no longer in the log */
    }
    int result = shmq_guarded(reserve_guarded, &reserve, &appender->fail, appender->partition->directory);
    if (result == SHMQ_OK) {
        *reservation = (struct shmq_reservation){segment->journal.incarnation, reserve.claim.start_pos,
                                                 segment->data + (uint64_t)reserve.claim.start_pos * SHMQ_UNIT_BYTES, mapping};
        SHMQ_FAULT("reserve.kept");
        return result;
    }
    if (mapping)
        shmq_mapping_let_go(mapping);
    return result == SHMQ_E_CORRUPT ? shmq_appender_fail_corrupt(appender) : result;
}

void shmq_appender_close(struct shmq_appender *appender) {
    shmq_segment_unmap(&appender->segment);
}
