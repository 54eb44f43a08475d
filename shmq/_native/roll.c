/* Rolling: from a segment that is finished to the next one, which another process may have made, or is making. */
#include <time.h>
#include <unistd.h>

#include "appender.h"
#include "fault.h"
#include "files.h"
#include "guard.h"
#include "prepare.h"
#include "retention.h"

/* How long to leave the making of a segment to a living process that began it, before making another in a race. */
#define PREPARE_PATIENCE_NS UINT64_C(50000000)
#define PREPARE_LOOK_NS 100000

static int fail_control(struct shmq_appender *appender, const char *what, uint64_t pos) {
    appender->fail.pos = pos;
    return shmq_fail(&appender->fail, SHMQ_E_CORRUPT, appender->partition->directory, "control: %s", what);
}

struct roll {
    struct shmq_appender *appender;
    uint64_t seq, incarnation, advice;
    uint32_t end_count;
    struct shmq_options options;
    enum shmq_seq_state state;
    struct shmq_retired retired; /* by us, to make room */
};

static int look_at_next(void *argument) {
    struct roll *roll = argument;
    const struct shmq_partition *partition = roll->appender->partition;
    uint64_t incarnation;
    if (shmq_partition_is_deleted(partition))
        return SHMQ_E_DELETED;
    roll->options = shmq_options_now(partition);
    roll->state = shmq_ring_look(&partition->ring, roll->seq, &incarnation);
    roll->advice = shmq_load_acquire(&partition->ring.control->preparer); /* PAIR advice: advise() */
    return SHMQ_OK;
}

/* Advice for others that would prepare the same segment. */
static int advise(void *argument) {
    struct roll *roll = argument;
    const struct shmq_partition *partition = roll->appender->partition;
    struct shmq_control *control = partition->ring.control;
    uint64_t mine = roll->seq << SHMQ_OWNER_BITS | partition->process->owner;
    /* PAIR advice: losing this race only means that two prepare. */
    return SHMQ_SHARED("roll.advise", shmq_cas(&control->preparer, &roll->advice, mine)) ? SHMQ_OK : SHMQ_LOST;
}

static int seal(void *argument) {
    struct roll *roll = argument;
    int result = shmq_journal_seal(&roll->appender->segment.journal, &roll->end_count);
    if (shmq_appender_was_left(roll->appender))
        return SHMQ_LOST;
    return result == SHMQ_SEALED ? SHMQ_OK : result;
}

static int publish(void *argument) {
    struct roll *roll = argument;
    return shmq_ring_publish(&roll->appender->partition->ring, roll->seq, roll->incarnation);
}

/* Does a living process other than this one prepare this very segment? Then PENDING. */
static int ask_preparer(void *argument) {
    const struct roll *roll = argument;
    uint32_t owner = (uint32_t)(roll->advice & ((1u << SHMQ_OWNER_BITS) - 1));
    const struct shmq_process *process = roll->appender->partition->process;
    bool alive = roll->advice && roll->advice >> SHMQ_OWNER_BITS == roll->seq && owner != process->owner &&
                 shmq_owner_life(process, owner) == SHMQ_LIFE_ALIVE;
    return alive ? SHMQ_PENDING : SHMQ_NOTHING;
}

/* Wait for a living process that prepares this very segment, but not for long: it may be stopped. OK: it is there. */
static int leave_it_to_another(struct roll *roll) {
    struct shmq_appender *appender = roll->appender;
    uint64_t deadline = shmq_now_ns() + PREPARE_PATIENCE_NS;
    for (;;) {
        int result = shmq_guarded(look_at_next, roll, &appender->fail, appender->partition->directory);
        if (result != SHMQ_OK)
            return result;
        if (roll->state != SHMQ_SEQ_FUTURE)
            return SHMQ_OK;
        if (shmq_now_ns() > deadline)
            return SHMQ_NOTHING;
        result = shmq_guarded(ask_preparer, roll, &appender->fail, appender->partition->process->directory);
        if (result != SHMQ_PENDING)
            return result;
        struct timespec pause = {.tv_nsec = PREPARE_LOOK_NS};
        nanosleep(&pause, NULL);
    }
}

