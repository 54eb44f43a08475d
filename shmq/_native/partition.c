#include "partition.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "doorbell.h"
#include "fault.h"
#include "files.h"
#include "guard.h"
#include "prepare.h"
#include "verify.h"
#include "waiters.h"

static uint32_t header_crc(const struct shmq_control_header *header) {
    return shmq_crc32c(0, header, offsetof(struct shmq_control_header, header_crc));
}

/* PAIR options: each word stands for itself; a process that still sees the old value acts as if it came earlier. */
static void store_options(struct shmq_configuration *words, const struct shmq_options *options) {
    SHMQ_SHARED("options.segment_bytes", shmq_store_relaxed(&words->segment_bytes, options->segment_bytes));
    SHMQ_SHARED("options.retention_bytes", shmq_store_relaxed(&words->retention_bytes, options->retention_bytes));
    SHMQ_SHARED("options.retention_ms", shmq_store_relaxed(&words->retention_ms, options->retention_ms));
    SHMQ_SHARED("options.retention", shmq_store_relaxed(&words->retention, options->retention));
    SHMQ_SHARED("options.max_message_bytes", shmq_store_relaxed(&words->max_message_bytes, options->max_message_bytes));
    SHMQ_SHARED("options.crc", shmq_store_relaxed(&words->crc, options->crc));
    SHMQ_SHARED("options.timestamp_type", shmq_store_relaxed(&words->timestamp_type, options->timestamp_type));
    SHMQ_SHARED("options.claim_timeout_ms", shmq_store_relaxed(&words->claim_timeout_ms, options->claim_timeout_ms));
    /* PAIR options: these two never change. */
    SHMQ_SHARED("options.reuse", shmq_store_relaxed(&words->reuse, options->reuse));
    SHMQ_SHARED("options.item_bytes", shmq_store_relaxed(&words->item_bytes, options->item_bytes));
}

int shmq_control_create(const char *path, uint64_t topic_id, uint32_t partition, uint32_t ring_slots,
                        const struct shmq_options *options, struct shmq_fail *fail) {
    if (ring_slots < SHMQ_MIN_RING_SLOTS || ring_slots > SHMQ_MAX_RING_SLOTS)
        return shmq_fail(fail, SHMQ_E_INTERNAL, path, "a ring has %u to %u slots, not %u", SHMQ_MIN_RING_SLOTS,
                         SHMQ_MAX_RING_SLOTS, ring_slots);
    void *base;
    int result = shmq_create_mapped(path, shmq_control_bytes(ring_slots), &base, fail);
    if (result != SHMQ_OK)
        return result;
    struct shmq_control *control = base;
    struct shmq_control_header *header = &control->header;
    memcpy(header->magic, SHMQ_CONTROL_MAGIC, 8);
    header->version = SHMQ_LAYOUT_VERSION;
    header->partition = partition;
    header->ring_slots = ring_slots;
    header->topic_id = topic_id;
    header->header_crc = header_crc(header);
    store_options(&control->configuration, options);
    struct shmq_ring ring = {control, ring_slots};
    shmq_ring_reset(&ring);
    munmap(base, shmq_control_bytes(ring_slots));
    return SHMQ_OK;
}

struct header_look {
    const struct shmq_control *control;
    struct shmq_control_header header;
};

static int copy_header(void *argument) {
    struct header_look *look = argument;
    look->header = look->control->header;
    return SHMQ_OK;
}

static int check_control(struct shmq_partition *partition, const char *path, struct shmq_fail *fail) {
    struct header_look look = {.control = partition->ring.control};
    int result = shmq_check_magic(path, partition->ring.control, partition->mapped_bytes, SHMQ_CONTROL_MAGIC, fail);
    if (result == SHMQ_OK)
        result = shmq_guarded(copy_header, &look, fail, path);
    if (result != SHMQ_OK)
        return result;
    fail->pos = 0;
    if (look.header.header_crc != header_crc(&look.header))
        return shmq_fail(fail, SHMQ_E_CORRUPT, path, "the header's checksum is wrong");
    if (look.header.topic_id != partition->topic_id || look.header.partition != partition->number)
        return shmq_fail(fail, SHMQ_E_CORRUPT, path, "it belongs to partition %u of topic id %016" PRIx64,
                         look.header.partition, look.header.topic_id);
    uint32_t slots = look.header.ring_slots;
    if (slots < SHMQ_MIN_RING_SLOTS || slots > SHMQ_MAX_RING_SLOTS ||
        partition->mapped_bytes < shmq_control_bytes(slots))
        return shmq_fail(fail, SHMQ_E_CORRUPT, path, "%zu bytes are no ring of %u slots", partition->mapped_bytes,
                         slots);
    partition->ring.slots = slots;
    return SHMQ_OK;
}

