#include "fault.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int shmq_fault_armed;

static char armed_name[64];
static uint64_t armed_nth;
static uint64_t passed;
static int armed_signal;

void shmq_fault_arm(const char *name, uint64_t nth, int signal_number) {
    __atomic_store_n(&shmq_fault_armed, 0, __ATOMIC_SEQ_CST);
    armed_name[0] = '\0';
    if (name)
        strncpy(armed_name, name, sizeof armed_name - 1);
    armed_nth = nth;
    armed_signal = signal_number;
    __atomic_store_n(&passed, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&shmq_fault_armed, nth != 0, __ATOMIC_SEQ_CST);
}

uint64_t shmq_fault_passed(void) {
    return __atomic_load_n(&passed, __ATOMIC_SEQ_CST);
}

void shmq_fault_hit(const char *name) {
    if (armed_name[0] && strcmp(armed_name, name) != 0)
        return;
    if (__atomic_add_fetch(&passed, 1, __ATOMIC_SEQ_CST) != armed_nth)
        return;
    char line[96];
    int bytes = snprintf(line, sizeof line, "fault point %s\n", name);
    if (write(STDERR_FILENO, line, (size_t)bytes) == bytes) /* so that the test knows where */
        kill(getpid(), armed_signal);
    else
        abort();
}
