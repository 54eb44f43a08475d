/* What /proc says of a process. */
#ifndef SHMQ_PROCESS_STAT_H
#define SHMQ_PROCESS_STAT_H

#include <stdbool.h>
#include <stdint.h>

/* Start time in clock ticks since boot, or 0 if there is no such process. */
uint64_t shmq_start_time(int pid);

/* Is the process that started then past the point of no return (PF_EXITING, zombie or gone dead)? False if unsure. */
bool shmq_is_exiting(int pid, uint64_t start_time);

/* The inode of this process's pid namespace, 0 if unknown; read once. */
uint64_t shmq_pid_namespace(void);

#endif
