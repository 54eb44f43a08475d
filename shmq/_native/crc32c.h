/* CRC32C (Castagnoli): the checksum of iSCSI, ext4 and Kafka's record batches.
 *
 * By the processor's own instruction where it has one (SSE4.2, ARMv8 CRC), three streams at once, else by tables. All
 * ways give the same number: shmq_crc32c(0, "123456789", 9) == 0xE3069283. */
#ifndef SHMQ_CRC32C_H
#define SHMQ_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continue `crc` (0 to begin) over `bytes` of `data`. */
uint32_t shmq_crc32c(uint32_t crc, const void *data, size_t bytes);

/* The same by tables alone, whatever the processor can. */
uint32_t shmq_crc32c_portable(uint32_t crc, const void *data, size_t bytes);

/* "sse4.2", "armv8-crc" or "portable". */
const char *shmq_crc32c_way(void);

#endif
