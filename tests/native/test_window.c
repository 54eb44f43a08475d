/* The window of a share group: the file, its edges, and threads that take, settle, reject and give back records while some
 * are taken for dead. BUILD: asan tsan */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "guard.h"
#include "window.h"

#define TOPIC_ID UINT64_C(0xfedcba9876543210)
#define WORDS SHMQ_MIN_WINDOW_WORDS

static char path[SHMQ_PATH_BYTES];
static struct shmq_fail fail;
static struct shmq_window window;

static void begin(uint64_t first, enum shmq_window_kind kind) {
    static struct shmq_window like;
    const char *directory = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/%d.window", directory ? directory : "/tmp", getpid());
    like = (struct shmq_window){.topic_id = TOPIC_ID, .partition = 3, .first = first, .kind = kind, .length = WORDS};
    CHECK_EQUAL(shmq_window_create(path, &like, &fail), SHMQ_OK);
    CHECK_EQUAL(shmq_window_open(&window, path, TOPIC_ID, 3, &fail), SHMQ_OK);
}

static void end(void) {
    shmq_window_close(&window);
    unlink(path);
}

static enum shmq_standing look(uint64_t offset) {
    uint64_t word;
    return shmq_window_look(&window, offset, shmq_window_start(&window), &word);
}

static int take(uint64_t offset, uint32_t holder, struct shmq_lease *lease) {
    uint64_t word;
    shmq_window_look(&window, offset, shmq_window_start(&window), &word);
    return shmq_window_acquire(&window, offset, word, holder, 0, lease);
}

static struct shmq_tallies tallies(void) {
    struct shmq_tallies found;
    shmq_window_census(&window, 1000, &found);
    return found;
}

static void a_window_may_begin_at_any_offset(void) {
    static const uint64_t firsts[] = {0, 1, WORDS - 1, WORDS, 123456789, UINT64_C(1) << 40, SHMQ_MAX_HOLD - WORDS};
    for (unsigned at = 0; at < sizeof firsts / sizeof *firsts; at++) {
        struct shmq_lease lease;
        begin(firsts[at], SHMQ_WINDOW_RECORDS);
        CHECK_EQUAL(look(firsts[at]), SHMQ_STANDS_FRESH);
        CHECK_EQUAL(look(firsts[at] + WORDS - 1), SHMQ_STANDS_FRESH);
        CHECK_EQUAL(look(firsts[at] + WORDS), SHMQ_STANDS_BEYOND);
        for (uint64_t offset = firsts[at]; offset < firsts[at] + WORDS; offset++) {
            CHECK_EQUAL(take(offset, 5, &lease), SHMQ_OK);
            CHECK_EQUAL(look(offset), SHMQ_STANDS_HELD);
            CHECK_EQUAL(shmq_window_settle(&window, &lease, offset % 3 ? SHMQ_ACCEPTED : SHMQ_REJECTED), SHMQ_OK);
            CHECK_EQUAL(shmq_window_settle(&window, &lease, SHMQ_ACCEPTED), SHMQ_LOST);
        }
        CHECK_EQUAL(shmq_window_advance(&window, 0), firsts[at] + WORDS);
        CHECK_EQUAL(look(firsts[at] + WORDS - 1), SHMQ_STANDS_SETTLED);
        CHECK_EQUAL(tallies().rejected, (firsts[at] + WORDS + 2) / 3 - (firsts[at] + 2) / 3);
        end();
    }
}

static void tallies_stay_exact_however_far_the_window_goes_without_them(void) {
    struct shmq_lease lease;
    uint64_t offset = 7;
    begin(offset, SHMQ_WINDOW_RECORDS);
    for (unsigned turn = 1; turn <= 40; turn++) {
        CHECK_EQUAL(take(offset, 1, &lease), SHMQ_OK);
        CHECK_EQUAL(shmq_window_settle(&window, &lease, SHMQ_REJECTED), SHMQ_OK);
        CHECK_EQUAL(shmq_window_advance(&window, 0), offset + 1);
        CHECK_EQUAL(tallies().rejected, turn);
        offset += UINT64_C(1) << (turn % 33); /* deleted: nobody settled them */
        CHECK_EQUAL(shmq_window_advance(&window, offset + 1), offset + 1);
        offset++;
        CHECK_EQUAL(tallies().skipped, offset - 7 - turn);
    }
    end();
}

