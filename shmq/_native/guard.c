#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static __thread sigjmp_buf landing;
static __thread volatile sig_atomic_t guarded;

/* Who was there before us, oldest first. More than one where a library installed its handler over ours and we ours over
 * that: then its handler may call ours again, and that second call goes to who was there before both. */
#define MOST_BEFORE 4
static struct sigaction before[MOST_BEFORE];
static int before_count;
static __thread int calls; /* of chain(), one within the other; one that was left by a jump counts until the next guard */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void call(const struct sigaction *handler, int number, siginfo_t *info, void *context) {
    if (handler->sa_flags & SA_SIGINFO) {
        handler->sa_sigaction(number, info, context);
        return;
    }
    if (handler->sa_handler == SIG_IGN && info->si_code <= 0)
        return; /* sent by kill(): it may be ignored; a real fault would only repeat */
    if (handler->sa_handler != SIG_DFL && handler->sa_handler != SIG_IGN) {
        handler->sa_handler(number);
        return;
    }
    struct sigaction fallback = {.sa_handler = SIG_DFL};
    sigaction(SIGBUS, &fallback, NULL);
    raise(SIGBUS);
}

static void chain(int number, siginfo_t *info, void *context) {
    int turn = calls++, newest = __atomic_load_n(&before_count, __ATOMIC_ACQUIRE) - 1;
    call(&before[turn < newest ? newest - turn : 0], number, info, context);
    calls = turn;
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
        int place = before_count < MOST_BEFORE ? before_count : MOST_BEFORE - 1;
        before[place] = now;
        __atomic_store_n(&before_count, place + 1, __ATOMIC_RELEASE);
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
    calls = 0;
    /* The compiler may not move touches of mapped memory out of the guarded stretch. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    int result = function(argument);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    guarded = 0;
    return result;
}
