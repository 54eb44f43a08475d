/* What a group has committed in one topic: a mapped word for each partition.
 *
 * INVARIANTS
 *   O1  A commit lands only while the word carries the epoch that the committer was given. So who was fenced (its epoch was
 *       raised) can change nothing any more, however late it comes and whoever raised the epoch has died since.
 *   O2  One CAS makes epoch, offset and note bit visible together; raising the epoch keeps the other two.
 *   O3  Zero is a valid word: epoch 0, nothing committed. So a file grows by reserving space, and nobody initializes it. */
#ifndef SHMQ_OFFSETS_H
#define SHMQ_OFFSETS_H

#include "layout.h"
#include "result.h"

struct shmq_offsets {
    struct shmq_offsets_header *header; /* NULL when closed */
    struct shmq_offset_slot *slots;
    size_t mapped_bytes;
    uint32_t partitions; /* that fit the mapping */
    uint64_t topic_id;
    char path[SHMQ_PATH_BYTES];
};

/* A word, taken apart. */
struct shmq_committed {
    uint32_t epoch;
    bool has_note;
    bool is_set;
    uint64_t offset; /* if is_set */
    uint64_t commit_ms;
};

/* Make a file that holds so many partitions, whole or not at all; OK if it is there already. E_STORAGE_FULL, E_STORAGE. */
int shmq_offsets_create(const char *path, uint64_t topic_id, uint32_t partitions, struct shmq_fail *fail);

/* NOTHING: there is no such file. E_CORRUPT, E_VERSION, E_STORAGE. */
int shmq_offsets_open(struct shmq_offsets *offsets, const char *path, uint64_t topic_id, struct shmq_fail *fail);
void shmq_offsets_close(struct shmq_offsets *offsets);

/* Let the file hold so many partitions, and map them. E_STORAGE_FULL: it is as it was. */
int shmq_offsets_grow(struct shmq_offsets *offsets, uint32_t partitions, struct shmq_fail *fail);

/* All below: `partition` < partitions. E_STORAGE if the page cannot be had. */

int shmq_offsets_get(struct shmq_offsets *offsets, uint32_t partition, struct shmq_committed *found,
                     struct shmq_fail *fail);

/* LOST: the epoch is another one by now (O1), `before` what stands there. */
int shmq_offsets_commit(struct shmq_offsets *offsets, uint32_t partition, uint32_t epoch, uint64_t offset, bool has_note,
                        struct shmq_committed *before, struct shmq_fail *fail);

/* Raise the epoch; `found` is what stands there now. */
int shmq_offsets_fence(struct shmq_offsets *offsets, uint32_t partition, struct shmq_committed *found,
                       struct shmq_fail *fail);

/* Raise the epoch and set the offset, or forget it, whatever stood there: for administrators. */
int shmq_offsets_reset(struct shmq_offsets *offsets, uint32_t partition, bool is_set, uint64_t offset,
                       struct shmq_committed *before, struct shmq_fail *fail);

#endif
