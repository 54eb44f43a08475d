/* Die here: the crash tests' way into every state that other processes can see.
 *
 * Each store or compare-and-swap that another process can see is written SHMQ_SHARED("room.act", operation): a fault
 * point before it and one after it. A test arms one point in a child process with shmq_fault_arm(); unarmed, a point
 * costs one load of a word that never changes. tests/meta checks that no shared write stands outside SHMQ_SHARED. */
#ifndef SHMQ_FAULT_H
#define SHMQ_FAULT_H

#include <stdint.h>

/* Arm this process: at the `nth` (from 1) point passed whose name is `name`, raise `signal_number` against itself.
 * `name` NULL counts every point; `nth` 0 disarms. The name is copied; it is cut at 63 bytes. Before the signal the
 * point's name is written to standard error. */
void shmq_fault_arm(const char *name, uint64_t nth, int signal_number);

/* How many points matched since arming. */
uint64_t shmq_fault_passed(void);

#ifdef SHMQ_MODEL
#define SHMQ_FAULT(name) ((void)0)
#else
extern int shmq_fault_armed;
void shmq_fault_hit(const char *name);
#define SHMQ_FAULT(name)                                                                                               \
    do {                                                                                                               \
        if (__builtin_expect(__atomic_load_n(&shmq_fault_armed, __ATOMIC_RELAXED), 0))                                 \
            shmq_fault_hit(name);                                                                                      \
    } while (0)
#endif

#define SHMQ_SHARED(name, operation)                                                                                   \
    __extension__({                                                                                                    \
        SHMQ_FAULT(name ".before");                                                                                    \
        __typeof__(operation) shmq_shared_result = (operation);                                                        \
        SHMQ_FAULT(name ".after");                                                                                     \
        shmq_shared_result;                                                                                            \
    })

#endif
