/* Which segments go, and when: applied by whoever rolls, and by whoever asks. */
#ifndef SHMQ_RETENTION_H
#define SHMQ_RETENTION_H

#include "reuse.h"

/* The topic's options as they are now, brought into their ranges: the file may hold anything. Under guard. */
struct shmq_options shmq_options_now(const struct shmq_partition *partition);

/* Make room for segment `next_seq`: retire what is deleted or what retention_ms has passed, then the oldest ones until
 * `next_seq` fits retention_bytes. FULL: retention "consumed" keeps every record (`*only_self`: see readers.h). Never the newest one.
 * One of the files may be left to the caller, whatever the result: for shmq_reuse() or shmq_reuse_drop(). */
int shmq_retention_make_room(const struct shmq_partition *partition, uint64_t next_seq, bool *only_self,
                             struct shmq_retired *left, struct shmq_fail *fail);

/* Without a new segment: retire what is deleted, and with retention "delete" what retention_ms has passed and what does
 * not fit retention_bytes any more. If the newest segment alone is left and all its records have expired, it stays, since
 * it is never retired, but they are deleted. Wakes producers that wait for space. E_DELETED, E_CORRUPT, E_STORAGE. */
int shmq_retention_apply(const struct shmq_partition *partition, uint64_t *retired, struct shmq_fail *fail);

/* Delete the records below `before_offset`, or all that there are, whoever has not read them; and apply retention. `begin`
 * is the first offset now. E_OUT_OF_RANGE: beyond the end, `fail.limit2`. */
#define SHMQ_TO_THE_END UINT64_MAX
int shmq_retention_delete(struct shmq_partition *partition, uint64_t before_offset, uint64_t *begin,
                          struct shmq_fail *fail);

/* The largest timestamp in a segment, + 1, looking through its batches if nobody has yet; 0 if it is empty, INT64_MAX
 * while a claim in it is open or if it is not sealed. `result` E_CORRUPT or E_STORAGE if it cannot be read. */
uint64_t shmq_segment_max_timestamp(const struct shmq_partition *partition, struct shmq_segment *segment, int *result,
                                    struct shmq_fail *fail);

#endif
