/* Fields of /proc/PID/stat: proc(5). The flags field (9) carries PF_EXITING within a millisecond of a kill, long
 * before the memory of a large process is torn down and its locks fall free. */
#include "process_stat.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PF_EXITING 0x4u

struct facts {
    char state;
    unsigned flags;
    unsigned long long start_time;
};

static bool read_facts(int pid, struct facts *facts) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t bytes = read(fd, text, sizeof text - 1);
    close(fd);
    if (bytes <= 0)
        return false;
    text[bytes] = '\0';
    char *after_name = strrchr(text, ')'); /* the name itself may hold anything */
    return after_name && sscanf(after_name + 1,
                                " %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                                &facts->state, &facts->flags, &facts->start_time) == 3;
}

uint64_t shmq_start_time(int pid) {
    struct facts facts;
    return read_facts(pid, &facts) ? facts.start_time : 0;
}

bool shmq_is_exiting(int pid, uint64_t start_time) {
    struct facts facts;
    if (!read_facts(pid, &facts) || facts.start_time != start_time)
        return false;
    return (facts.flags & PF_EXITING) || facts.state == 'Z' || facts.state == 'X';
}

uint64_t shmq_pid_namespace(void) {
    static uint64_t inode;
    if (!__atomic_load_n(&inode, __ATOMIC_RELAXED)) {
        struct stat status;
        if (stat("/proc/self/ns/pid", &status) == 0)
            __atomic_store_n(&inode, status.st_ino, __ATOMIC_RELAXED);
    }
    return inode;
}
