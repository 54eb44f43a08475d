#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static __thread sigjmp_buf landing;
static __thread volatile sig_atomic_t guarded;

static struct sigaction previous;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void chain(int number, siginfo_t *info, void *context) {
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, context);
        return;
    }
    if (previous.sa_handler == SIG_IGN && info->si_code <= 0)
        return; /* sent by kill(): it may be ignored; a real fault would only repeat */
    if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
        return;
    }
    struct sigaction fallback = {.sa_handler = SIG_DFL};
    sigaction(SIGBUS, &fallback, NULL);
    raise(SIGBUS);
}

static void on_sigbus(int number, siginfo_t *info, void *context) {
    if (guarded && info->si_code > 0) {
        guarded = 0;
        siglongjmp(landing, 1);
    }
    chain(number, info, context);
}

void shmq_guard_install(void) {
    pthread_mutex_lock(&lock);
    struct sigaction now;
    sigaction(SIGBUS, NULL, &now);
    if (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != on_sigbus) {
        /* SA_NODEFER, because the handler is left by siglongjmp and the mask is not saved: saving it costs a call. */
        struct sigaction ours = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
        sigemptyset(&ours.sa_mask);
        previous = now;
        sigaction(SIGBUS, &ours, NULL);
    }
    pthread_mutex_unlock(&lock);
}

int shmq_guarded(int (*function)(void *), void *argument, struct shmq_fail *fail, const char *path) {
    if (guarded)
        return function(argument);
    if (sigsetjmp(landing, 0)) {
        fail->error_number = EIO;
        snprintf(fail->what, sizeof fail->what, "a mapped page could not be read or written (I/O error or file cut short)");
        snprintf(fail->path, sizeof fail->path, "%s", path);
        return SHMQ_E_STORAGE;
    }
    guarded = 1;
    /* The compiler may not move touches of mapped memory out of the guarded stretch. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    int result = function(argument);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    guarded = 0;
    return result;
}
