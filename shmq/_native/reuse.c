#include "reuse.h"

#include <unistd.h>

#include "fault.h"
#include "guard.h"
#include "pins.h"

void shmq_reuse_drop(const struct shmq_partition *partition, struct shmq_retired *retired) {
    if (!retired->some)
        return;
    char path[SHMQ_PATH_BYTES];
    shmq_segment_path(partition, retired->seq, retired->incarnation, path);
    SHMQ_FAULT("segment.unlink.before");
    unlink(path); /* if it fails the file is an orphan, for shmq_partition_clean() */
    SHMQ_FAULT("segment.unlink.after");
    retired->some = false;
}

/* U2. Once it was retired nobody claims in it any more, and only its claims' owners and those who have it pinned could
 * still change a word. */
static int may_be_used(void *argument) {
    const struct shmq_segment *segment = argument;
    if (!shmq_pins_are_free(&segment->header->pins))
        return SHMQ_NOTHING;
    uint64_t before = 0;
    for (uint32_t index = 0;; index++) {
        struct shmq_entry entry;
        int result = shmq_journal_read(&segment->journal, index, before, &entry);
        if (result == SHMQ_SEALED)
            return SHMQ_OK;
        bool reserved = result == SHMQ_LOST && shmq_word_state(entry.word) == SHMQ_RESERVED;
        if (result != SHMQ_OK && !reserved)
            return SHMQ_NOTHING;
        before = entry.word;
    }
}

static bool fits(const struct shmq_segment *segment, const struct shmq_options *options) {
    struct shmq_geometry geometry = shmq_segment_geometry(options);
    return segment->reuse && options->reuse && segment->crc == (options->crc != 0) &&
           segment->mapped_bytes == geometry.file_bytes && segment->journal.length == geometry.journal_words;
}

int shmq_reuse(const struct shmq_partition *partition, struct shmq_retired *retired, uint64_t seq, uint64_t incarnation,
               uint64_t base_offset, const struct shmq_options *options, struct shmq_segment *segment,
               struct shmq_fail *fail) {
    if (!retired->some)
        return SHMQ_NOTHING;
    struct shmq_segment old = {0};
    int result = options->reuse ? shmq_segment_map_own(partition, retired->seq, retired->incarnation, &old, fail) : SHMQ_LOST;
    if (result == SHMQ_OK && !fits(&old, options))
        result = SHMQ_NOTHING;
    if (result == SHMQ_OK)
        result = shmq_guarded(may_be_used, &old, fail, partition->directory);
    if (result == SHMQ_OK)
        result = shmq_segment_renew(partition, seq, incarnation, base_offset, options, &old, fail);
    if (result == SHMQ_OK) {
        retired->some = false;
        *segment = old;
        return result;
    }
    /* Damaged, in use, or of another kind: a new file will do, and the reason does not matter. */
    shmq_segment_unmap(&old);
    shmq_reuse_drop(partition, retired);
    return SHMQ_NOTHING;
}
