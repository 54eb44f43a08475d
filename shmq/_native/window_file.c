/* The file of a window: making, checking and mapping it. Layout: layout.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "crc32c.h"
#include "files.h"
#include "guard.h"
#include "window.h"

static uint64_t file_bytes(const struct shmq_window *window) {
    return SHMQ_PAGE_BYTES + (window->kind == SHMQ_WINDOW_RECORDS ? 16 * (uint64_t)window->length : 0);
}

static uint32_t header_crc(const struct shmq_window_header *header) {
    return shmq_crc32c(0, header, offsetof(struct shmq_window_header, header_crc));
}

int shmq_window_create(const char *path, const struct shmq_window *like, struct shmq_fail *fail) {
    uint64_t tally = like->first & ((UINT64_C(1) << SHMQ_TALLY_OFFSET_BITS) - 1);
    struct shmq_window_header header = {
        .version = SHMQ_LAYOUT_VERSION,
        .topic_id = like->topic_id,
        .partition = like->partition,
        .kind = like->kind,
        .first = like->first,
        .max_items = like->max_items,
        .words = like->length,
        .start = {.word = {like->first}},
        .fresh = {.word = {like->first}},
        .tallies = {{.word = {tally}}, {.word = {tally}}},
    };
    memcpy(header.magic, SHMQ_WINDOW_MAGIC, sizeof header.magic);
    header.header_crc = header_crc(&header);
    return shmq_create_once(path, &header, sizeof header, file_bytes(like), fail);
}

struct look {
    const struct shmq_window_header *from;
    struct shmq_window_header header;
};

static int copy_header(void *argument) {
    struct look *look = argument;
    memcpy(&look->header, look->from, offsetof(struct shmq_window_header, start));
    return SHMQ_OK;
}

static int check(struct shmq_window *window, const void *base, size_t bytes, struct shmq_fail *fail) {
    struct look look = {.from = base};
    const struct shmq_window_header *header = &look.header;
    int result = shmq_check_magic(window->path, base, bytes, SHMQ_WINDOW_MAGIC, fail);
    if (result == SHMQ_OK)
        result = shmq_guarded(copy_header, &look, fail, window->path);
    if (result != SHMQ_OK)
        return result;
    fail->pos = offsetof(struct shmq_window_header, header_crc);
    if (header->header_crc != header_crc(header))
        return shmq_fail(fail, SHMQ_E_CORRUPT, window->path, "the header does not match its CRC32C");
    fail->pos = offsetof(struct shmq_window_header, topic_id);
    if (header->topic_id != window->topic_id || header->partition != window->partition)
        return shmq_fail(fail, SHMQ_E_CORRUPT, window->path, "it belongs to partition %u of topic %016llx, not %u of %016llx",
                         header->partition, (unsigned long long)header->topic_id, window->partition,
                         (unsigned long long)window->topic_id);
    window->kind = header->kind;
    window->first = header->first;
    window->max_items = header->max_items;
    window->length = header->words;
    bool good = header->kind <= SHMQ_WINDOW_CURSOR && header->words >= SHMQ_MIN_WINDOW_WORDS &&
                header->words <= SHMQ_MAX_WINDOW_WORDS && (header->words & (header->words - 1)) == 0;
    fail->pos = offsetof(struct shmq_window_header, words);
    if (!good || bytes < file_bytes(window))
        return shmq_fail(fail, SHMQ_E_CORRUPT, window->path, "kind %u with %u words in %zu bytes cannot be", header->kind,
                         header->words, bytes);
    return SHMQ_OK;
}

int shmq_window_open(struct shmq_window *window, const char *path, uint64_t topic_id, uint32_t partition,
                     struct shmq_fail *fail) {
    void *base;
    size_t bytes;
    shmq_guard_install();
    window->header = NULL;
    window->topic_id = topic_id;
    window->partition = partition;
    if ((size_t)snprintf(window->path, sizeof window->path, "%s", path) >= sizeof window->path)
        return shmq_fail(fail, SHMQ_E_STORAGE, path, "the name is too long");
    int result = shmq_map_file(path, &base, &bytes, fail);
    if (result != SHMQ_OK)
        return result == SHMQ_E_STORAGE && fail->error_number == ENOENT ? SHMQ_NOTHING : result;
    result = check(window, base, bytes, fail);
    if (result != SHMQ_OK) {
        munmap(base, bytes);
        return result;
    }
    window->header = base;
    window->words = (shmq_a64 *)((char *)base + SHMQ_PAGE_BYTES);
    window->deadlines = window->words + window->length;
    window->lap_shift = (uint32_t)__builtin_ctz(window->length);
    window->mapped_bytes = bytes;
    return SHMQ_OK;
}

void shmq_window_close(struct shmq_window *window) {
    if (window->header)
        munmap(window->header, window->mapped_bytes);
    window->header = NULL;
}
