/* One partition as this process has it open: the mapped control file and where its segments lie. */
#ifndef SHMQ_PARTITION_H
#define SHMQ_PARTITION_H

#include "liveness.h"
#include "mapping.h"
#include "ring.h"

/* The configuration words that Python sets, in the order of struct shmq_configuration. */
struct shmq_options {
    uint64_t segment_bytes, retention_bytes, retention_ms, retention, max_message_bytes, crc, timestamp_type,
        claim_timeout_ms, reuse, item_bytes;
};

struct shmq_partition {
    struct shmq_process *process;
    struct shmq_ring ring;
    uint64_t topic_id;
    uint32_t number;
    size_t mapped_bytes;
    uint64_t fork_count;
    struct shmq_cache *cache; /* of segment files, where they are used again */
    char directory[SHMQ_PATH_BYTES - 64];
};

int shmq_control_create(const char *path, uint64_t topic_id, uint32_t partition, uint32_t ring_slots,
                        const struct shmq_options *options, struct shmq_fail *fail);

/* Open `directory`/control. E_CORRUPT: not a control file of this topic and partition; E_VERSION; E_STORAGE. */
int shmq_partition_open(struct shmq_process *process, const char *directory, uint64_t topic_id, uint32_t number,
                        struct shmq_partition **partition, struct shmq_fail *fail);
void shmq_partition_close(struct shmq_partition *partition);

/* Both under guard. */
int shmq_partition_configure(struct shmq_partition *partition, const struct shmq_options *options,
                             struct shmq_fail *fail);
int shmq_partition_mark_deleted(struct shmq_partition *partition, struct shmq_fail *fail);

/* Announce that this process is about to sleep; look at the log after it (waiters.h). Under guard. */
enum shmq_waiting { SHMQ_WAIT_FOR_RECORDS, SHMQ_WAIT_FOR_SPACE };
int shmq_partition_await(struct shmq_partition *partition, enum shmq_waiting what, struct shmq_fail *fail);

static inline bool shmq_partition_is_deleted(const struct shmq_partition *partition) {
    /* PAIR deleted: the store in shmq_partition_mark_deleted(); who reads the old value acts as if it came earlier. */
    return shmq_load_relaxed(&partition->ring.control->configuration.deleted) != 0;
}

/* Records below it are deleted. Under guard.
 *
 * PAIR start: the CAS in raise_start(), which comes after a look at the log's end: who sees a start_offset sees a log that
 * reaches to it. */
static inline uint64_t shmq_start_offset(const struct shmq_partition *partition) {
    return shmq_load_acquire(&partition->ring.control->configuration.start_offset);
}

/* The file name of a segment; `seq` SHMQ_SPARE_SEQ: of a spare. */
void shmq_segment_path(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation, char *path);

/* Segment files in the directory, the spare one too, and their bytes. */
int shmq_partition_usage(struct shmq_partition *partition, uint64_t *segments, uint64_t *bytes, struct shmq_fail *fail);

/* Remove files of this directory that can never become part of the log: prepared for a place that another file took,
 * or retired by a process that died before it removed them; spares that nobody takes. Returns how many, or a negative
 * result. */
int shmq_partition_clean(struct shmq_partition *partition, struct shmq_fail *fail);

#endif