/* The file of roll->seq, aside: the spare, the one that was retired for it, or one of our own making. */
static int make_file(struct roll *roll, uint64_t base_offset, struct shmq_segment *fresh) {
    struct shmq_appender *appender = roll->appender;
    const struct shmq_partition *partition = appender->partition;
    int result = shmq_prepare_take(partition, roll->seq, base_offset, &roll->options, fresh, &appender->fail);
    if (result == SHMQ_NOTHING)
        result = shmq_segment_number(partition, &roll->incarnation, &appender->fail);
    else
        roll->incarnation = fresh->journal.incarnation;
    if (result != SHMQ_OK || fresh->header)
        return result;
    result = shmq_reuse(partition, &roll->retired, roll->seq, roll->incarnation, base_offset, &roll->options, fresh,
                        &appender->fail);
    return result == SHMQ_NOTHING ? shmq_segment_create(partition, roll->seq, roll->incarnation, base_offset,
                                                        &roll->options, fresh, &appender->fail)
                                  : result;
}

/* Prepare the file of roll->seq aside and publish it; the loser of a race removes its own file. */
static int make_segment(struct roll *roll, uint64_t base_offset) {
    struct shmq_appender *appender = roll->appender;
    struct shmq_partition *partition = appender->partition;
    /* Who has a retired file at hand needs no patience with another, who may have none. */
    int result = roll->retired.some ? shmq_guarded(look_at_next, roll, &appender->fail, partition->directory)
                                    : leave_it_to_another(roll);
    if (result != (roll->retired.some ? SHMQ_OK : SHMQ_NOTHING))
        return result;
    result = shmq_guarded(advise, roll, &appender->fail, partition->directory);
    if (result == SHMQ_LOST && roll->retired.some)
        result = SHMQ_OK;
    if (result == SHMQ_LOST)
        return SHMQ_OK; /* somebody else began just now: look again */
    struct shmq_segment fresh = {0};
    if (result == SHMQ_OK)
        result = make_file(roll, base_offset, &fresh);
    if (result != SHMQ_OK)
        return result;
    result = shmq_guarded(publish, roll, &appender->fail, partition->directory);
    if (result == SHMQ_OK) {
        /* First use, or somebody began a file for this place and may have died over it: remove what deaths left. */
        struct shmq_fail ignored;
        if (!appender->rolled || roll->incarnation != appender->segment.journal.incarnation + 1)
            shmq_partition_clean(partition, &ignored);
        shmq_segment_unmap(&appender->segment);
        appender->segment = fresh;
        appender->rolled++;
        return SHMQ_OK;
    }
    char path[SHMQ_PATH_BYTES];
    shmq_segment_path(partition, roll->seq, roll->incarnation, path);
    shmq_segment_unmap(&fresh);
    unlink(path);
    if (result == SHMQ_LOST)
        result = shmq_guarded(look_at_next, roll, &appender->fail, partition->directory);
    if (result == SHMQ_OK && roll->state == SHMQ_SEQ_FUTURE) /* lost, but to nobody */
        return fail_control(appender, "the ring's words contradict each other", offsetof(struct shmq_control, ring));
    return result;
}

/* Go on behind the mapped segment, which is finished, or begin the log. */
static int go_on(struct roll *roll, bool begun) {
    struct shmq_appender *appender = roll->appender;
    struct shmq_segment *segment = &appender->segment;
    const struct shmq_partition *partition = appender->partition;
    if (!begun)
        return make_segment(roll, 0);
    roll->seq = segment->seq + 1;
    int result = shmq_retention_make_room(partition, roll->seq, &appender->only_self, &roll->retired, &appender->fail);
    if (result != SHMQ_OK)
        return result;
    result = shmq_guarded(seal, roll, &appender->fail, partition->directory);
    if (result == SHMQ_LOST)
        return SHMQ_OK; /* retired meanwhile: look again */
    if (result == SHMQ_E_CORRUPT)
        return shmq_appender_fail_corrupt(appender);
    return result == SHMQ_OK ? make_segment(roll, segment->base_offset + roll->end_count) : result;
}

int shmq_appender_roll(struct shmq_appender *appender) {
    struct shmq_partition *partition = appender->partition;
    struct shmq_segment *segment = &appender->segment;
    int result = shmq_segment_map_head(partition, segment, &appender->fail);
    shmq_segment_unpin(segment);
    if (result != SHMQ_OK && result != SHMQ_NOTHING)
        return result;
    if (result == SHMQ_OK && segment->journal.incarnation != appender->finished)
        return SHMQ_OK; /* a newer segment is there already */
    struct roll roll = {.appender = appender};
    result = go_on(&roll, result == SHMQ_OK);
    shmq_reuse_drop(partition, &roll.retired);
    return result;
}
