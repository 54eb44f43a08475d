/* (k) Threads of one process that share a pin (mapping.c), and a fork among them, while another process takes the file
 * (reused.h).
 *
 * PROPERTIES  Those of reused.h. */
#include "reused.h"

#include <pthread.h>

static int lock_it(pthread_mutex_t *mutex);
static int unlock_it(pthread_mutex_t *mutex);
#define pthread_mutex_lock(mutex) lock_it(mutex)
#define pthread_mutex_unlock(mutex) unlock_it(mutex)
#include "mapping.c"
#undef pthread_mutex_lock
#undef pthread_mutex_unlock

#define CHILD 2u /* the user */

enum what {
    NOBODY,
    READ, /* pins, reads, lets go */
    KEEP, /* keeps a view, lets go of the segment, reads later */
    FORK, /* the child reads through what the other thread had pinned */
};

struct mapping_scenario {
    enum what threads[2];
    unsigned turns, lives;
};

static const struct mapping_scenario *now;
static struct shmq_process process = {.slot = 0, .epoch = 1};
static struct shmq_mapping mapping, childs;
static shmq_a64 locked, forked; /* forked: what the child may read, or NO_CHILD */
static uint64_t pinned_by[2];   /* as ghost state: the incarnation that each thread has pinned */

#define NO_CHILD 200u

/* All are of one process; what the child has is marked as inherited. */
uint64_t shmq_fork_count(void) {
    return 0;
}

int shmq_map_file(const char *path, void **base, size_t *bytes, struct shmq_fail *unused) {
    (void)path, (void)base, (void)bytes, (void)unused;
    return SHMQ_LOST;
}

static int lock_it(pthread_mutex_t *unused) {
    (void)unused;
    uint64_t none = 0;
    while (!shmq_cas(&locked, &none, 1)) {
        none = 0;
        if (!model_pause())
            model_fail("corrupt", "the lock is never given back", 0, 0);
    }
    return 0;
}

static int unlock_it(pthread_mutex_t *unused) {
    (void)unused;
    shmq_store_release(&locked, 0);
    return 0;
}

/* As map_file() of segment.c. */
static bool map(unsigned me, uint64_t incarnation) {
    shmq_mapping_pin(&mapping, &process, &fail);
    if (was_retired(incarnation)) {
        shmq_mapping_unpin(&mapping);
        return false;
    }
    use_begins(me, incarnation);
    pinned_by[me] = incarnation;
    return true;
}

static void use(unsigned me, uint64_t incarnation, bool keeps) {
    read_all(incarnation);
    model_turn(); /* the other one may fork here */
    if (keeps) {
        /* As shmq_segment_keep(), and the end of the segment. */
        shmq_mapping_pin(&mapping, &process, &fail);
        shmq_mapping_hold(&mapping);
        shmq_mapping_unpin(&mapping);
    }
    read_all(incarnation);
    pinned_by[me] = 0;
    use_ends(me);
    if (keeps)
        shmq_mapping_let_go(&mapping);
    else
        shmq_mapping_unpin(&mapping);
}

/* What other threads have in use at this moment, the child has for as long as it lives. */
static void forks(unsigned me) {
    before_fork();
    model_turn(); /* the fork itself takes time */
    uint64_t incarnation = pinned_by[!me];
    if (incarnation) {
        childs = mapping;
        childs.fork_count = 1;
        ghost.uses[CHILD] = true;
    }
    in_parent();
    shmq_store_release(&forked, incarnation ? incarnation : NO_CHILD);
}

static void thread(void *argument) {
    unsigned me = (unsigned)(uintptr_t)argument;
    if (now->threads[me] == FORK) {
        forks(me);
        return;
    }
    for (unsigned turn = 0; turn < now->turns; turn++) {
        uint64_t incarnation;
        if (find_live(&incarnation) && map(me, incarnation))
            use(me, incarnation, now->threads[me] == KEEP);
    }
}

static void child(void *unused) {
    (void)unused;
    uint64_t incarnation;
    while (!(incarnation = shmq_load_acquire(&forked)))
        if (!model_pause())
            return;
    if (incarnation == NO_CHILD)
        return;
    read_all(incarnation);
    unpin(&childs); /* without the lock: the child's own was never taken */
    model_turn();
    read_all(incarnation);
    use_ends(CHILD);
}

static void start(const void *parameters) {
    static const char *const names[] = {"thread 0", "thread 1"};
    static const uint64_t holders[SHMQ_PINS];
    now = parameters;
    begin(true, now->lives, holders);
    mapping = (struct shmq_mapping){.header = &header, .users = 100};
    memset(&childs, 0, sizeof(childs));
    memset(pinned_by, 0, sizeof(pinned_by));
    pinned = NULL;
    model_ghost(&mapping, sizeof(mapping));
    model_ghost(&pinned, sizeof(pinned));
    model_ghost(&childs, sizeof(childs));
    model_ghost(pinned_by, sizeof(pinned_by));
    model_word(&locked, 0, MODEL_NUMBER, 0, "locked", 0);
    model_word(&forked, 0, MODEL_NUMBER, 0, "forked", 0);
    bool has_child = false;
    for (unsigned me = 0; me < 2 && now->threads[me]; me++) {
        model_actor(names[me], thread, (void *)(uintptr_t)me, MODEL_IMMORTAL);
        has_child |= now->threads[me] == FORK;
    }
    if (has_child)
        model_actor("child", child, NULL, 0);
    model_actor("taker", takes, (void *)0, 0);
}

#define MAPPING(title, deaths, is_long, ...)                                                                           \
    {                                                                                                                  \
        .name = "mapping-" title, .start = start, .conclude = conclude, .kills = deaths, .long_only = is_long,         \
        .parameters = &(const struct mapping_scenario){__VA_ARGS__}                                                    \
    }

const struct model_scenario model_scenarios[] = {
    MAPPING("one", 1, false, .threads = {KEEP}, .turns = 2),
    MAPPING("two", 0, false, .threads = {READ, READ}, .turns = 1),
    MAPPING("keeper", 0, false, .threads = {KEEP, READ}, .turns = 1),
    MAPPING("fork", 0, false, .threads = {READ, FORK}, .turns = 1),
    MAPPING("fork-kept", 0, false, .threads = {KEEP, FORK}, .turns = 1),
    MAPPING("two-lives", 0, true, .threads = {READ, READ}, .turns = 2, .lives = 2),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
