/* For F_GETLK, see fcntl(2); the lock byte of slot n is byte n of procs.lock. */
#include "liveness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doorbell.h"
#include "fault.h"
#include "files.h"
#include "guard.h"
#include "process_stat.h"

/* No slot is let so often: an epoch from here on is damage, and would not fit a reader's entry. */
#define EPOCHS ((UINT64_C(1) << SHMQ_TENANT_EPOCH_BITS) - 1)

static struct shmq_process *processes;
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static uint64_t fork_count;

/* Forks wait until no other thread is inside, so that the child inherits nothing half-done. */
static void before_fork(void) {
    pthread_mutex_lock(&registry);
}

static void in_parent(void) {
    pthread_mutex_unlock(&registry);
}

/* The child drops what it inherited without touching it: the locks and slots are its parent's. */
static void in_child(void) {
    fork_count++;
    processes = NULL;
    pthread_mutex_unlock(&registry);
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(before_fork, in_parent, in_child);
}

uint64_t shmq_fork_count(void) {
    return fork_count;
}

static int open_lock_file(const char *directory, int *fd, struct shmq_fail *fail) {
    char path[SHMQ_PATH_BYTES];
    snprintf(path, sizeof path, "%s/procs.lock", directory);
    *fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return *fd < 0 ? shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "open", errno) : SHMQ_OK;
}

static int lock_byte(int fd, short type, uint32_t slot) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
    int result;
    do
        result = fcntl(fd, F_SETLK, &lock);
    while (result < 0 && errno == EINTR);
    return result;
}

static bool byte_is_locked(int fd, uint32_t slot) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
    return fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type != F_UNLCK; /* in doubt, alive */
}

int shmq_procs_create(const char *path, uint64_t instance, uint32_t slots, struct shmq_fail *fail) {
    if (slots == 0 || slots > SHMQ_MAX_SLOTS)
        return shmq_fail(fail, SHMQ_E_INTERNAL, path, "a procs file has 1 to %u slots, not %u", SHMQ_MAX_SLOTS, slots);
    struct shmq_procs_header header = {.version = SHMQ_LAYOUT_VERSION, .slots = slots, .instance = instance};
    memcpy(header.magic, SHMQ_PROCS_MAGIC, 8);
    header.header_crc = shmq_procs_crc(&header);
    return shmq_create_file(path, SHMQ_PAGE_BYTES + slots * sizeof(struct shmq_slot), &header, sizeof header, fail);
}

struct header_look {
    const struct shmq_procs_header *mapped;
    struct shmq_procs_header header;
};

static int copy_header(void *argument) {
    struct header_look *look = argument;
    look->header = *look->mapped;
    return SHMQ_OK;
}

static int check_header(const struct shmq_process *process, const struct shmq_procs_header *header, const char *path,
                        struct shmq_fail *fail) {
    fail->pos = 0;
    if (header->header_crc != shmq_procs_crc(header) || header->slots == 0 || header->slots > SHMQ_MAX_SLOTS ||
        process->mapped_bytes < SHMQ_PAGE_BYTES + header->slots * sizeof(struct shmq_slot))
        return shmq_fail(fail, SHMQ_E_CORRUPT, path, "the header's checksum, slot count or file length is wrong");
    if (header->instance != process->instance)
        return shmq_fail(fail, SHMQ_E_CORRUPT, path, "it belongs to another broker");
    return SHMQ_OK;
}

static int map_procs(struct shmq_process *process, struct shmq_fail *fail) {
    char path[SHMQ_PATH_BYTES];
    snprintf(path, sizeof path, "%s/procs", process->directory);
    void *base;
    int result = shmq_map_file(path, &base, &process->mapped_bytes, fail);
    if (result != SHMQ_OK)
        return result;
    struct header_look look = {.mapped = base};
    result = shmq_check_magic(path, base, process->mapped_bytes, SHMQ_PROCS_MAGIC, fail);
    if (result == SHMQ_OK)
        result = shmq_guarded(copy_header, &look, fail, path);
    if (result == SHMQ_OK)
        result = check_header(process, &look.header, path, fail);
    if (result != SHMQ_OK) {
        munmap(base, process->mapped_bytes);
        return result;
    }
    process->slots = look.header.slots;
    process->table = (struct shmq_slot *)((char *)base + SHMQ_PAGE_BYTES);
    return SHMQ_OK;
}

/* PAIR tenancy: the loads in shmq_tenant_life(), which takes a mixture of two tenants for neither. */
static void introduce(struct shmq_slot *entry) {
    SHMQ_SHARED("procs.pid", shmq_store_relaxed(&entry->pid, (uint64_t)getpid()));
    SHMQ_SHARED("procs.start_time", shmq_store_relaxed(&entry->start_time, shmq_start_time(getpid())));
    SHMQ_SHARED("procs.pid_namespace", shmq_store_relaxed(&entry->pid_namespace, shmq_pid_namespace()));
}

