/* Linked into the sanitized build in front of mmap() and munmap(): each file that is mapped ends exactly where it ends.
 *
 * A mapping that is read beyond its end mostly hits the next mapping, and nobody notices. Here no access page lies before
 * and behind each, and what lies between the file's last byte and the end of its last page is poisoned for
 * AddressSanitizer. */
#include <sanitizer/asan_interface.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)

void *__real_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t pos);
int __real_munmap(void *address, size_t bytes);

static size_t whole_pages(size_t bytes) {
    return (bytes + PAGE - 1) & ~(PAGE - 1);
}

void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t pos) {
    size_t whole = whole_pages(bytes);
    if (address || fd < 0)
        return __real_mmap(address, bytes, protection, flags, fd, pos);
    char *room = __real_mmap(NULL, whole + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return room;
    char *base = __real_mmap(room + PAGE, bytes, protection, flags | MAP_FIXED, fd, pos);
    if (base == MAP_FAILED)
        __real_munmap(room, whole + 2 * PAGE);
    else if (whole > bytes)
        __asan_poison_memory_region(base + bytes, whole - bytes);
    return base;
}

int __wrap_munmap(void *address, size_t bytes) {
    size_t whole = whole_pages(bytes);
    if (whole > bytes)
        __asan_unpoison_memory_region((char *)address + bytes, whole - bytes);
    return __real_munmap((char *)address - PAGE, whole + 2 * PAGE);
}
