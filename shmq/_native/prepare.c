#include "prepare.h"

#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "files.h"
#include "guard.h"
#include "retention.h"

/* How long who rolls waits for a living process that makes the spare, before making its own: it may be stopped. */
#define PATIENCE_NS UINT64_C(50000000)
#define PATIENCE_NS_PER_MIB UINT64_C(1000000)
#define LOOK_NS 100000

struct look {
    const struct shmq_partition *partition;
    struct shmq_segment *newest;
    struct shmq_options options;
    uint64_t word, next;
};

static bool fits(uint64_t word, const struct shmq_options *options) {
    struct shmq_geometry geometry = shmq_segment_geometry(options);
    return word == shmq_spare_ready(shmq_spare_incarnation(word), geometry.data_units, options->crc);
}

/* Is the word of use: READY as wanted, or made by a process that lives? Under guard. */
static bool is_of_use(const struct look *look) {
    if (shmq_spare_state(look->word) == SHMQ_SPARE_MAKING)
        return shmq_owner_life(look->partition->process, shmq_spare_owner(look->word)) == SHMQ_LIFE_ALIVE;
    return fits(look->word, &look->options);
}

static int look_at_word(void *argument) {
    struct look *look = argument;
    if (shmq_partition_is_deleted(look->partition))
        return SHMQ_E_DELETED;
    look->options = shmq_options_now(look->partition);
    look->word = shmq_spare_look(look->partition->ring.control);
    return is_of_use(look) ? SHMQ_OK : SHMQ_NOTHING;
}

static int is_half_full(void *argument) {
    struct shmq_journal *journal = &((struct look *)argument)->newest->journal;
    uint32_t end = shmq_journal_end(journal);
    uint64_t before = shmq_journal_before(journal, end);
    bool full = end >= journal->length / 2 || shmq_word_pos(before) >= journal->data_units / 2 ||
                shmq_word_count(before) >= SHMQ_MAX_COUNT / 2;
    return full ? SHMQ_OK : SHMQ_NOTHING;
}

int shmq_prepare_is_due(const struct shmq_partition *partition, struct shmq_segment *newest, struct shmq_fail *fail) {
    struct look look = {.partition = partition, .newest = newest};
    int result = shmq_guarded(look_at_word, &look, fail, partition->directory);
    if (result != SHMQ_NOTHING)
        return result == SHMQ_OK ? SHMQ_NOTHING : result;
    result = shmq_segment_map_head(partition, newest, fail);
    shmq_segment_unpin(newest);
    return result == SHMQ_OK ? shmq_guarded(is_half_full, &look, fail, partition->directory) : result;
}

static int begin(void *argument) {
    struct look *look = argument;
    return shmq_spare_begin(look->partition->ring.control, look->word, look->next);
}

static int finish(void *argument) {
    struct look *look = argument;
    return shmq_spare_finish(look->partition->ring.control, look->word, look->next);
}

static int take(void *argument) {
    struct look *look = argument;
    return shmq_spare_take(look->partition->ring.control, look->word);
}

static void remove_file(const struct shmq_partition *partition, uint64_t word) {
    char path[SHMQ_PATH_BYTES];
    shmq_segment_path(partition, SHMQ_SPARE_SEQ, shmq_spare_incarnation(word), path);
    SHMQ_FAULT("spare.unlink.before");
    unlink(path); /* if it fails the file is an orphan, for shmq_partition_clean() */
    SHMQ_FAULT("spare.unlink.after");
}

static int find_head(void *argument) {
    struct look *look = argument;
    uint64_t incarnation;
    return shmq_ring_head(&look->partition->ring, &look->next, &incarnation);
}

/* Room for the segment behind the newest one, which is the spare. NOTHING: there is none, or no log yet. */
static int make_room(const struct shmq_partition *partition, struct shmq_retired *left, struct shmq_fail *fail) {
    struct look look = {.partition = partition};
    bool only_self;
    int result = shmq_guarded(find_head, &look, fail, partition->directory);
    if (result == SHMQ_OK)
        result = shmq_retention_make_room(partition, look.next + 1, &only_self, left, fail);
    return result == SHMQ_FULL ? SHMQ_NOTHING : result;
}

/* Make the file that look->word, MAKING, announces, and say so. */
static int make_file(struct look *look, struct shmq_retired *left, struct shmq_fail *fail) {
    const struct shmq_partition *partition = look->partition;
    struct shmq_segment fresh = {0};
    uint64_t incarnation = shmq_spare_incarnation(look->word);
    int result = shmq_reuse(partition, left, SHMQ_SPARE_SEQ, incarnation, 0, &look->options, &fresh, fail);
    if (result == SHMQ_NOTHING)
        result = shmq_segment_create(partition, SHMQ_SPARE_SEQ, incarnation, 0, &look->options, &fresh, fail);
    if (result != SHMQ_OK)
        return result;
    look->next = shmq_spare_ready(shmq_spare_incarnation(look->word), fresh.journal.data_units, fresh.crc);
    shmq_segment_unmap(&fresh);
    result = make_room(partition, left, fail); /* again: others may have rolled meanwhile, without it */
    return result == SHMQ_OK ? shmq_guarded(finish, look, fail, partition->directory) : result;
}