/* Become the tenant of a slot whose byte we hold: the old tenant, if any, is dead or was taken for it. First its end is
 * made known, since its byte is locked again. False: we have lost the byte meanwhile, and another process has the slot. */
static bool move_in(struct shmq_process *process, uint32_t slot) {
    struct shmq_slot *entry = &process->table[slot];
    uint64_t tenancy = shmq_slot_tenancy(process, slot), vacant = tenancy & ~UINT64_C(1);
    uint64_t epoch = (tenancy >> 1) + 1;
    if (tenancy != vacant)
        SHMQ_SHARED("procs.bury", shmq_cas(&entry->tenancy, &tenancy, vacant));
    introduce(entry);
    if (!SHMQ_SHARED("procs.tenancy", shmq_cas(&entry->tenancy, &vacant, epoch << 1 | 1))) /* PAIR tenancy */
        return false;
    process->slot = slot;
    process->epoch = epoch;
    process->owner = shmq_owner(slot, epoch);
    return true;
}

struct moving {
    struct shmq_process *process;
    struct shmq_fail *fail;
};

/* The free slot that was let the fewest times, so that the few epoch bits of a journal word last longest. */
static int find_slot(void *argument) {
    struct moving *moving = argument;
    struct shmq_process *process = moving->process;
    for (uint64_t tries = 0; tries < 2 * (uint64_t)process->slots; tries++) {
        uint32_t best = process->slots;
        uint64_t fewest = EPOCHS;
        for (uint32_t slot = 0; slot < process->slots; slot++) {
            uint64_t tenancy = shmq_slot_tenancy(process, slot);
            /* The byte decides, not the live bit: a process locks its byte just before it moves in. */
            if (tenancy >> 1 < fewest && !byte_is_locked(process->lock_fd, slot)) {
                fewest = tenancy >> 1;
                best = slot;
                if (fewest == 0)
                    break;
            }
        }
        if (best == process->slots)
            break;
        if (lock_byte(process->lock_fd, F_WRLCK, best) == 0 && move_in(process, best))
            return SHMQ_OK;
    }
    moving->fail->limit = process->slots;
    return shmq_fail(moving->fail, SHMQ_E_SLOTS, process->directory, "every process slot is taken");
}

/* With our byte locked: live on in our slot, or take another one. */
static int move_again(void *argument) {
    struct moving *moving = argument;
    struct shmq_process *process = moving->process;
    bool held = lock_byte(process->lock_fd, F_WRLCK, process->slot) == 0; /* what we still hold is locked again */
    uint64_t tenancy = shmq_slot_tenancy(process, process->slot);
    if (held && tenancy == (process->epoch << 1 | 1)) {
        introduce(&process->table[process->slot]); /* whatever it was that we were taken for dead by */
        return SHMQ_OK;
    }
    shmq_doorbell_forget(process);
    return held && tenancy >> 1 < EPOCHS && move_in(process, process->slot) ? SHMQ_OK : find_slot(moving);
}

static int move_out(void *argument) {
    struct moving *moving = argument;
    struct shmq_process *process = moving->process;
    uint64_t live = process->epoch << 1 | 1;
    SHMQ_SHARED("procs.leave", shmq_cas(&process->table[process->slot].tenancy, &live, process->epoch << 1));
    return SHMQ_OK;
}

static void free_process(struct shmq_process *process) {
    shmq_doorbell_close(process);
    if (process->table)
        munmap((char *)process->table - SHMQ_PAGE_BYTES, process->mapped_bytes);
    if (process->lock_fd >= 0)
        close(process->lock_fd);
    free(process);
}

static int register_process(const char *directory, uint64_t instance, const struct stat *status,
                            struct shmq_process **out, struct shmq_fail *fail) {
    struct shmq_process *process = calloc(1, sizeof *process);
    if (!process)
        return shmq_fail_errno(fail, SHMQ_E_STORAGE, directory, "calloc", ENOMEM);
    process->device = status->st_dev;
    process->inode = status->st_ino;
    process->instance = instance;
    process->fork_count = fork_count;
    snprintf(process->directory, sizeof process->directory, "%s", directory);
    int result = open_lock_file(directory, &process->lock_fd, fail);
    if (result == SHMQ_OK)
        result = map_procs(process, fail);
    struct moving moving = {process, fail};
    if (result == SHMQ_OK)
        result = shmq_guarded(find_slot, &moving, fail, directory);
    if (result != SHMQ_OK) {
        free_process(process);
        return result;
    }
    *out = process;
    return SHMQ_OK;
}