static void tallies_stay_exact_after_one_leap_of_any_length(void) {
    struct shmq_lease lease;
    for (uint64_t leap = UINT64_C(1) << 26; leap < UINT64_C(1) << 33; leap += (UINT64_C(1) << 27) + 12345) {
        begin(7, SHMQ_WINDOW_RECORDS);
        CHECK_EQUAL(shmq_window_advance(&window, 7 + leap), 7 + leap);
        CHECK_EQUAL(take(7 + leap, 1, &lease), SHMQ_OK);
        CHECK_EQUAL(shmq_window_settle(&window, &lease, SHMQ_REJECTED), SHMQ_OK);
        CHECK_EQUAL(shmq_window_advance(&window, 0), 8 + leap);
        CHECK_EQUAL(tallies().rejected, 1);
        CHECK_EQUAL(tallies().skipped, leap);
        end();
    }
}

static void numbers_of_a_damaged_file_are_walked_no_further_than_the_window(void) {
    begin(0, SHMQ_WINDOW_RECORDS);
    shmq_window_pass(&window, UINT64_MAX);
    CHECK_EQUAL(shmq_window_fresh(&window), WORDS);
    CHECK_EQUAL(shmq_window_take(&window, 0, UINT64_MAX), SHMQ_OK); /* start */
    CHECK_EQUAL(shmq_window_fresh(&window), UINT64_MAX);
    CHECK_EQUAL(shmq_window_advance(&window, 0), UINT64_MAX);
    end();
}

static void a_deleted_record_that_is_held_may_still_be_settled_and_harms_nobody(void) {
    struct shmq_lease late, lease;
    begin(0, SHMQ_WINDOW_RECORDS);
    CHECK_EQUAL(take(0, 1, &late), SHMQ_OK);
    CHECK_EQUAL(shmq_window_advance(&window, 3 * WORDS), 3 * WORDS);
    CHECK_EQUAL(take(3 * WORDS, 2, &lease), SHMQ_OK);
    CHECK_EQUAL(shmq_window_settle(&window, &late, SHMQ_ACCEPTED), SHMQ_LOST);
    CHECK_EQUAL(look(3 * WORDS), SHMQ_STANDS_HELD);
    end();
}

static uint64_t word_of(uint64_t offset) {
    uint64_t word;
    shmq_window_look(&window, offset, shmq_window_start(&window), &word);
    return word;
}

static void deadlines_count_for_one_delivery_alone(void) {
    struct shmq_lease lease, again;
    begin(0, SHMQ_WINDOW_RECORDS);
    CHECK_EQUAL(shmq_window_acquire(&window, 0, 0, 1, 500, &lease), SHMQ_OK);
    CHECK_EQUAL(shmq_window_due_ms(&window, 0, lease.word, 100, 30), 500);
    CHECK_EQUAL(shmq_window_renew(&window, &lease, 900), SHMQ_OK);
    CHECK_EQUAL(shmq_window_due_ms(&window, 0, lease.word, 100, 30), 900);
    CHECK_EQUAL(shmq_window_release(&window, &lease, 700), SHMQ_OK);
    CHECK_EQUAL(shmq_window_due_ms(&window, 0, word_of(0), 100, 0), 700);
    CHECK_EQUAL(tallies().delayed, 0); /* at 1,000 ms */
    CHECK_EQUAL(shmq_window_renew(&window, &lease, 2000), SHMQ_LOST);
    CHECK_EQUAL(shmq_window_give_back(&window, 0, word_of(0)), SHMQ_OK);

    /* The next delivery: nobody has said until when, so it gets its time from when somebody looks. */
    CHECK_EQUAL(take(0, 2, &again), SHMQ_OK);
    CHECK_EQUAL(shmq_window_due_ms(&window, 0, again.word, 100, 0), UINT64_MAX);
    CHECK_EQUAL(shmq_window_due_ms(&window, 0, again.word, 100, 30), 130);
    CHECK_EQUAL(shmq_window_due_ms(&window, 0, again.word, 120, 30), 130);
    CHECK_EQUAL(shmq_window_settle(&window, &lease, SHMQ_ACCEPTED), SHMQ_LOST);
    CHECK_EQUAL(shmq_window_settle(&window, &again, SHMQ_ACCEPTED), SHMQ_OK);
    end();
}

static void deliveries_are_counted_up_to_127(void) {
    struct shmq_lease lease;
    begin(0, SHMQ_WINDOW_RECORDS);
    for (unsigned delivery = 1; delivery <= 200; delivery++) {
        CHECK_EQUAL(take(0, 1, &lease), SHMQ_OK);
        CHECK_EQUAL(shmq_taken_deliveries(lease.word), delivery < 127 ? delivery : 127);
        CHECK_EQUAL(shmq_window_release(&window, &lease, 0), SHMQ_OK);
    }
    CHECK_EQUAL(shmq_window_returned(&window), 200);
    end();
}

