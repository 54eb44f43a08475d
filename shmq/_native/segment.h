/* One segment file, mapped into this process. */
#ifndef SHMQ_SEGMENT_H
#define SHMQ_SEGMENT_H

#include "journal.h"
#include "partition.h"

struct shmq_segment {
    struct shmq_segment_header *header; /* NULL: nothing is mapped */
    struct shmq_mapping *mapping;
    bool pinned; /* this struct is one that holds it pinned */
    bool reuse;  /* its memory may become another segment's, once it was retired and nobody has it pinned */
    struct shmq_journal journal;
    uint8_t *data;
    size_t mapped_bytes;
    uint64_t seq;
    uint64_t base_offset;
    uint64_t created_ms;
    bool crc;
    uint32_t crc_seed; /* of incarnation and base offset: bytes of an older file in the same place fail every check */
};

/* Of the batch whose first record is number `first_count` of the segment: a page that was written to a wrong place fails
 * too, even where batches have one length. (For the same bytes another seed always gives another CRC.) */
static inline uint32_t shmq_batch_seed(const struct shmq_segment *segment, uint32_t first_count) {
    return segment->crc_seed ^ first_count;
}

/* How a file is divided that `options` want: by segment_bytes, and by item_bytes, since larger batches need fewer words. */
struct shmq_geometry {
    uint32_t journal_words, data_units;
    uint64_t data_pos, file_bytes;
};
struct shmq_geometry shmq_segment_geometry(const struct shmq_options *options);

/* A number that no file of this partition has had. */
int shmq_segment_number(const struct shmq_partition *partition, uint64_t *incarnation, struct shmq_fail *fail);

/* Make the file of `seq`, or a spare one (SHMQ_SPARE_SEQ), aside: space reserved, pages populated, all words EMPTY.
 * Publishing it is the caller's. */
int shmq_segment_create(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation,
                        uint64_t base_offset, const struct shmq_options *options, struct shmq_segment *segment,
                        struct shmq_fail *fail);

/* Make a mapped spare, which nobody else has, the file of `seq`, as shmq_segment_create() would. LOST: its file is gone,
 * or of another size. */
int shmq_segment_adopt(const struct shmq_partition *partition, uint64_t seq, uint64_t base_offset,
                       const struct shmq_options *options, struct shmq_segment *segment, struct shmq_fail *fail);

/* Map the file of a segment that the caller has retired, and so has alone; not pinned. Errors as below. */
int shmq_segment_map_own(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation,
                         struct shmq_segment *segment, struct shmq_fail *fail);

/* Make a mapped file that nobody else has, `old_seq` and retired, a new segment in place, as shmq_segment_create() would. */
int shmq_segment_renew(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation, uint64_t base_offset,
                       const struct shmq_options *options, struct shmq_segment *segment, struct shmq_fail *fail);

/* Map the file that the ring names for `seq`, or a spare. A segment that may be used again comes pinned: what is mapped
 * stays what it is (pins.h). LOST: it is gone, retired meanwhile. E_CORRUPT, E_VERSION, E_STORAGE. */
int shmq_segment_map(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation,
                     struct shmq_segment *segment, struct shmq_fail *fail);

/* Does nothing if nothing is mapped. */
void shmq_segment_unmap(struct shmq_segment *segment);

/* For who only appends: a claim lands in its own incarnation alone (journal.h, J6), and a pin would keep the memory from
 * being used again for as long as this process does not append. */
void shmq_segment_unpin(struct shmq_segment *segment);

/* One that stayed mapped without a pin may be another segment by the time that it is read. LOST: it is. */
int shmq_segment_pin_again(const struct shmq_partition *partition, struct shmq_segment *segment, struct shmq_fail *fail);

/* The segment's bytes stay as they are until shmq_mapping_let_go(), whatever becomes of the log, the partition and this
 * process's handles. NULL: it is not pinned, and is no longer in the log. */
struct shmq_mapping *shmq_segment_keep(const struct shmq_partition *partition, const struct shmq_segment *segment,
                                       struct shmq_fail *fail);

/* ---- find.c ---- */

/* Map the newest or the oldest segment of the log. NOTHING: there is none yet. Keeps what is mapped if it is the one;
 * it is pinned then, if it was not. */
int shmq_segment_map_head(const struct shmq_partition *partition, struct shmq_segment *segment,
                          struct shmq_fail *fail);
int shmq_segment_map_tail(const struct shmq_partition *partition, struct shmq_segment *segment,
                          struct shmq_fail *fail);

/* Map segment `seq` if it is LIVE. NOTHING: not yet published. E_OUT_OF_RANGE: retired. */
int shmq_segment_map_seq(const struct shmq_partition *partition, uint64_t seq, struct shmq_segment *segment,
                         struct shmq_fail *fail);

#endif
