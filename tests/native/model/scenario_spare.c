/* (g) The spare segment: makers race to make one, each dying or being taken for dead at any time; takers race for it, and
 * do not wait for ever for one that is being made. Each does it in the order of prepare.c, without its system calls.
 *
 * PROPERTIES
 *   half-made   somebody took a file that is not whole, or into which its maker still writes
 *   missing     the word is READY, and its file is gone
 *   leak        a file is there that the word does not name, though nobody died over it */
#include <string.h>

#include "journal.h"
#include "model.h"
#include "spare.h"

#define FILES 6u
#define WORDS 2u
#define MAKERS 2u

struct spare_scenario {
    unsigned makers, spares; /* that each makes at most */
    unsigned takers, takes;
    unsigned mistakes; /* how often a living maker is taken for dead */
};

enum name { NO_FILE, SPARE_FILE, TAKEN_FILE, REMOVED };

static const struct spare_scenario *now;
static struct shmq_control control;
static shmq_a64 words[FILES][WORDS];
static struct {
    uint8_t name[FILES + 1]; /* by incarnation */
    bool writing[FILES + 1]; /* its maker is not done with it */
    uint8_t mistakes;
} ghost;

static struct shmq_journal journal_of(uint64_t incarnation) {
    return (struct shmq_journal){words[incarnation - 1], WORDS, 1, incarnation, 0};
}

/* shmq_owner_life(): the truth, late or not, or a mistake about the living. */
static bool is_dead(uint32_t owner) {
    if (model_is_killed(owner))
        return model_is_still() || model_choose(2);
    if (ghost.mistakes == now->mistakes || model_choose(2) == 0)
        return false;
    ghost.mistakes++;
    return true;
}

static bool is_of_use(uint64_t word) {
    return shmq_spare_state(word) == SHMQ_SPARE_READY ||
           (shmq_spare_state(word) == SHMQ_SPARE_MAKING && !is_dead(shmq_spare_owner(word)));
}

/* unlink(); ENOENT where another was faster. */
static void remove_file(uint64_t word) {
    model_turn();
    uint64_t incarnation = shmq_spare_incarnation(word);
    if (ghost.name[incarnation] == SPARE_FILE)
        ghost.name[incarnation] = REMOVED;
}

static void make_one(unsigned maker, uint64_t incarnation) {
    uint64_t found = shmq_spare_look(&control), making = shmq_spare_making(incarnation, maker);
    if (is_of_use(found) || shmq_spare_begin(&control, found, making) != SHMQ_OK)
        return;
    if (found)
        remove_file(found);
    model_turn();
    ghost.name[incarnation] = SPARE_FILE;
    ghost.writing[incarnation] = true;
    struct shmq_journal journal = journal_of(incarnation);
    shmq_journal_reset(&journal);
    model_turn();
    ghost.writing[incarnation] = false;
    if (shmq_spare_finish(&control, making, shmq_spare_ready(incarnation, 1, false)) == SHMQ_OK)
        return;
    shmq_spare_take(&control, making);
    remove_file(making);
}

static void makes(void *argument) {
    unsigned maker = (unsigned)(uintptr_t)argument;
    for (unsigned spare = 0; spare < now->spares; spare++)
        make_one(maker, 1 + maker + (uint64_t)MAKERS * spare);
}

/* rename(), if it is READY. */
static void use(uint64_t word) {
    model_turn();
    uint64_t incarnation = shmq_spare_incarnation(word);
    if (shmq_spare_state(word) != SHMQ_SPARE_READY) {
        remove_file(word);
        return;
    }
    MODEL_CHECK(ghost.name[incarnation] == SPARE_FILE, "missing", incarnation, ghost.name[incarnation]);
    MODEL_CHECK(!ghost.writing[incarnation], "half-made", incarnation, word);
    ghost.name[incarnation] = TAKEN_FILE;
    struct shmq_journal journal = journal_of(incarnation);
    for (uint32_t index = 0; index < WORDS; index++) {
        struct shmq_entry entry;
        int result = shmq_journal_read(&journal, index, 0, &entry);
        MODEL_CHECK(result == SHMQ_NOTHING, "half-made", incarnation, index);
    }
}

static void takes(void *unused) {
    (void)unused;
    for (unsigned take = 0; take < now->takes; take++) {
        uint64_t word = shmq_spare_look(&control);
        bool waits = shmq_spare_state(word) == SHMQ_SPARE_MAKING && is_of_use(word);
        if (word && !waits && shmq_spare_take(&control, word) == SHMQ_OK)
            use(word);
    }
}

static void check(void) {
    uint64_t word = model_newest(&control.spare), incarnation = shmq_spare_incarnation(word);
    if (shmq_spare_state(word) == SHMQ_SPARE_READY)
        MODEL_CHECK(ghost.name[incarnation] == SPARE_FILE, "missing", incarnation, ghost.name[incarnation]);
}

static void finish(void) {
    uint64_t named = shmq_spare_incarnation(model_newest(&control.spare));
    unsigned unnamed = 0;
    for (uint64_t incarnation = 1; incarnation <= FILES; incarnation++)
        unnamed += ghost.name[incarnation] == SPARE_FILE && incarnation != named;
    MODEL_CHECK(unnamed <= model_killed(), "leak", unnamed, named);
}

static void start(const void *parameters) {
    static const char *const names[] = {"maker 0", "maker 1", "taker 0", "taker 1"};
    now = parameters;
    memset(&ghost, 0, sizeof(ghost));
    model_ghost(&ghost, sizeof(ghost));
    model_word(&control.spare, 0, MODEL_NUMBER, 0, "spare", 0);
    for (unsigned file = 0; file < FILES; file++)
        for (unsigned index = 0; index < WORDS && file % MAKERS < now->makers && file / MAKERS < now->spares; index++)
            model_word(&words[file][index], shmq_empty_word(99), MODEL_JOURNAL, MODEL_EAGER, "journal",
                       10 * (file + 1) + index);
    for (unsigned maker = 0; maker < now->makers; maker++)
        model_actor(names[maker], makes, (void *)(uintptr_t)maker, 0);
    for (unsigned taker = 0; taker < now->takers; taker++)
        model_actor(names[MAKERS + taker], takes, NULL, 0);
}

#define SPARE(title, deaths, is_long, ...)                                                                             \
    {                                                                                                                  \
        .name = "spare-" title, .start = start, .check = check, .finish = finish, .kills = deaths,                     \
        .long_only = is_long, .parameters = &(const struct spare_scenario){__VA_ARGS__}                                \
    }

const struct model_scenario model_scenarios[] = {
    SPARE("one", 1, false, .makers = 1, .spares = 2, .takers = 1, .takes = 2, .mistakes = 1),
    SPARE("two-takers", 1, false, .makers = 1, .spares = 3, .takers = 2, .takes = 2),
    SPARE("two-makers", 2, false, .makers = 2, .spares = 2, .takers = 1, .takes = 2, .mistakes = 1),
    SPARE("two-by-two", 2, true, .makers = 2, .spares = 2, .takers = 2, .takes = 2, .mistakes = 1),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
