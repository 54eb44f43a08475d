#include "crc32c.h"

#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */

/* How far apart the three streams run, in bytes: long enough to hide the instruction's latency of three cycles, short
 * enough that records of a few KB gain. */
#define STRIDE 512

static uint32_t slices[8][256];        /* slices[k][b]: the CRC of byte b followed by k zero bytes */
static uint32_t skip_stride[4][256];   /* moves a CRC past STRIDE zero bytes, byte by byte of the CRC */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint32_t (*best)(uint32_t, const uint8_t *, size_t);
static const char *best_name;

static uint64_t load64(const uint8_t *data) {
    uint64_t word;
    memcpy(&word, data, 8);
    return word;
}

/* Slicing by eight (Kounavis and Berry, 2005). */
static uint32_t by_tables(uint32_t crc, const uint8_t *data, size_t bytes) {
    for (; bytes >= 8; bytes -= 8, data += 8) {
        uint64_t word = load64(data) ^ crc;
        crc = 0;
        for (int k = 0; k < 8; k++)
            crc ^= slices[7 - k][word >> 8 * k & 0xff];
    }
    for (; bytes; bytes--, data++)
        crc = crc >> 8 ^ slices[0][(crc ^ *data) & 0xff];
    return crc;
}

static uint32_t skip(uint32_t crc) {
    return skip_stride[0][crc & 0xff] ^ skip_stride[1][crc >> 8 & 0xff] ^ skip_stride[2][crc >> 16 & 0xff] ^
           skip_stride[3][crc >> 24];
}

#if defined(__x86_64__)
#include <nmmintrin.h>
#define HARDWARE __attribute__((target("sse4.2")))
#define HARDWARE_NAME "sse4.2"
#define STEP8(crc, word) (uint32_t) _mm_crc32_u64(crc, word)
#define STEP1(crc, byte) _mm_crc32_u8(crc, byte)
static int hardware_present(void) {
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#define HARDWARE __attribute__((target("+crc")))
#define HARDWARE_NAME "armv8-crc"
#define STEP8(crc, word) __crc32cd(crc, word)
#define STEP1(crc, byte) __crc32cb(crc, byte)
static int hardware_present(void) {
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}
#endif

#ifdef HARDWARE
HARDWARE static uint32_t by_instruction(uint32_t crc, const uint8_t *data, size_t bytes) {
    for (; bytes >= 3 * STRIDE; bytes -= 3 * STRIDE, data += 3 * STRIDE) {
        uint32_t second = 0, third = 0;
        for (size_t pos = 0; pos < STRIDE; pos += 8) {
            crc = STEP8(crc, load64(data + pos));
            second = STEP8(second, load64(data + STRIDE + pos));
            third = STEP8(third, load64(data + 2 * STRIDE + pos));
        }
        crc = skip(skip(crc) ^ second) ^ third;
    }
    for (; bytes >= 8; bytes -= 8, data += 8)
        crc = STEP8(crc, load64(data));
    for (; bytes; bytes--, data++)
        crc = STEP1(crc, *data);
    return crc;
}
#endif

static void prepare(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        slices[0][byte] = crc;
    }
    for (int k = 1; k < 8; k++)
        for (uint32_t byte = 0; byte < 256; byte++)
            slices[k][byte] = slices[k - 1][byte] >> 8 ^ slices[0][slices[k - 1][byte] & 0xff];
    static const uint8_t zeros[STRIDE];
    for (int place = 0; place < 4; place++)
        for (uint32_t byte = 0; byte < 256; byte++)
            skip_stride[place][byte] = by_tables(byte << 8 * place, zeros, STRIDE);
    best = by_tables;
    best_name = "portable";
#ifdef HARDWARE
    if (hardware_present()) {
        best = by_instruction;
        best_name = HARDWARE_NAME;
    }
#endif
}

uint32_t shmq_crc32c(uint32_t crc, const void *data, size_t bytes) {
    if (__builtin_expect(!__atomic_load_n(&best, __ATOMIC_ACQUIRE), 0))
        pthread_once(&once, prepare);
    return ~best(~crc, data, bytes);
}

uint32_t shmq_crc32c_portable(uint32_t crc, const void *data, size_t bytes) {
    pthread_once(&once, prepare);
    return ~by_tables(~crc, data, bytes);
}

const char *shmq_crc32c_way(void) {
    pthread_once(&once, prepare);
    return best_name;
}
