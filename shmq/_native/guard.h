/* Guarded access: a mapped page that cannot be had becomes an error, not a dead process.
 *
 * A mapping may fail at any touch: the disk has an I/O error, or somebody cut the file short. The kernel then sends
 * SIGBUS to the very thread. shmq_guarded() runs one function with a landing place for that; whatever it does with
 * mapped memory, it holds no lock and allocates nothing, since it may be left at any instruction.
 *
 * The handler is chained: a SIGBUS that is not ours goes to whoever was there before. */
#ifndef SHMQ_GUARD_H
#define SHMQ_GUARD_H

#include "result.h"

/* Install the handler; once a process, again after another library replaced it. */
void shmq_guard_install(void);

/* Call `function(argument)`; its result, or E_STORAGE if a touched page could not be had. Within another guarded
 * function it only calls: the outermost one is left. */
int shmq_guarded(int (*function)(void *), void *argument, struct shmq_fail *fail, const char *path);

#endif
