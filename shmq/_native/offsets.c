#include "offsets.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crc32c.h"
#include "fault.h"
#include "files.h"
#include "guard.h"

static uint64_t file_bytes(uint32_t partitions) {
    uint64_t bytes = SHMQ_PAGE_BYTES + (uint64_t)partitions * sizeof(struct shmq_offset_slot);
    return (bytes + SHMQ_PAGE_BYTES - 1) / SHMQ_PAGE_BYTES * SHMQ_PAGE_BYTES;
}

static uint32_t header_crc(const struct shmq_offsets_header *header) {
    return shmq_crc32c(0, header, offsetof(struct shmq_offsets_header, header_crc));
}

int shmq_offsets_create(const char *path, uint64_t topic_id, uint32_t partitions, struct shmq_fail *fail) {
    struct shmq_offsets_header header = {.version = SHMQ_LAYOUT_VERSION, .topic_id = topic_id};
    memcpy(header.magic, SHMQ_OFFSETS_MAGIC, sizeof header.magic);
    header.header_crc = header_crc(&header);
    return shmq_create_once(path, &header, sizeof header, file_bytes(partitions), fail);
}

struct look {
    const struct shmq_offsets_header *from;
    struct shmq_offsets_header header;
};

static int copy_header(void *argument) {
    struct look *look = argument;
    look->header = *look->from;
    return SHMQ_OK;
}

static int check(const struct shmq_offsets *offsets, const void *base, size_t bytes, struct shmq_fail *fail) {
    struct look look = {.from = base};
    int result = shmq_check_magic(offsets->path, base, bytes, SHMQ_OFFSETS_MAGIC, fail);
    if (result == SHMQ_OK)
        result = shmq_guarded(copy_header, &look, fail, offsets->path);
    if (result != SHMQ_OK)
        return result;
    fail->pos = offsetof(struct shmq_offsets_header, header_crc);
    if (look.header.header_crc != header_crc(&look.header))
        return shmq_fail(fail, SHMQ_E_CORRUPT, offsets->path, "the header does not match its CRC32C");
    fail->pos = offsetof(struct shmq_offsets_header, topic_id);
    if (look.header.topic_id != offsets->topic_id)
        return shmq_fail(fail, SHMQ_E_CORRUPT, offsets->path, "it belongs to topic %016llx, not %016llx",
                         (unsigned long long)look.header.topic_id, (unsigned long long)offsets->topic_id);
    return SHMQ_OK;
}

static int map(struct shmq_offsets *offsets, struct shmq_fail *fail) {
    void *base;
    size_t bytes;
    int result = shmq_map_file(offsets->path, &base, &bytes, fail);
    if (result != SHMQ_OK)
        return result;
    result = check(offsets, base, bytes, fail);
    if (result != SHMQ_OK) {
        munmap(base, bytes);
        return result;
    }
    shmq_offsets_close(offsets);
    offsets->header = base;
    offsets->slots = (struct shmq_offset_slot *)((char *)base + SHMQ_PAGE_BYTES);
    offsets->mapped_bytes = bytes;
    uint64_t slots = (bytes - SHMQ_PAGE_BYTES) / sizeof(struct shmq_offset_slot);
    offsets->partitions = slots < UINT32_MAX ? (uint32_t)slots : UINT32_MAX;
    return SHMQ_OK;
}

int shmq_offsets_open(struct shmq_offsets *offsets, const char *path, uint64_t topic_id, struct shmq_fail *fail) {
    shmq_guard_install();
    offsets->header = NULL;
    offsets->topic_id = topic_id;
    if ((size_t)snprintf(offsets->path, sizeof offsets->path, "%s", path) >= sizeof offsets->path)
        return shmq_fail(fail, SHMQ_E_STORAGE, path, "the name is too long");
    int result = map(offsets, fail);
    return result == SHMQ_E_STORAGE && fail->error_number == ENOENT ? SHMQ_NOTHING : result;
}

void shmq_offsets_close(struct shmq_offsets *offsets) {
    if (offsets->header)
        munmap(offsets->header, offsets->mapped_bytes);
    offsets->header = NULL;
}

int shmq_offsets_grow(struct shmq_offsets *offsets, uint32_t partitions, struct shmq_fail *fail) {
    int result = shmq_extend_file(offsets->path, file_bytes(partitions), fail);
    return result == SHMQ_OK ? map(offsets, fail) : result;
}

/* ---- words ---- */

