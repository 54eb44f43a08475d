/* Making, mapping and checking files; filling a `struct shmq_fail`. */
#ifndef SHMQ_FILES_H
#define SHMQ_FILES_H

#include "clock.h"
#include "layout.h"
#include "result.h"

/* Fill `fail` and return `code`. */
int shmq_fail(struct shmq_fail *fail, int code, const char *path, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
int shmq_fail_errno(struct shmq_fail *fail, int code, const char *path, const char *call, int error_number);

/* Create `path` (mode 0600, must not exist) with `bytes` reserved on the disk, beginning with `header`. On failure
 * nothing is left. E_STORAGE_FULL: `wanted` and `limit` (free) are filled. */
int shmq_create_file(const char *path, uint64_t bytes, const void *header, size_t header_bytes, struct shmq_fail *fail);

/* The same, whole or not at all, for whoever else makes it at the same time: OK if it is there already. */
int shmq_create_once(const char *path, const void *header, size_t header_bytes, uint64_t bytes, struct shmq_fail *fail);

/* As shmq_create_file(), and map it; its pages are populated, so that no later store can fail for want of space. */
int shmq_create_mapped(const char *path, uint64_t bytes, void **base, struct shmq_fail *fail);

/* Let a file have at least `bytes`, reserved on the disk; the new ones are 0. On failure it is as it was. */
int shmq_extend_file(const char *path, uint64_t bytes, struct shmq_fail *fail);

/* Map a whole file read-write and shared. Refuses what is not a regular file or shorter than a page. */
int shmq_map_file(const char *path, void **base, size_t *bytes, struct shmq_fail *fail);

/* Magic, version and feature bits, which every file begins with. Reads under guard. */
int shmq_check_magic(const char *path, const void *base, size_t bytes, const char *magic, struct shmq_fail *fail);

uint32_t shmq_procs_crc(const struct shmq_procs_header *header);

#endif
