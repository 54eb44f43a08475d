/* Segment files made ahead, so that who rolls need not make its own: one spare for each partition that is about to roll.
 *
 * Nobody depends on it: who finds no spare, or one that is not whole in time, makes its own. A spare counts among the
 * segments that retention_bytes allows; room for it is made as if the log rolled now. */
#ifndef SHMQ_PREPARE_H
#define SHMQ_PREPARE_H

#include "segment.h"
#include "spare.h"

/* Will the log soon need a segment that nobody has made? OK; NOTHING. `newest` is kept mapped from call to call, so that
 * asking costs next to nothing. E_DELETED, E_CORRUPT, E_STORAGE, E_VERSION. */
int shmq_prepare_is_due(const struct shmq_partition *partition, struct shmq_segment *newest, struct shmq_fail *fail);

/* Make the spare. OK. NOTHING: another one is there or being made, or retention "consumed" leaves no room. Takes
 * milliseconds. Errors as above and E_STORAGE_FULL. */
int shmq_prepare_spare(struct shmq_partition *partition, struct shmq_fail *fail);

/* Have the spare as the file of `seq`, mapped; waits a little if a living process is making it. NOTHING: there is none of
 * the size and kind that `options` want. */
int shmq_prepare_take(const struct shmq_partition *partition, uint64_t seq, uint64_t base_offset,
                      const struct shmq_options *options, struct shmq_segment *segment, struct shmq_fail *fail);

/* Is there a spare, or one being made? 0 or 1. Under guard. */
uint32_t shmq_prepare_count(const struct shmq_partition *partition);

/* Strike a spare that a dead process was making, or whose size or kind is no longer wanted; its file is then one that
 * shmq_prepare_names() does not name. */
int shmq_prepare_give_up(const struct shmq_partition *partition, struct shmq_fail *fail);

/* False if no spare is, or will be, this file. */
bool shmq_prepare_names(const struct shmq_partition *partition, uint64_t incarnation, struct shmq_fail *fail);

#endif