int shmq_partition_open(struct shmq_process *process, const char *directory, uint64_t topic_id, uint32_t number,
                        struct shmq_partition **out, struct shmq_fail *fail) {
    struct shmq_partition *partition = calloc(1, sizeof *partition + sizeof *partition->cache);
    if (!partition)
        return shmq_fail_errno(fail, SHMQ_E_STORAGE, directory, "calloc", ENOMEM);
    partition->cache = (struct shmq_cache *)(partition + 1);
    if (strlen(directory) >= sizeof partition->directory) {
        free(partition);
        return shmq_fail(fail, SHMQ_E_STORAGE, directory, "the partition directory's name is too long");
    }
    strcpy(partition->directory, directory);
    partition->process = process;
    partition->topic_id = topic_id;
    partition->number = number;
    partition->fork_count = shmq_fork_count();
    char path[SHMQ_PATH_BYTES];
    snprintf(path, sizeof path, "%s/control", directory);
    void *base;
    /* PAIR create: the file has this name only since it was whole. */
    int result = shmq_map_file(path, &base, &partition->mapped_bytes, fail);
    if (result == SHMQ_OK) {
        partition->ring.control = base;
        result = check_control(partition, path, fail);
        if (result != SHMQ_OK)
            munmap(base, partition->mapped_bytes);
    }
    if (result != SHMQ_OK) {
        free(partition);
        return result;
    }
    *out = partition;
    return SHMQ_OK;
}

void shmq_partition_close(struct shmq_partition *partition) {
    shmq_cache_clear(partition->cache);
    munmap(partition->ring.control, partition->mapped_bytes);
    free(partition);
}

struct change {
    struct shmq_partition *partition;
    const struct shmq_options *options;
    bool wake[2];
    uint64_t woken[2][SHMQ_MAX_SLOTS / 64];
};

static int configure(void *argument) {
    struct change *change = argument;
    store_options(&change->partition->ring.control->configuration, change->options);
    return SHMQ_OK;
}

int shmq_partition_configure(struct shmq_partition *partition, const struct shmq_options *options,
                             struct shmq_fail *fail) {
    struct change change = {.partition = partition, .options = options};
    return shmq_guarded(configure, &change, fail, partition->directory);
}

static int mark_deleted(void *argument) {
    struct change *change = argument;
    struct shmq_control *control = change->partition->ring.control;
    SHMQ_SHARED("partition.deleted", shmq_fetch_or(&control->configuration.deleted, 1)); /* PAIR deleted */
    change->wake[0] = shmq_waiters_wake(&control->readers_waiting, change->woken[0]);
    change->wake[1] = shmq_waiters_wake(&control->producers_waiting, change->woken[1]);
    return SHMQ_OK;
}

int shmq_partition_mark_deleted(struct shmq_partition *partition, struct shmq_fail *fail) {
    struct change change = {.partition = partition};
    int result = shmq_guarded(mark_deleted, &change, fail, partition->directory);
    for (int which = 0; which < 2; which++)
        if (change.wake[which])
            shmq_doorbell_ring_all(partition->process, change.woken[which]);
    return result;
}

struct await {
    struct shmq_partition *partition;
    enum shmq_waiting what;
};

static int await(void *argument) {
    struct await *call = argument;
    struct shmq_control *control = call->partition->ring.control;
    const struct shmq_process *process = call->partition->process;
    if (shmq_slot_tenancy(process, process->slot) != (process->epoch << 1 | 1))
        return SHMQ_LOST; /* taken for dead: whoever has the slot now would be rung in our place */
    shmq_waiters_enter(call->what == SHMQ_WAIT_FOR_SPACE ? &control->producers_waiting : &control->readers_waiting,
                       call->partition->process->slot);
    return SHMQ_OK;
}