static uint64_t word_of(uint32_t epoch, bool has_note, bool is_set, uint64_t offset) {
    return (is_set ? offset + 1 : 0) | (uint64_t)has_note << SHMQ_COMMITTED_BITS |
           (uint64_t)epoch << (SHMQ_COMMITTED_BITS + 1);
}

static struct shmq_committed parts_of(uint64_t word) {
    uint64_t offset = word & SHMQ_COMMITTED_MASK;
    return (struct shmq_committed){
        .epoch = (uint32_t)(word >> (SHMQ_COMMITTED_BITS + 1)),
        .has_note = word >> SHMQ_COMMITTED_BITS & 1,
        .is_set = offset != 0,
        .offset = offset ? offset - 1 : 0,
    };
}

/* Zero is for partitions that never had an owner. */
static uint32_t next_epoch(uint32_t epoch) {
    return epoch == SHMQ_MAX_OFFSET_EPOCH ? 1 : epoch + 1;
}

struct change {
    struct shmq_offset_slot *slot;
    enum { COMMIT, FENCE, RESET } kind;
    uint32_t epoch;
    bool has_note, is_set;
    uint64_t offset, now_ms;
    struct shmq_committed before;
};

static uint64_t wanted(const struct change *change) {
    const struct shmq_committed *before = &change->before;
    if (change->kind == COMMIT)
        return word_of(change->epoch, change->has_note, true, change->offset);
    if (change->kind == FENCE)
        return word_of(change->epoch ? change->epoch : next_epoch(before->epoch), before->has_note, before->is_set,
                       before->offset);
    return word_of(next_epoch(before->epoch), false, change->is_set, change->offset);
}

static int apply(void *argument) {
    struct change *change = argument;
    uint64_t word = shmq_load_acquire(&change->slot->word); /* PAIR offsets: the CAS below */
    do {
        change->before = parts_of(word);
        if (change->kind == COMMIT && change->before.epoch != change->epoch)
            return SHMQ_LOST;
    } while (!SHMQ_SHARED("offsets.word", shmq_cas(&change->slot->word, &word, wanted(change)))); /* PAIR offsets */
    if (change->kind != FENCE) /* PAIR offsets: for display, and may be another commit's */
        SHMQ_SHARED("offsets.time", shmq_store_relaxed(&change->slot->commit_ms, change->now_ms));
    return SHMQ_OK;
}

static int run(struct shmq_offsets *offsets, uint32_t partition, struct change *change, struct shmq_committed *before,
               struct shmq_fail *fail) {
    change->slot = &offsets->slots[partition];
    change->now_ms = shmq_wall_ms();
    int result = shmq_guarded(apply, change, fail, offsets->path);
    *before = change->before;
    return result;
}

int shmq_offsets_commit(struct shmq_offsets *offsets, uint32_t partition, uint32_t epoch, uint64_t offset, bool has_note,
                        struct shmq_committed *before, struct shmq_fail *fail) {
    struct change change = {.kind = COMMIT, .epoch = epoch, .has_note = has_note, .offset = offset};
    return run(offsets, partition, &change, before, fail);
}

int shmq_offsets_fence(struct shmq_offsets *offsets, uint32_t partition, uint32_t epoch, struct shmq_committed *found,
                       struct shmq_fail *fail) {
    struct change change = {.kind = FENCE, .epoch = epoch};
    int result = run(offsets, partition, &change, found, fail);
    found->epoch = epoch ? epoch : next_epoch(found->epoch);
    return result;
}

int shmq_offsets_reset(struct shmq_offsets *offsets, uint32_t partition, bool is_set, uint64_t offset,
                       struct shmq_committed *before, struct shmq_fail *fail) {
    struct change change = {.kind = RESET, .is_set = is_set, .offset = offset};
    return run(offsets, partition, &change, before, fail);
}

struct get {
    struct shmq_offset_slot *slot;
    struct shmq_committed found;
};

static int get(void *argument) {
    struct get *get = argument;
    uint64_t commit_ms = shmq_load_relaxed(&get->slot->commit_ms); /* PAIR offsets: for display */
    get->found = parts_of(shmq_load_acquire(&get->slot->word)); /* PAIR offsets */
    get->found.commit_ms = commit_ms;
    return SHMQ_OK;
}

int shmq_offsets_get(struct shmq_offsets *offsets, uint32_t partition, struct shmq_committed *found,
                     struct shmq_fail *fail) {
    struct get call = {.slot = &offsets->slots[partition]};
    int result = shmq_guarded(get, &call, fail, offsets->path);
    *found = call.found;
    return result;
}
