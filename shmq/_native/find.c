/* Finding a segment of the log, the newest, the oldest or one by its number, and mapping it. */
#include <errno.h>

#include "files.h"
#include "guard.h"
#include "segment.h"

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
        uint64_t incarnation = want->incarnation;
        bool here = segment->header && segment->seq == want->seq && segment->journal.incarnation == incarnation;
        if (here && (segment->pinned || !segment->reuse))
            return SHMQ_OK;
        result = here ? shmq_segment_pin_again(partition, segment, fail)
                      : shmq_segment_map(partition, want->seq, incarnation, segment, fail);
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
