/* MurmurHash2 (Austin Appleby) with the seed and the order of bytes that org.apache.kafka.common.utils.Utils uses, so that a
 * key keeps its partition when a topic moves to or from Kafka. */
#include <string.h>

#include "py_core.h"

uint32_t shmq_murmur2(const uint8_t *data, size_t bytes) {
    const uint32_t mix = 0x5bd1e995u;
    uint32_t hash = 0x9747b28cu ^ (uint32_t)bytes;
    for (; bytes >= 4; bytes -= 4, data += 4) {
        uint32_t word;
        memcpy(&word, data, 4);
        word *= mix;
        word ^= word >> 24;
        hash = hash * mix ^ word * mix;
    }
    if (bytes >= 3)
        hash ^= (uint32_t)data[2] << 16;
    if (bytes >= 2)
        hash ^= (uint32_t)data[1] << 8;
    if (bytes >= 1)
        hash = (hash ^ data[0]) * mix;
    hash ^= hash >> 13;
    hash *= mix;
    return hash ^ hash >> 15;
}
