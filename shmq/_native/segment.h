/* One segment file, mapped into this process. */
#ifndef SHMQ_SEGMENT_H
#define SHMQ_SEGMENT_H

#include "journal.h"
#include "partition.h"

struct shmq_segment {
    struct shmq_segment_header *header; /* NULL: nothing is mapped */
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

/* How a file of `segment_bytes` is divided. */
struct shmq_geometry {
    uint32_t journal_words, data_units;
    uint64_t data_pos, file_bytes;
};
struct shmq_geometry shmq_segment_geometry(uint64_t segment_bytes);

/* A number that no file of this partition has had. */
int shmq_segment_number(const struct shmq_partition *partition, uint64_t *incarnation, struct shmq_fail *fail);

/* Make the file of `seq`, or a spare one (SHMQ_SPARE_SEQ), aside: space reserved, pages populated, all words EMPTY.
 * Publishing it is the caller's. */
int shmq_segment_create(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation,
                        uint64_t base_offset, uint64_t segment_bytes, bool crc, struct shmq_segment *segment,
                        struct shmq_fail *fail);

/* Make a mapped spare, which nobody else has, the file of `seq`, as shmq_segment_create() would. LOST: its file is gone,
 * or of another size. */
int shmq_segment_adopt(const struct shmq_partition *partition, uint64_t seq, uint64_t base_offset,
                       uint64_t segment_bytes, bool crc, struct shmq_segment *segment, struct shmq_fail *fail);

/* Map the file that the ring names for `seq`, or a spare. LOST: it is gone, retired meanwhile. E_CORRUPT, E_VERSION, E_STORAGE. */
int shmq_segment_map(const struct shmq_partition *partition, uint64_t seq, uint64_t incarnation,
                     struct shmq_segment *segment, struct shmq_fail *fail);

/* Does nothing if nothing is mapped. */
void shmq_segment_unmap(struct shmq_segment *segment);

/* Map the newest or the oldest segment of the log. NOTHING: there is none yet. Keeps what is mapped if it is the one. */
int shmq_segment_map_head(const struct shmq_partition *partition, struct shmq_segment *segment,
                          struct shmq_fail *fail);
int shmq_segment_map_tail(const struct shmq_partition *partition, struct shmq_segment *segment,
                          struct shmq_fail *fail);

/* Map segment `seq` if it is LIVE. NOTHING: not yet published. E_OUT_OF_RANGE: retired. */
int shmq_segment_map_seq(const struct shmq_partition *partition, uint64_t seq, struct shmq_segment *segment,
                         struct shmq_fail *fail);

#endif