int shmq_process_open(const char *directory, uint64_t instance, struct shmq_process **out, struct shmq_fail *fail) {
    char path[SHMQ_PATH_BYTES];
    struct stat status;
    if (strlen(directory) >= sizeof((*out)->directory))
        return shmq_fail(fail, SHMQ_E_STORAGE, directory, "the broker directory's name is too long");
    snprintf(path, sizeof path, "%s/procs.lock", directory);
    if (stat(path, &status) < 0)
        return shmq_fail_errno(fail, SHMQ_E_STORAGE, path, "stat", errno);
    pthread_mutex_lock(&registry);
    struct shmq_process *process = processes;
    while (process && (process->device != status.st_dev || process->inode != status.st_ino))
        process = process->next;
    int result = SHMQ_OK;
    if (!process) {
        result = register_process(directory, instance, &status, &process, fail);
        if (result == SHMQ_OK) {
            process->next = processes;
            processes = process;
        }
    }
    if (result == SHMQ_OK) {
        process->users++;
        *out = process;
    }
    pthread_mutex_unlock(&registry);
    return result;
}

void shmq_process_hold(struct shmq_process *process) {
    pthread_mutex_lock(&registry);
    process->users++;
    pthread_mutex_unlock(&registry);
}

void shmq_process_close(struct shmq_process *process) {
    if (process->fork_count != fork_count)
        return;
    pthread_mutex_lock(&registry);
    if (--process->users == 0) {
        struct shmq_process **link = &processes;
        while (*link != process)
            link = &(*link)->next;
        *link = process->next;
        struct shmq_fail ignored; /* if the file is gone, so is the slot */
        struct moving moving = {process, &ignored};
        shmq_guarded(move_out, &moving, &ignored, process->directory);
        free_process(process); /* closing the descriptor releases the byte */
    }
    pthread_mutex_unlock(&registry);
}

int shmq_process_renew(struct shmq_process *process, struct shmq_fail *fail) {
    pthread_mutex_lock(&registry);
    int result = SHMQ_OK;
    struct stat status;
    /* Somebody may have closed our descriptor (a daemon that closes all), and its number may be another file's now. */
    if (fstat(process->lock_fd, &status) < 0 || status.st_dev != process->device || status.st_ino != process->inode)
        result = open_lock_file(process->directory, &process->lock_fd, fail);
    struct moving moving = {process, fail};
    if (result == SHMQ_OK)
        result = shmq_guarded(move_again, &moving, fail, process->directory);
    pthread_mutex_unlock(&registry);
    return result;
}

uint64_t shmq_slot_tenancy(const struct shmq_process *process, uint32_t slot) {
    return shmq_load_acquire(&process->table[slot].tenancy); /* PAIR tenancy */
}

enum shmq_life shmq_tenant_life(const struct shmq_process *process, uint32_t slot, uint64_t epoch) {
    if (slot >= process->slots || shmq_slot_tenancy(process, slot) != (epoch << 1 | 1))
        return SHMQ_LIFE_DEAD;
    if (slot == process->slot && epoch == process->epoch)
        return SHMQ_LIFE_ALIVE; /* F_GETLK does not show one's own locks */
    if (!byte_is_locked(process->lock_fd, slot))
        /* A new tenant may be between its lock and its tenancy, or have come and gone; then the epoch shows it. */
        return SHMQ_LIFE_DEAD;
    const struct shmq_slot *entry = &process->table[slot];
    uint64_t pid = shmq_load_relaxed(&entry->pid); /* PAIR tenancy: ordered by the acquire of tenancy above */
    if (shmq_load_relaxed(&entry->pid_namespace) != shmq_pid_namespace())
        return SHMQ_LIFE_ALIVE;
    /* The byte may be a new tenant's, which has not yet said so. */
    if (kill((pid_t)pid, 0) < 0 && errno == ESRCH)
        return SHMQ_LIFE_DEAD;
    return shmq_is_exiting((int)pid, shmq_load_relaxed(&entry->start_time)) ? SHMQ_LIFE_DYING : SHMQ_LIFE_ALIVE;
}

enum shmq_life shmq_owner_life(const struct shmq_process *process, uint32_t owner) {
    uint32_t slot = owner & (SHMQ_MAX_SLOTS - 1);
    if (slot >= process->slots)
        return SHMQ_LIFE_DEAD;
    uint64_t tenancy = shmq_slot_tenancy(process, slot);
    if (shmq_owner(slot, tenancy >> 1) != owner)
        return SHMQ_LIFE_DEAD;
    return shmq_tenant_life(process, slot, tenancy >> 1);
}

enum shmq_life shmq_holder_life(const struct shmq_process *process, uint32_t holder) {
    uint32_t slot = holder & (SHMQ_MAX_SLOTS - 1);
    if (slot >= process->slots)
        return SHMQ_LIFE_DEAD;
    uint64_t tenancy = shmq_slot_tenancy(process, slot);
    return shmq_holder(slot, tenancy >> 1) == holder ? shmq_tenant_life(process, slot, tenancy >> 1) : SHMQ_LIFE_DEAD;
}
