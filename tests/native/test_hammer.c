/* Threads hammer a log in one shared mapping: producers append and roll, a healer aborts claims at random, readers
 * follow and check every record. BUILD: asan tsan */
#include <pthread.h>

#include "hammer.h"

#define PRODUCERS 3u

struct record {
    uint32_t producer, number, bytes;
    unsigned char fill[];
};

static uint32_t records; /* of each producer */
static uint64_t *acknowledged[PRODUCERS];              /* the offset that the producer was told */
static uint64_t *delivered[HAMMER_READERS][PRODUCERS]; /* the offset that each reader saw */

static unsigned char fill_of(uint32_t producer, uint32_t number) {
    return (unsigned char)(producer * 71 + number * 13 + 1);
}

static void write_record(unsigned char *to, uint32_t producer, uint32_t number, uint32_t bytes) {
    struct record *record = (struct record *)to;
    *record = (struct record){producer, number, bytes};
    memset(record->fill, fill_of(producer, number), bytes);
}

/* Sometimes long enough for the healer to strike. */
static void dawdle(uint64_t *seed) {
    if (check_random(seed) % 32 == 0)
        for (uint64_t turns = check_random(seed) % 8; turns; turns--)
            sched_yield();
}

static void append(struct hammer_handle *handle, uint32_t producer, uint32_t number, uint64_t *seed) {
    uint32_t bytes = (uint32_t)(check_random(seed) % 200), units;
    units = ((uint32_t)sizeof(struct record) + bytes + SHMQ_UNIT_BYTES - 1) / SHMQ_UNIT_BYTES;
    for (;;) {
        struct shmq_claim claim;
        int result = SHMQ_ROLL;
        if (handle->file)
            result = shmq_journal_claim(&handle->journal, shmq_owner(producer, 1), units, 1, &claim);
        CHECK(result >= 0);
        if (result != SHMQ_OK) {
            handle->finished = handle->journal.incarnation;
            hammer_roll(handle);
            continue;
        }
        write_record(handle->file->data + claim.start_pos * SHMQ_UNIT_BYTES, producer, number, bytes);
        dawdle(seed);
        if (shmq_journal_commit(&handle->journal, &claim) == SHMQ_OK) {
            acknowledged[producer][number] = handle->base_offset + claim.first_count;
            hammer_ring_bells();
            return;
        }
    }
}

static void *produce(void *argument) {
    uint32_t producer = (uint32_t)(uintptr_t)argument;
    uint64_t seed = producer + 1;
    struct hammer_handle handle = {0};
    for (uint32_t number = 0; number < records; number++)
        append(&handle, producer, number, &seed);
    return NULL;
}

static void *heal(void *unused) {
    uint64_t seed = 99, seq, incarnation;
    struct hammer_handle handle = {0};
    while (!shmq_load_acquire(&hammer->stop)) {
        sched_yield();
        if (shmq_ring_head(&hammer_ring, &seq, &incarnation) != SHMQ_OK)
            continue;
        hammer_map(&handle, seq, incarnation);
        uint32_t end = shmq_journal_end(&handle.journal);
        uint32_t index = end ? end - 1 - (uint32_t)(check_random(&seed) % (end < 3 ? end : 3)) : 0;
        uint64_t word = shmq_load_acquire(&handle.journal.words[index]);
        if (shmq_word_state(word) == SHMQ_CLAIMED && check_random(&seed) % 2 &&
            shmq_journal_abort(&handle.journal, index, word) == SHMQ_OK)
            shmq_fetch_add(&hammer->aborted, 1);
    }
    return unused;
}

struct place {
    struct hammer_handle handle;
    uint64_t next_seq, before, offset;
    uint32_t index, next[PRODUCERS];
    unsigned reader;
};

static bool has_news(void *argument) {
    struct place *place = argument;
    uint64_t incarnation;
    if (!place->handle.file)
        return shmq_ring_look(&hammer_ring, place->next_seq, &incarnation) != SHMQ_SEQ_FUTURE;
    return shmq_word_state(shmq_load_acquire(&place->handle.journal.words[place->index])) != SHMQ_EMPTY;
}

static void check_record(struct place *place, const struct shmq_entry *entry) {
    const struct record *record =
        (const struct record *)(place->handle.file->data + entry->start_pos * SHMQ_UNIT_BYTES);
    CHECK(record->producer < PRODUCERS);
    CHECK_EQUAL(record->number, place->next[record->producer]);
    CHECK(sizeof(*record) + record->bytes <= (entry->end_pos - entry->start_pos) * SHMQ_UNIT_BYTES);
    for (uint32_t at = 0; at < record->bytes; at++)
        CHECK_EQUAL(record->fill[at], fill_of(record->producer, record->number));
    delivered[place->reader][record->producer][record->number] = place->handle.base_offset + entry->first_count;
    place->next[record->producer]++;
}