static int prepare(struct shmq_partition *partition, struct shmq_retired *left, struct shmq_fail *fail) {
    struct look look = {.partition = partition};
    uint64_t incarnation;
    int result = shmq_guarded(look_at_word, &look, fail, partition->directory);
    if (result != SHMQ_NOTHING)
        return result == SHMQ_OK ? SHMQ_NOTHING : result;
    result = make_room(partition, left, fail);
    if (result == SHMQ_OK)
        result = shmq_segment_number(partition, &incarnation, fail);
    if (result != SHMQ_OK)
        return result;
    look.next = shmq_spare_making(incarnation, partition->process->owner);
    result = shmq_guarded(begin, &look, fail, partition->directory);
    if (result != SHMQ_OK)
        return result == SHMQ_LOST ? SHMQ_NOTHING : result;
    if (look.word)
        remove_file(partition, look.word);
    look.word = look.next;
    result = make_file(&look, left, fail);
    if (result == SHMQ_OK)
        return result;
    struct shmq_fail ignored;
    shmq_guarded(take, &look, &ignored, partition->directory); /* LOST: others did not wait for it */
    remove_file(partition, look.word);
    if (result == SHMQ_LOST)
        return SHMQ_NOTHING;
    return result < 0 && shmq_guarded(look_at_word, &look, &ignored, partition->directory) == SHMQ_E_DELETED
               ? SHMQ_E_DELETED
               : result;
}

int shmq_prepare_spare(struct shmq_partition *partition, struct shmq_fail *fail) {
    struct shmq_retired left = {0};
    int result = prepare(partition, &left, fail);
    shmq_reuse_drop(partition, &left);
    return result;
}

/* NOTHING: there is none. PENDING: a living process is making it. OK: look->word is the caller's alone, of use or not. */
static int look_and_take(void *argument) {
    struct look *look = argument;
    int result = look_at_word(look);
    if (result < 0)
        return result;
    if (!look->word)
        return SHMQ_NOTHING;
    if (result == SHMQ_OK && shmq_spare_state(look->word) == SHMQ_SPARE_MAKING)
        return SHMQ_PENDING;
    return take(look) == SHMQ_OK ? SHMQ_OK : SHMQ_PENDING;
}

int shmq_prepare_take(const struct shmq_partition *partition, uint64_t seq, uint64_t base_offset,
                      const struct shmq_options *options, struct shmq_segment *segment, struct shmq_fail *fail) {
    struct look look = {.partition = partition};
    uint64_t deadline = shmq_now_ns() + PATIENCE_NS + PATIENCE_NS_PER_MIB * (options->segment_bytes >> 20);
    int result;
    while ((result = shmq_guarded(look_and_take, &look, fail, partition->directory)) == SHMQ_PENDING) {
        struct timespec pause = {.tv_nsec = LOOK_NS};
        nanosleep(&pause, NULL);
        if (shmq_now_ns() > deadline && (result = shmq_guarded(take, &look, fail, partition->directory)) != SHMQ_LOST)
            break; /* whoever rolls next need not wait for it again */
    }
    if (result != SHMQ_OK)
        return result;
    struct shmq_fail ignored;
    struct shmq_segment spare = {0};
    result = fits(look.word, options) ? shmq_segment_map(partition, SHMQ_SPARE_SEQ, shmq_spare_incarnation(look.word),
                                                         &spare, &ignored)
                                      : SHMQ_LOST;
    if (result == SHMQ_OK)
        result = shmq_segment_adopt(partition, seq, base_offset, options, &spare, &ignored);
    if (result == SHMQ_OK) {
        *segment = spare;
        return result;
    }
    shmq_segment_unmap(&spare);
    remove_file(partition, look.word);
    return SHMQ_NOTHING;
}

uint32_t shmq_prepare_count(const struct shmq_partition *partition) {
    return shmq_spare_look(partition->ring.control) != 0;
}

static int give_up(void *argument) {
    struct look *look = argument;
    look->options = shmq_options_now(look->partition);
    look->word = shmq_spare_look(look->partition->ring.control);
    return look->word && !is_of_use(look) ? take(look) : SHMQ_OK;
}

int shmq_prepare_give_up(const struct shmq_partition *partition, struct shmq_fail *fail) {
    struct look look = {.partition = partition};
    int result = shmq_guarded(give_up, &look, fail, partition->directory);
    return result < 0 ? result : SHMQ_OK;
}

struct naming {
    const struct shmq_partition *partition;
    uint64_t incarnation;
};

static int names(void *argument) {
    const struct naming *call = argument;
    uint64_t word = shmq_spare_look(call->partition->ring.control);
    return word && shmq_spare_incarnation(word) == call->incarnation ? SHMQ_OK : SHMQ_NOTHING;
}

bool shmq_prepare_names(const struct shmq_partition *partition, uint64_t incarnation, struct shmq_fail *fail) {
    struct naming call = {partition, incarnation};
    return shmq_guarded(names, &call, fail, partition->directory) != SHMQ_NOTHING;
}
