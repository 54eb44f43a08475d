/* (b) Two producers race through the whole life of a log: the first segment, full segments that are sealed, successors
 * prepared aside and published, the oldest retired when the ring is full; a reader follows and may fall behind. */
#include "log.h"

struct roll_scenario {
    struct log_shape shape;
    unsigned batches[2]; /* of each producer */
    unsigned heals;
};

static const struct roll_scenario *now;

static void produce(void *argument) {
    struct log_handle handle = {.owner = (unsigned)(uintptr_t)argument};
    for (unsigned batch = 0; batch < now->batches[handle.owner]; batch++)
        if (!log_append(&handle, batch))
            return;
}

static void heal(void *unused) {
    (void)unused;
    for (unsigned heals = 0; heals < now->heals; heals++)
        log_heal();
}

static void read_all(void *unused) {
    (void)unused;
    log_read_all();
}

static void start(const void *parameters) {
    static const char *const names[] = {"producer 0", "producer 1"};
    now = parameters;
    log_begin(&now->shape);
    for (unsigned owner = 0; owner < now->shape.owners; owner++)
        model_actor(names[owner], produce, (void *)(uintptr_t)owner, 0);
    if (now->heals)
        model_actor("healer", heal, NULL, MODEL_OPTIONAL | MODEL_IMMORTAL);
    model_actor("reader", read_all, NULL, MODEL_IMMORTAL | MODEL_LAZY);
}

#define ROLL(title, deaths, is_long, ...)                                                                              \
    {                                                                                                                  \
        .name = "roll-" title, .start = start, .check = log_check, .finish = log_finish, .kills = deaths,              \
        .long_only = is_long, .parameters = &(const struct roll_scenario){__VA_ARGS__}                                 \
    }

/* Shape: owners, ring slots, files of each owner, units of each file, units of each owner's batches. */
const struct model_scenario model_scenarios[] = {
    ROLL("one", 1, false, .shape = {1, 4, 4, 2, {1}}, .batches = {3}, .heals = 1),
    ROLL("two", 2, false, .shape = {2, 4, 3, 2, {1, 1}}, .batches = {2, 2}),
    /* Where one does not fit the other may still claim: both go for the same word. */
    ROLL("claim-or-seal", 1, false, .shape = {2, 4, 3, 3, {2, 1}}, .batches = {2, 2}),
    ROLL("two-healed", 1, false, .shape = {2, 4, 2, 1, {1, 1}}, .batches = {1, 1}, .heals = 1),
    ROLL("full", 1, false, .shape = {2, 3, 3, 1, {1, 1}}, .batches = {2, 1}),
    ROLL("full-two-by-two", 1, true, .shape = {2, 3, 4, 1, {1, 1}}, .batches = {2, 2}),
    ROLL("full-two-units", 1, true, .shape = {2, 3, 3, 2, {1, 1}}, .batches = {3, 3}),
    ROLL("claim-or-seal-healed", 2, true, .shape = {2, 4, 3, 3, {2, 1}}, .batches = {2, 2}, .heals = 1),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
