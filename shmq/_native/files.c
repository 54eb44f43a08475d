#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "crc32c.h"
#include "fault.h"
#include "guard.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

int shmq_fail(struct shmq_fail *fail, int code, const char *path, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fail->what, sizeof fail->what, format, arguments);
    va_end(arguments);
    if (path != fail->path)
        snprintf(fail->path, sizeof fail->path, "%s", path);
    fail->error_number = 0;
    return code;
}

int shmq_fail_errno(struct shmq_fail *fail, int code, const char *path, const char *call, int error_number) {
    shmq_fail(fail, code, path, "%s: %s", call, strerror(error_number));
    fail->error_number = error_number;
    return code;
}

static int fail_full(struct shmq_fail *fail, const char *path, uint64_t wanted, int fd) {
    struct statvfs space;
    fail->wanted = wanted;
    fail->limit = fstatvfs(fd, &space) == 0 ? (uint64_t)space.f_bavail * space.f_frsize : 0;
    return shmq_fail(fail, SHMQ_E_STORAGE_FULL, path, "no space for the file");
}

/* Reserve blocks now: a store into a hole on a full disk would be a SIGBUS later. */
static int reserve(int fd, const char *path, uint64_t bytes, struct shmq_fail *fail) {
    int error;
    struct rlimit most; /* beyond it the kernel would send SIGXFSZ, of which a process dies unless it said otherwise */
    if (getrlimit(RLIMIT_FSIZE, &most) == 0 && bytes > most.rlim_cur) {
        fail->wanted = bytes;
        fail->limit = most.rlim_cur;
        return shmq_fail(fail, SHMQ_E_STORAGE_FULL, path, "RLIMIT_FSIZE forbids a file of that size");
    }
    do
        error = posix_fallocate(fd, 0, (off_t)bytes);
    while (error == EINTR);
    if (error == ENOSPC || error == EDQUOT || error == EFBIG)
        return fail_full(fail, path, bytes, fd);
    return error ? shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "fallocate", error) : SHMQ_OK;
}

static int create(const char *path, uint64_t bytes, int *fd, struct shmq_fail *fail) {
    *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0)
        return errno == ENOSPC || errno == EDQUOT ? (fail->wanted = bytes, fail->limit = 0,
                                                     shmq_fail(fail, SHMQ_E_STORAGE_FULL, path, "no space for the file"))
                                                  : shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "create", errno);
    int result = reserve(*fd, path, bytes, fail);
    if (result != SHMQ_OK) {
        unlink(path);
        close(*fd);
    }
    return result;
}

int shmq_create_file(const char *path, uint64_t bytes, const void *header, size_t header_bytes,
                     struct shmq_fail *fail) {
    int fd, result = create(path, bytes, &fd, fail);
    if (result != SHMQ_OK)
        return result;
    if (pwrite(fd, header, header_bytes, 0) != (ssize_t)header_bytes) {
        result = shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "write", errno);
        unlink(path);
    }
    close(fd);
    return result;
}

static int create_once(const char *path, const void *header, size_t header_bytes, uint64_t bytes, struct shmq_fail *fail) {
    char aside[SHMQ_PATH_BYTES];
    uint64_t number = shmq_now_ns() ^ (uint64_t)getpid() << 40; /* who takes the same name fails, and harms nobody */
    if ((size_t)snprintf(aside, sizeof aside, "%s.new-%016llx", path, (unsigned long long)number) >= sizeof aside)
        return shmq_fail(fail, SHMQ_E_STORAGE, path, "the name is too long");
    SHMQ_FAULT("files.create.before");
    int result = shmq_create_file(aside, bytes, header, header_bytes, fail);
    if (result != SHMQ_OK)
        return result;
    SHMQ_FAULT("files.link.before");
    if (link(aside, path) < 0 && errno != EEXIST)
        result = errno == ENOENT ? SHMQ_LOST : shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "link", errno);
    SHMQ_FAULT("files.link.after");
    unlink(aside); /* if it fails, it is left for `shmq gc` */
    return result;
}

/* A collector may take the file of a living maker for one that a death left: then it is made again. */
#define CREATE_TRIES 8

