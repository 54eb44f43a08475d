/* Threads hammer a partition of real files that are used again and again: producers roll every few milliseconds, readers
 * follow, heal wrongly, and keep views for later; none may ever see a byte of another record. BUILD: asan tsan */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "appender.h"
#include "check.h"
#include "crc32c.h"
#include "files.h"
#include "reader.h"

#define PRODUCERS 2u
#define READERS 2u
#define KEPT 3u
#define MOST_BYTES 3000u
#define INSTANCE 7u
#define TOPIC 9u

struct record {
    uint32_t producer, number, bytes, crc; /* crc: of what follows */
    unsigned char fill[MOST_BYTES];
};

struct view {
    struct shmq_mapping *mapping; /* NULL: none */
    const struct record *record;
    uint32_t crc;
};

static char directory[] = "/dev/shm/test-reuse-XXXXXX";
static struct shmq_process *process;
static shmq_a64 stop, received, aborted, reused;
static uint32_t records; /* of each producer */

static struct shmq_partition *open_partition(void) {
    struct shmq_partition *partition = NULL;
    struct shmq_fail fail;
    CHECK_EQUAL(shmq_partition_open(process, directory, TOPIC, 0, &partition, &fail), SHMQ_OK);
    return partition;
}

static void begin(uint64_t segment_bytes, uint64_t segments) {
    char path[SHMQ_PATH_BYTES];
    struct shmq_fail fail;
    strcpy(directory + sizeof directory - 7, "XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    snprintf(path, sizeof path, "%s/procs", directory);
    CHECK_EQUAL(shmq_procs_create(path, INSTANCE, 4, &fail), SHMQ_OK);
    snprintf(path, sizeof path, "%s/procs.lock", directory);
    FILE *lock = fopen(path, "w");
    CHECK(lock && fclose(lock) == 0);
    CHECK_EQUAL(shmq_process_open(directory, INSTANCE, &process, &fail), SHMQ_OK);
    struct shmq_options options = {.segment_bytes = segment_bytes,
                                   .retention_bytes = segments * segment_bytes,
                                   .retention_ms = UINT64_MAX,
                                   .max_message_bytes = segment_bytes / 2,
                                   .claim_timeout_ms = 1000,
                                   .reuse = 1};
    snprintf(path, sizeof path, "%s/control", directory);
    CHECK_EQUAL(shmq_control_create(path, TOPIC, 0, 16, &options, &fail), SHMQ_OK);
}

static void end(void) {
    char command[SHMQ_PATH_BYTES];
    shmq_process_close(process);
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    CHECK_EQUAL(system(command), 0);
}

static void append(struct shmq_appender *appender, struct record *record) {
    struct shmq_row row = {.value = record,
                           .value_bytes = (int64_t)(offsetof(struct record, fill) + record->bytes),
                           .key_bytes = -1,
                           .timestamp_ms = 1};
    struct shmq_appended appended;
    for (;;) {
        int result = shmq_append(appender, &row, NULL, 1, &appended);
        if (result == SHMQ_OK)
            return;
        if (result == SHMQ_ROLL)
            result = shmq_appender_roll(appender);
        CHECK(result == SHMQ_OK || result == SHMQ_E_ABORTED); /* thrice taken for dead: again */
    }
}

static void *produce(void *argument) {
    uint32_t producer = (uint32_t)(uintptr_t)argument;
    uint64_t seed = producer + 1;
    struct shmq_appender appender = {.partition = open_partition(), .attempts = SHMQ_APPEND_ATTEMPTS};
    static __thread struct record record;
    for (uint32_t number = 0; number < records; number++) {
        record.producer = producer;
        record.number = number;
        record.bytes = (uint32_t)(check_random(&seed) % MOST_BYTES);
        memset(record.fill, (int)(check_random(&seed) & 0xff), record.bytes);
        record.crc = shmq_crc32c(0, record.fill, record.bytes);
        append(&appender, &record);
    }
    shmq_appender_close(&appender);
    shmq_partition_close(appender.partition);
    return NULL;
}

static void let_go(struct view *view) {
    if (!view->mapping)
        return;
    CHECK_EQUAL(view->record->crc, view->crc);
    CHECK_EQUAL(shmq_crc32c(0, view->record->fill, view->record->bytes), view->crc);
    shmq_mapping_let_go(view->mapping);
    view->mapping = NULL;
}

/* Everything that was read is whole, and of one producer in order. */
static void check(const struct shmq_view *view, uint32_t *next) {
    const struct record *record = (const struct record *)view->value;
    CHECK(record->producer < PRODUCERS);
    CHECK_EQUAL(offsetof(struct record, fill) + record->bytes, (uint32_t)view->value_bytes);
    CHECK_EQUAL(shmq_crc32c(0, record->fill, record->bytes), record->crc);
    CHECK(record->number >= next[record->producer]);
    next[record->producer] = record->number + 1;
}

/* Take a living producer for dead, sometimes. */
static void heal(struct shmq_reader *reader, uint64_t *seed) {
    if (check_random(seed) % 64 || !reader->blocked_word)
        return;
    if (shmq_journal_abort(&reader->segment.journal, reader->index, reader->blocked_word) == SHMQ_OK)
        shmq_fetch_add(&aborted, 1);
}

static void *read_some(void *argument) {
    uint64_t seed = 77 + (uintptr_t)argument, begin_offset, end_offset;
    struct view kept[KEPT] = {{0}};
    uint32_t next[PRODUCERS] = {0}, count;
    const void *first = NULL; /* the file read first, and its life when it was read last */
    uint64_t incarnation = 0;
    struct shmq_reader reader;
    struct shmq_view view;
    shmq_reader_init(&reader, open_partition(), true);
    while (!shmq_load_acquire(&stop)) {
        int result = shmq_reader_fetch(&reader, &view, 1, UINT64_MAX, &count);
        if (result == SHMQ_E_OUT_OF_RANGE) {
            CHECK_EQUAL(shmq_reader_bounds(&reader, &begin_offset, &end_offset), SHMQ_OK);
            result = shmq_reader_seek(&reader, begin_offset);
            CHECK(result == SHMQ_OK || result == SHMQ_E_OUT_OF_RANGE);
            continue;
        }
        if (result == SHMQ_PENDING)
            heal(&reader, &seed);
        CHECK(result >= 0);
        if (result != SHMQ_OK) {
            sched_yield();
            continue;
        }
        check(&view, next);
        shmq_fetch_add(&received, 1);
        first = first ? first : reader.segment.header;
        if (reader.segment.header == first && reader.segment.journal.incarnation != incarnation) {
            shmq_fetch_add(&reused, incarnation != 0);
            incarnation = reader.segment.journal.incarnation;
        }
        if (check_random(&seed) % 256 == 0) {
            struct view *place = &kept[check_random(&seed) % KEPT];
            const struct record *record = (const struct record *)view.value;
            let_go(place);
            struct shmq_mapping *mapping = shmq_segment_keep(reader.partition, &reader.segment, &reader.fail);
            *place = (struct view){mapping, record, record->crc};
        }
    }
    struct shmq_partition *partition = reader.partition;
    shmq_reader_close(&reader);
    shmq_partition_close(partition);
    for (uint32_t place = 0; place < KEPT; place++)
        let_go(&kept[place]);
    return NULL;
}

static void hammer_once(void) {
    pthread_t producers[PRODUCERS], readers[READERS];
    begin(SHMQ_MIN_SEGMENT_BYTES, 6);
    shmq_store_release(&stop, 0);
    for (uintptr_t reader = 0; reader < READERS; reader++)
        CHECK_EQUAL(pthread_create(&readers[reader], NULL, read_some, (void *)reader), 0);
    for (uintptr_t producer = 0; producer < PRODUCERS; producer++)
        CHECK_EQUAL(pthread_create(&producers[producer], NULL, produce, (void *)producer), 0);
    for (unsigned producer = 0; producer < PRODUCERS; producer++)
        pthread_join(producers[producer], NULL);
    shmq_store_release(&stop, 1);
    for (unsigned reader = 0; reader < READERS; reader++)
        pthread_join(readers[reader], NULL);
    end();
}

static void nobody_sees_a_byte_of_another_life_of_a_file(void) {
    records = 20000;
    for (unsigned round = 0; round < (check_long() ? 30 : 2); round++)
        hammer_once();
    fprintf(stderr, "    %" PRIu64 " records received, %" PRIu64 " claims aborted, %" PRIu64 " times a file used again\n",
            shmq_load_acquire(&received), shmq_load_acquire(&aborted), shmq_load_acquire(&reused));
    CHECK(shmq_load_acquire(&received) > 100 && shmq_load_acquire(&reused) > 0);
}

TESTS(TEST(nobody_sees_a_byte_of_another_life_of_a_file));