static void follow(struct place *place) {
    uint64_t incarnation;
    enum shmq_seq_state state = shmq_ring_look(&hammer_ring, place->next_seq, &incarnation);
    CHECK(state == SHMQ_SEQ_LIVE || state == SHMQ_SEQ_FUTURE);
    if (state == SHMQ_SEQ_FUTURE) {
        hammer_sleep(place->reader, has_news, place);
        return;
    }
    hammer_map(&place->handle, place->next_seq++, incarnation);
    CHECK_EQUAL(place->handle.base_offset, place->offset);
    place->index = 0;
    place->before = 0;
}

static void *read_all(void *argument) {
    struct place place = {.reader = (unsigned)(uintptr_t)argument};
    for (uint64_t seen = 0; seen < (uint64_t)PRODUCERS * records;) {
        struct shmq_entry entry;
        if (!place.handle.file) {
            follow(&place);
            continue;
        }
        int result = shmq_journal_read(&place.handle.journal, place.index, place.before, &entry);
        CHECK(result >= 0);
        if (result == SHMQ_PENDING) {
            sched_yield();
        } else if (result == SHMQ_NOTHING) {
            hammer_sleep(place.reader, has_news, &place);
        } else if (result == SHMQ_SEALED) {
            place.handle = (struct hammer_handle){0};
            shmq_store_release(&hammer->passed[place.reader], place.next_seq);
        } else {
            if (result == SHMQ_OK) {
                check_record(&place, &entry);
                seen++;
            }
            place.before = entry.word;
            place.index++;
            place.offset = place.handle.base_offset + entry.end_count;
        }
    }
    shmq_store_release(&hammer->passed[place.reader], UINT64_MAX);
    return NULL;
}

static void begin(void) {
    hammer_begin();
    for (unsigned producer = 0; producer < PRODUCERS; producer++) {
        acknowledged[producer] = calloc(records, sizeof(uint64_t));
        for (unsigned reader = 0; reader < HAMMER_READERS; reader++)
            delivered[reader][producer] = calloc(records, sizeof(uint64_t));
    }
}

static void end(void) {
    uint64_t seq, incarnation;
    for (unsigned producer = 0; producer < PRODUCERS; producer++) {
        for (unsigned reader = 0; reader < HAMMER_READERS; reader++) {
            CHECK(memcmp(acknowledged[producer], delivered[reader][producer], records * sizeof(uint64_t)) == 0);
            free(delivered[reader][producer]);
        }
        for (uint32_t number = 1; number < records; number++)
            CHECK(acknowledged[producer][number - 1] < acknowledged[producer][number]);
        free(acknowledged[producer]);
    }
    CHECK_EQUAL(shmq_ring_head(&hammer_ring, &seq, &incarnation), SHMQ_OK);
    fprintf(stderr, "    %u records, %" PRIu64 " segments, %" PRIu64 " claims aborted\n", PRODUCERS * records, seq + 1,
            shmq_load_acquire(&hammer->aborted));
    CHECK(seq > 100);
    hammer_end();
}

static void hammer_once(void) {
    pthread_t producers[PRODUCERS], readers[HAMMER_READERS], healer;
    begin();
    for (uintptr_t producer = 0; producer < PRODUCERS; producer++)
        CHECK_EQUAL(pthread_create(&producers[producer], NULL, produce, (void *)producer), 0);
    for (uintptr_t reader = 0; reader < HAMMER_READERS; reader++)
        CHECK_EQUAL(pthread_create(&readers[reader], NULL, read_all, (void *)reader), 0);
    CHECK_EQUAL(pthread_create(&healer, NULL, heal, NULL), 0);
    for (unsigned producer = 0; producer < PRODUCERS; producer++)
        pthread_join(producers[producer], NULL);
    for (unsigned reader = 0; reader < HAMMER_READERS; reader++)
        pthread_join(readers[reader], NULL);
    shmq_store_release(&hammer->stop, 1);
    pthread_join(healer, NULL);
    end();
}

static void every_record_arrives_once_in_order_and_unbroken(void) {
    records = 30000;
    for (unsigned round = 0; round < (check_long() ? 100 : 3); round++)
        hammer_once();
}

TESTS(TEST(every_record_arrives_once_in_order_and_unbroken));