int shmq_create_once(const char *path, const void *header, size_t header_bytes, uint64_t bytes, struct shmq_fail *fail) {
    int result = SHMQ_LOST;
    for (uint32_t tries = 0; result == SHMQ_LOST && tries < CREATE_TRIES; tries++)
        result = create_once(path, header, header_bytes, bytes, fail);
    return result == SHMQ_LOST ? shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "link", ENOENT) : result;
}

/* Fault every page in for writing. Older kernels lack the advice: the first touches do it then, space is reserved. */
static int populate(void *base, uint64_t bytes, const char *path, struct shmq_fail *fail) {
    while (madvise(base, bytes, MADV_POPULATE_WRITE) < 0) {
        if (errno == EINTR || errno == EAGAIN)
            continue;
        if (errno == EINVAL)
            return SHMQ_OK;
        return shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "populate", errno);
    }
    return SHMQ_OK;
}

int shmq_create_mapped(const char *path, uint64_t bytes, void **base, struct shmq_fail *fail) {
    int fd, result = create(path, bytes, &fd, fail);
    if (result != SHMQ_OK)
        return result;
    *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (*base == MAP_FAILED)
        result = shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "mmap", errno);
    close(fd);
    if (result == SHMQ_OK && (result = populate(*base, bytes, path, fail)) != SHMQ_OK)
        munmap(*base, bytes);
    if (result != SHMQ_OK)
        unlink(path);
    return result;
}

int shmq_extend_file(const char *path, uint64_t bytes, struct shmq_fail *fail) {
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "open", errno);
    int result = reserve(fd, path, bytes, fail);
    close(fd);
    return result;
}

int shmq_map_file(const char *path, void **base, size_t *bytes, struct shmq_fail *fail) {
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "open", errno);
    struct stat status;
    int result = SHMQ_OK;
    fail->pos = 0;
    if (fstat(fd, &status) < 0)
        result = shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "stat", errno);
    else if (!S_ISREG(status.st_mode) || status.st_size < SHMQ_PAGE_BYTES)
        result = shmq_fail(fail, SHMQ_E_CORRUPT, path, "not a regular file of at least %u bytes", SHMQ_PAGE_BYTES);
    else {
        *bytes = (size_t)status.st_size;
        *base = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (*base == MAP_FAILED)
            result = shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "mmap", errno);
    }
    close(fd);
    return result;
}

struct head {
    char magic[8];
    uint32_t version, incompat;
};

struct peek {
    const void *base;
    struct head head;
};

static int peek(void *argument) {
    struct peek *look = argument;
    memcpy(&look->head, look->base, sizeof look->head);
    return SHMQ_OK;
}

int shmq_check_magic(const char *path, const void *base, size_t bytes, const char *magic, struct shmq_fail *fail) {
    struct peek look = {.base = base};
    if (bytes < sizeof look.head)
        return shmq_fail(fail, SHMQ_E_CORRUPT, path, "too short for a header: %zu bytes", bytes);
    int result = shmq_guarded(peek, &look, fail, path);
    if (result != SHMQ_OK)
        return result;
    fail->pos = 0;
    if (memcmp(look.head.magic, magic, 8) != 0)
        return shmq_fail(fail, SHMQ_E_CORRUPT, path, "it does not begin with %s", magic);
    if (look.head.version == SHMQ_LAYOUT_VERSION && look.head.incompat == 0)
        return SHMQ_OK;
    fail->wanted = SHMQ_LAYOUT_VERSION;
    fail->limit = look.head.version;
    return look.head.version != SHMQ_LAYOUT_VERSION
               ? shmq_fail(fail, SHMQ_E_VERSION, path, "layout version %u, this shmq reads version %u",
                           look.head.version, SHMQ_LAYOUT_VERSION)
               : shmq_fail(fail, SHMQ_E_VERSION, path, "unknown feature bits 0x%x, this shmq knows none (0x0)",
                           look.head.incompat);
}

uint32_t shmq_procs_crc(const struct shmq_procs_header *header) {
    uint32_t crc = shmq_crc32c(0, header, offsetof(struct shmq_procs_header, header_crc));
    return shmq_crc32c(crc, &header->instance, sizeof header->instance);
}