static void one_of_those_who_look_watches(void) {
    begin(0, SHMQ_WINDOW_RECORDS);
    CHECK(shmq_window_watch(&window, 100, 5));
    CHECK(!shmq_window_watch(&window, 104, 5));
    CHECK(shmq_window_watch(&window, 105, 5));
    end();
}

static void a_damaged_file_is_refused(void) {
    struct shmq_window other;
    begin(9, SHMQ_WINDOW_RECORDS);
    CHECK_EQUAL(shmq_window_open(&other, path, TOPIC_ID, 4, &fail), SHMQ_E_CORRUPT);
    CHECK_EQUAL(shmq_window_open(&other, path, TOPIC_ID + 1, 3, &fail), SHMQ_E_CORRUPT);
    window.header->max_items++;
    CHECK_EQUAL(shmq_window_open(&other, path, TOPIC_ID, 3, &fail), SHMQ_E_CORRUPT);
    window.header->max_items--;
    window.header->version++;
    CHECK_EQUAL(shmq_window_open(&other, path, TOPIC_ID, 3, &fail), SHMQ_E_VERSION);
    window.header->version--;
    CHECK_EQUAL(truncate(path, 8192), 0);
    CHECK_EQUAL(shmq_window_open(&other, path, TOPIC_ID, 3, &fail), SHMQ_E_CORRUPT);
    end();
    CHECK_EQUAL(shmq_window_open(&other, path, TOPIC_ID, 3, &fail), SHMQ_NOTHING);
}

/* ---- Threads ---- */

#define THREADS 4u
#define HOLES 97u /* every so many offsets there is none */

static uint64_t records;
static shmq_a64 settled[1 << 18], rejected, surprised;

/* As share.c does it. */
static bool serve(uint32_t me, uint64_t offset, uint64_t word, uint64_t *seed) {
    struct shmq_lease lease;
    if (shmq_window_acquire(&window, offset, word, me, 0, &lease) != SHMQ_OK)
        return false;
    uint64_t chance = check_random(seed) % 100;
    if (chance < 5) {
        shmq_window_release(&window, &lease, 0);
    } else if (chance < 8) {
        sched_yield(); /* its time for others to take it for dead */
        if (shmq_window_settle(&window, &lease, SHMQ_ACCEPTED) == SHMQ_OK)
            shmq_fetch_add(&settled[offset], 1);
        else
            shmq_fetch_add(&surprised, 1);
    } else {
        bool reject = chance < 20;
        if (shmq_window_settle(&window, &lease, reject ? SHMQ_REJECTED : SHMQ_ACCEPTED) == SHMQ_OK) {
            shmq_fetch_add(&settled[offset], 1);
            shmq_fetch_add(&rejected, reject);
        } else {
            shmq_fetch_add(&surprised, 1);
        }
    }
    shmq_window_advance(&window, 0);
    return true;
}

static void look_back(uint32_t me, uint64_t start, uint64_t *seed) {
    uint64_t fresh = shmq_window_fresh(&window), word;
    for (uint64_t offset = start; offset < fresh; offset++) {
        enum shmq_standing standing = shmq_window_look(&window, offset, start, &word);
        if (standing == SHMQ_STANDS_HELD && check_random(seed) % 16 == 0)
            shmq_window_give_back(&window, offset, word);
        if (standing == SHMQ_STANDS_BACK)
            serve(me, offset, word, seed);
    }
}

static void *hammer(void *argument) {
    uint32_t me = (uint32_t)(uintptr_t)argument;
    uint64_t seed = me + 1, start, word;
    while ((start = shmq_window_advance(&window, 0)) < records) {
        look_back(me, start, &seed);
        uint64_t offset = shmq_window_fresh(&window);
        for (unsigned turn = 0; turn < 50 && offset < records; turn++, offset++) {
            enum shmq_standing standing = shmq_window_look(&window, offset, start, &word);
            if (standing == SHMQ_STANDS_BEYOND)
                break;
            if (standing == SHMQ_STANDS_FRESH && offset % HOLES == 0)
                shmq_window_skip(&window, offset, word);
            else if (standing == SHMQ_STANDS_FRESH)
                serve(me, offset, word, &seed);
        }
        shmq_window_pass(&window, offset);
    }
    return NULL;
}

/* Let THREADS of them run to their end. */
static void run_threads(void *(*body)(void *)) {
    pthread_t threads[THREADS];
    for (uint32_t thread = 0; thread < THREADS; thread++)
        CHECK_EQUAL(pthread_create(&threads[thread], NULL, body, (void *)(uintptr_t)thread), 0);
    for (uint32_t thread = 0; thread < THREADS; thread++)
        pthread_join(threads[thread], NULL);
}

