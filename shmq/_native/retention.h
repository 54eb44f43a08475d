/* Which segments go, and when: applied by whoever rolls. */
#ifndef SHMQ_RETENTION_H
#define SHMQ_RETENTION_H

#include "segment.h"

/* The topic's options as they are now, brought into their ranges: the file may hold anything. Under guard. */
struct shmq_options shmq_options_now(const struct shmq_partition *partition);

/* Make room for segment `next_seq`: retire what retention_ms has passed, then the oldest ones until `next_seq` fits
 * retention_bytes. FULL: retention "consumed" keeps every record (`*only_self`: see readers.h). Never the newest one. */
int shmq_retention_make_room(const struct shmq_partition *partition, uint64_t next_seq, bool *only_self,
                             struct shmq_fail *fail);

/* The largest timestamp in a segment, + 1, looking through its batches if nobody has yet; 0 if it is empty, INT64_MAX
 * while a claim in it is open or if it is not sealed. `result` E_CORRUPT or E_STORAGE if it cannot be read. */
uint64_t shmq_segment_max_timestamp(const struct shmq_partition *partition, struct shmq_segment *segment, int *result,
                                    struct shmq_fail *fail);

#endif