int shmq_partition_await(struct shmq_partition *partition, enum shmq_waiting what, struct shmq_fail *fail) {
    struct await call = {partition, what};
    int result = shmq_guarded(await, &call, fail, partition->directory);
    return result == SHMQ_LOST ? shmq_process_renew(partition->process, fail) : result;
}

void shmq_segment_path(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation, char *path) {
    if (seq == SHMQ_SPARE_SEQ) {
        snprintf(path, SHMQ_PATH_BYTES, "%s/spare-%010" PRIx64 ".segment", partition->directory, incarnation);
        return;
    }
    snprintf(path, SHMQ_PATH_BYTES, "%s/%020" PRIu64 "-%010" PRIx64 ".segment", partition->directory, seq, incarnation);
}

struct seq_look {
    const struct shmq_ring *ring;
    uint64_t seq, incarnation;
    enum shmq_seq_state state;
};

static int look(void *argument) {
    struct seq_look *seq = argument;
    seq->state = shmq_ring_look(seq->ring, seq->seq, &seq->incarnation);
    return SHMQ_OK;
}

/* No guess about anybody's life is needed: a file prepared for seq can be published only while the ring slot of seq is
 * FREE in its lap, and a slot never goes back (ring.h, R1). What a damaged ring does not name may still be the log, so
 * nothing goes that is not before `tail`, or beside a file that the ring does name. A spare is of no use to anybody but
 * its maker once the control file does not name it. */
static bool is_orphan(const struct shmq_partition *partition, const char *name, uint64_t tail, struct shmq_fail *fail) {
    struct seq_look found = {.ring = &partition->ring};
    uint64_t incarnation;
    char rest[16], live[SHMQ_PATH_BYTES];
    if (sscanf(name, "spare-%10" SCNx64 "%15s", &incarnation, rest) == 2)
        return strcmp(rest, ".segment") == 0 && !shmq_prepare_names(partition, incarnation, fail);
    if (sscanf(name, "%20" SCNu64 "-%10" SCNx64 "%15s", &found.seq, &incarnation, rest) != 3 ||
        strcmp(rest, ".segment") != 0 || shmq_guarded(look, &found, fail, partition->directory) != SHMQ_OK)
        return false;
    if (found.state == SHMQ_SEQ_RETIRED)
        return found.seq < tail;
    shmq_segment_path(partition, found.seq, found.incarnation, live);
    return found.state == SHMQ_SEQ_LIVE && found.incarnation != incarnation && access(live, F_OK) == 0;
}

int shmq_partition_clean(struct shmq_partition *partition, struct shmq_fail *fail) {
    uint64_t tail, end;
    int result = shmq_verify_ring(partition, &tail, &end, fail);
    if (result == SHMQ_OK)
        result = shmq_prepare_give_up(partition, fail);
    if (result != SHMQ_OK)
        return result;
    DIR *directory = opendir(partition->directory);
    if (!directory)
        return shmq_fail_errno(fail, SHMQ_E_STORAGE, partition->directory, "opendir", errno);
    int removed = 0;
    for (struct dirent *file; (file = readdir(directory));) {
        if (is_orphan(partition, file->d_name, tail, fail) && unlinkat(dirfd(directory), file->d_name, 0) == 0)
            removed++;
    }
    closedir(directory);
    return removed;
}

int shmq_partition_usage(struct shmq_partition *partition, uint64_t *segments, uint64_t *bytes,
                         struct shmq_fail *fail) {
    DIR *directory = opendir(partition->directory);
    if (!directory)
        return shmq_fail_errno(fail, SHMQ_E_STORAGE, partition->directory, "opendir", errno);
    *segments = *bytes = 0;
    for (struct dirent *file; (file = readdir(directory));) {
        struct stat status;
        const char *dot = strrchr(file->d_name, '.');
        if (dot && strcmp(dot, ".segment") == 0 && fstatat(dirfd(directory), file->d_name, &status, 0) == 0) {
            *segments += 1;
            *bytes += (uint64_t)status.st_size;
        }
    }
    closedir(directory);
    return SHMQ_OK;
}