static void each_record_is_settled_once_and_counted_whoever_is_taken_for_dead(void) {
    records = check_long() ? 1 << 18 : 30000;
    begin(0, SHMQ_WINDOW_RECORDS);
    run_threads(hammer);
    for (uint64_t offset = 0; offset < records; offset++)
        CHECK_EQUAL(shmq_load_relaxed(&settled[offset]), offset % HOLES != 0);
    struct shmq_tallies found = tallies();
    CHECK_EQUAL(found.start, records);
    CHECK_EQUAL(found.rejected, shmq_load_relaxed(&rejected));
    CHECK_EQUAL(found.skipped, (records + HOLES - 1) / HOLES);
    CHECK_EQUAL(found.held, 0);
    fprintf(stderr, "    %" PRIu64 " records, %" PRIu64 " late acknowledgements refused\n", records,
            shmq_load_relaxed(&surprised));
    end();
}

/* Over a fresh cursor: each of so many offsets is passed by one of the threads. */
static void check_a_cursor(uint64_t offsets, void *(*body)(void *)) {
    records = offsets;
    memset(settled, 0, sizeof settled);
    begin(0, SHMQ_WINDOW_CURSOR);
    run_threads(body);
    for (uint64_t offset = 0; offset < records; offset++)
        CHECK_EQUAL(shmq_load_relaxed(&settled[offset]), 1);
    end();
}

static void *take_in_turn(void *unused) {
    (void)unused;
    for (uint64_t start; (start = shmq_window_start(&window)) < records;) {
        uint64_t count = start % 3 + 1;
        if (shmq_window_take(&window, start, count) == SHMQ_OK)
            for (uint64_t offset = start; offset < start + count; offset++)
                shmq_fetch_add(&settled[offset], 1);
    }
    return NULL;
}

static void a_cursor_gives_each_record_once(void) {
    check_a_cursor(30000, take_in_turn);
}

/* Every 7th offset and the next one have no record. */
static bool is_hole(uint64_t offset) {
    return offset % 7 < 2;
}

static void *leap_and_take(void *unused) {
    (void)unused;
    for (uint64_t start; (start = shmq_window_start(&window)) < records;) {
        uint64_t end = start + 1;
        while (is_hole(start) && is_hole(end))
            end++;
        int result = is_hole(start) ? shmq_window_leap(&window, start, end) : shmq_window_take(&window, start, 1);
        for (uint64_t offset = start; result == SHMQ_OK && offset < end; offset++)
            shmq_fetch_add(&settled[offset], 1);
        struct shmq_tallies found;
        shmq_window_cursor_census(&window, &found);
        CHECK_EQUAL(found.skipped, found.start / 7 * 2 + (found.start % 7 < 2 ? found.start % 7 : 2));
    }
    return NULL;
}

static void a_cursor_counts_the_offsets_without_a_record_that_it_passes(void) {
    check_a_cursor(30002, leap_and_take);
}

static void what_a_cursor_has_skipped_is_known_however_far_it_goes_without_skipping(void) {
    struct shmq_tallies found;
    uint64_t step = UINT64_C(1) << 20, start = 0;
    begin(0, SHMQ_WINDOW_CURSOR);
    CHECK_EQUAL(shmq_window_leap(&window, start, 5), SHMQ_OK);
    for (start = 5; start < UINT64_C(1) << 33; start += step)
        CHECK_EQUAL(shmq_window_take(&window, start, step), SHMQ_OK);
    CHECK_EQUAL(shmq_window_leap(&window, start, start + 3), SHMQ_OK);
    shmq_window_cursor_census(&window, &found);
    CHECK_EQUAL(found.skipped, 8);
    end();
}

TESTS(TEST(a_window_may_begin_at_any_offset), TEST(tallies_stay_exact_however_far_the_window_goes_without_them),
      TEST(tallies_stay_exact_after_one_leap_of_any_length),
      TEST(numbers_of_a_damaged_file_are_walked_no_further_than_the_window),
      TEST(a_deleted_record_that_is_held_may_still_be_settled_and_harms_nobody), TEST(deadlines_count_for_one_delivery_alone),
      TEST(deliveries_are_counted_up_to_127), TEST(one_of_those_who_look_watches), TEST(a_damaged_file_is_refused),
      TEST(each_record_is_settled_once_and_counted_whoever_is_taken_for_dead), TEST(a_cursor_gives_each_record_once),
      TEST(a_cursor_counts_the_offsets_without_a_record_that_it_passes),
      TEST(what_a_cursor_has_skipped_is_known_however_far_it_goes_without_skipping));
