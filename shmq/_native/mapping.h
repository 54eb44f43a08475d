/* A segment file as this process has it mapped, counted: it stays mapped as long as a reader, an appender, the cache of its
 * partition or a view of its bytes uses it, whichever ends last, also after reader, partition and process handle are closed.
 *
 * However many in this process have a segment pinned, its file holds one pin of theirs (pins.h). Everything here may be
 * called from any thread; in a forked child, what was inherited gives up its memory and nothing else. */
#ifndef SHMQ_MAPPING_H
#define SHMQ_MAPPING_H

#include "liveness.h"
#include "ring.h"

struct shmq_mapping {
    struct shmq_segment_header *header;
    size_t bytes;
    /* The rest under the lock. */
    uint64_t users, pins;
    uint64_t fork_count; /* of the process that mapped it */
    int32_t entry;       /* while `pins` is above 0: the pin in the file, -1: none, it is tainted instead */
    uint64_t holder;
    uint64_t seq, incarnation; /* when it was last put into a cache */
    struct shmq_mapping *next; /* pinned as well */
};

/* One user. NULL: no memory, and `base` is unmapped. */
struct shmq_mapping *shmq_mapping_new(void *base, size_t bytes);
void shmq_mapping_hold(struct shmq_mapping *mapping);
void shmq_mapping_release(struct shmq_mapping *mapping); /* NULL: nothing happens */

/* Of a segment that may be used again. Look at the ring after it. LOST: it is the parent's. E_STORAGE. */
int shmq_mapping_pin(struct shmq_mapping *mapping, const struct shmq_process *process, struct shmq_fail *fail);
void shmq_mapping_unpin(struct shmq_mapping *mapping);

/* What shmq_segment_keep() gave: its bytes are no longer needed. */
void shmq_mapping_let_go(struct shmq_mapping *mapping);

/* ---- The files of a partition that are used again and again, kept mapped between their lives: mapping one anew, page by
 * page, costs as much as fresh memory would. ---- */

/* Most files of one partition, and their bytes: what a process that is idle keeps of a topic that was deleted. */
#define SHMQ_CACHED 32u
#define SHMQ_CACHED_BYTES (UINT64_C(32) << 20)

struct shmq_cache {
    struct shmq_mapping *files[SHMQ_CACHED];
    uint64_t bytes;
    uint32_t next; /* to be replaced if there is no place */
};

/* The file that is this incarnation now, if it is here, with one more user; or NULL. It may be another one a moment later:
 * pin it and look at the ring. */
struct shmq_mapping *shmq_cache_find(struct shmq_cache *cache, uint64_t incarnation, struct shmq_fail *fail);

/* Keep it, as segment `seq`, if it is not too large. Lets go of those that are no part of the log any more. */
void shmq_cache_put(struct shmq_cache *cache, struct shmq_mapping *mapping, uint64_t seq, uint64_t incarnation,
                    const struct shmq_ring *ring);

void shmq_cache_clear(struct shmq_cache *cache);

#endif
