/* (j) One segment file used again in place (reused.h) while others have it in use or are about to: readers that pin it, views
 * that are kept, forks, late producers and reservations of an old life, two that take it at once. Readers do it in the order
 * of segment.c, producers in that of appender.c.
 *
 * PROPERTIES  Those of reused.h and ledger.h. */
#include "reused.h"

#include "ledger.h"

#define LIFE_OFFSETS 16u

enum what {
    NOBODY,
    READ,    /* pins, reads, lets go */
    KEEP,    /* reads once more, later, before it lets go */
    FORK,    /* forks while it has it pinned; the child reads, when its parent has let go */
    HOLD,    /* as READ, but had it pinned from the start */
    RESERVE, /* reserves, writes late, lets go */
    NAME,    /* then also appends a batch that names what it reserved */
};

struct user {
    enum what what;
    unsigned slot, epoch, turns; /* turns 0: one */
};

struct pins_scenario {
    struct user users[USERS];
    unsigned takers;
    unsigned lives;         /* that the takers make, beside the first; 0: one */
    unsigned stale_batches; /* of a producer of the first life, which seals it then; 0: the first life is sealed already */
    unsigned heals, new_batches;
};

static const struct pins_scenario *now;

/* ---- Users ---- */

static uint64_t holder_of(unsigned me) {
    return shmq_pin_holder(now->users[me].slot, now->users[me].epoch);
}

/* As pin() of segment.c. */
static bool pin(unsigned me, uint64_t incarnation, int32_t *entry) {
    *entry = shmq_pins_take(&header.pins, holder_of(me));
    if (was_retired(incarnation)) {
        shmq_pins_drop(&header.pins, *entry, holder_of(me));
        return false;
    }
    use_begins(me, incarnation);
    return true;
}

static void let_go(unsigned me, int32_t entry) {
    use_ends(me);
    shmq_pins_drop(&header.pins, entry, holder_of(me));
}

static void read_once(unsigned me, enum what what) {
    uint64_t incarnation = FIRST;
    int32_t entry = (int32_t)me;
    if (what != HOLD && !(find_live(&incarnation) && pin(me, incarnation, &entry)))
        return;
    read_all(incarnation);
    if (what == KEEP) {
        model_turn();
        read_all(incarnation);
    }
    if (what == FORK) {
        /* As before_fork() of mapping.c; then the child lives for as long as it likes. */
        shmq_pins_taint(&header.pins);
        shmq_pins_drop(&header.pins, entry, holder_of(me));
        model_turn();
        read_all(incarnation);
        use_ends(me);
        return;
    }
    let_go(me, entry);
}

static void reads(void *argument) {
    unsigned me = (unsigned)(uintptr_t)argument;
    const struct user *user = &now->users[me];
    for (unsigned turn = 0; turn == 0 || turn < user->turns; turn++)
        read_once(me, user->what);
}

/* What is written with a claim or a reservation lands in the memory that it was made for. */
static void write_data(uint32_t pos, uint64_t value, uint64_t incarnation) {
    model_data_store(&data[pos], value);
    is_mine(incarnation);
}

static void reserves(void *argument) {
    unsigned me = (unsigned)(uintptr_t)argument, number = ledger_number(2, 0, 0);
    struct shmq_journal journal = journal_of(FIRST);
    struct shmq_claim reserved, claim;
    int32_t entry = -1;
    if (!pin(me, FIRST, &entry))
        return;
    if (shmq_journal_reserve(&journal, shmq_owner(now->users[me].slot, 1), 1, &reserved) == SHMQ_OK) {
        is_mine(FIRST);
        model_turn();
        write_data(reserved.start_pos, ledger_payload(number), FIRST);
        if (now->users[me].what == NAME &&
            shmq_journal_claim(&journal, shmq_owner(now->users[me].slot, 1), 1, 1, &claim) == SHMQ_OK) {
            is_mine(FIRST);
            ghost.sent[0][claim.index] = (uint8_t)ledger_payload(number);
            write_data(claim.start_pos, ledger_payload(number), FIRST);
            shmq_journal_commit(&journal, &claim);
        }
    }
    let_go(me, entry);
}

/* ---- Producers, which have nothing pinned ---- */

static uint64_t base_of(unsigned life) {
    return LIFE_OFFSETS * life;
}

/* As append_guarded() of appender.c: OK, NO_FIT, or SEALED. */
static int append(struct shmq_journal *journal, unsigned owner, unsigned batch) {
    uint64_t incarnation = journal->incarnation;
    unsigned life = life_of(incarnation);
    for (unsigned attempt = 0;; attempt++) {
        unsigned number = ledger_number(owner, batch, attempt);
        struct shmq_claim claim;
        int result = shmq_journal_claim(journal, shmq_owner(owner, 1), 1, 1, &claim);
        if (result != SHMQ_OK && was_retired(incarnation))
            return SHMQ_SEALED;
        MODEL_CHECK(result >= 0, "corrupt", result, claim.index);
        if (result != SHMQ_OK)
            return result;
        is_mine(incarnation);
        ghost.sent[life][claim.index] = (uint8_t)ledger_payload(number);
        ledger_claimed(number, life, base_of(life), &claim);
        write_data(claim.start_pos, ledger_payload(number), incarnation);
        if (shmq_journal_commit(journal, &claim) == SHMQ_OK) {
            ledger_acknowledged(number);
            return SHMQ_OK;
        }
        ledger_lost(number);
    }
}

static void stale(void *unused) {
    (void)unused;
    struct shmq_journal journal = journal_of(FIRST);
    for (unsigned batch = 0; batch < now->stale_batches; batch++)
        if (append(&journal, 0, batch) != SHMQ_OK)
            break;
    seal(&journal);
}

static bool wait_for_new(uint64_t *incarnation) {
    while (shmq_ring_look(&ring, seq_of(1), incarnation) != SHMQ_SEQ_LIVE)
        if (!model_pause())
            return false;
    return true;
}

static void produce(void *unused) {
    (void)unused;
    uint64_t incarnation;
    if (!wait_for_new(&incarnation))
        return;
    struct shmq_journal journal = journal_of(incarnation);
    for (unsigned batch = 0; batch < now->new_batches; batch++) {
        int result = append(&journal, 1, batch);
        MODEL_CHECK(result == SHMQ_OK || now->heals, "corrupt", result, batch);
    }
}

/* Of any life, right or wrong. */
static void heal(void *unused) {
    (void)unused;
    struct shmq_journal journal = journal_of(FIRST);
    for (unsigned heals = 0; heals < now->heals; heals++) {
        unsigned index = model_choose(WORDS);
        uint64_t word = shmq_load_acquire(&words[index]);
        if (shmq_word_state(word) != SHMQ_CLAIMED || shmq_journal_abort(&journal, index, word) != SHMQ_OK)
            model_drop();
    }
}

static void read_new(void *unused) {
    (void)unused;
    uint64_t incarnation;
    if (!wait_for_new(&incarnation))
        return;
    struct shmq_journal journal = journal_of(incarnation);
    uint64_t before = 0;
    for (uint32_t index = 0; index < WORDS - 1;) {
        struct shmq_entry entry;
        int result = shmq_journal_read(&journal, index, before, &entry);
        MODEL_CHECK(result >= 0, "corrupt", result, index);
        if (result == SHMQ_NOTHING || result == SHMQ_PENDING) {
            if (model_pause())
                continue;
            if (result == SHMQ_NOTHING)
                return;
            shmq_journal_abort(&journal, index, entry.word);
            continue;
        }
        MODEL_CHECK(result == SHMQ_OK || result == SHMQ_LOST, "foreign", result, index);
        if (result == SHMQ_OK)
            ledger_delivered(model_data_load(&data[entry.start_pos]), 1, base_of(1), &entry);
        before = entry.word;
        index++;
    }
}

/* ---- */

static void add_users(void) {
    static const char *const names[] = {"user 0", "user 1", "user 2"};
    for (unsigned user = 0; user < USERS && now->users[user].what; user++)
        model_actor(names[user], now->users[user].what < RESERVE ? reads : reserves, (void *)(uintptr_t)user, 0);
}

static void start(const void *parameters) {
    static const char *const names[] = {"taker 0", "taker 1"};
    now = parameters;
    uint64_t holders[SHMQ_PINS];
    for (unsigned entry = 0; entry < SHMQ_PINS; entry++)
        holders[entry] = now->users[entry].what == HOLD ? holder_of(entry) : 0;
    begin(!now->stale_batches, now->lives, holders);
    for (unsigned entry = 0; entry < SHMQ_PINS; entry++)
        ghost.uses[entry] = now->users[entry].what == HOLD;
    ledger_begin();
    add_users();
    for (unsigned taker = 0; taker < now->takers; taker++)
        model_actor(names[taker], takes, (void *)(uintptr_t)taker, 0);
    if (now->stale_batches)
        model_actor("stale", stale, NULL, 0);
    if (now->new_batches)
        model_actor("producer", produce, NULL, 0);
    if (now->heals)
        model_actor("healer", heal, NULL, MODEL_OPTIONAL | MODEL_IMMORTAL);
    if (now->new_batches)
        model_actor("reader", read_new, NULL, MODEL_IMMORTAL | MODEL_LAZY);
}

static void finish(void) {
    ledger_finish(now->new_batches ? 1u : ~0u);
}

#define PINS(title, deaths, is_long, ...)                                                                              \
    {                                                                                                                  \
        .name = "pins-" title, .start = start, .finish = finish, .conclude = conclude, .kills = deaths,                \
        .long_only = is_long, .parameters = &(const struct pins_scenario){__VA_ARGS__}                                 \
    }

const struct model_scenario model_scenarios[] = {
    PINS("reader", 1, false, .users = {{READ, 0, 1, 2}}, .takers = 1, .new_batches = 1),
    PINS("keeper", 1, false, .users = {{KEEP, 0, 1, 1}}, .takers = 1, .new_batches = 1),
    PINS("fork", 1, false, .users = {{FORK, 0, 1, 1}}, .takers = 1),
    PINS("two-readers", 1, false, .users = {{READ, 0, 1, 1}, {KEEP, 2, 1, 1}}, .takers = 1),
    PINS("tenants", 1, false, .users = {{HOLD, 0, 1, 1}, {KEEP, 0, 2, 1}}, .takers = 1),
    PINS("full", 1, false, .users = {{HOLD, 0, 1, 1}, {HOLD, 1, 1, 1}, {KEEP, 2, 1, 1}}, .takers = 1),
    PINS("two-takers", 2, false, .users = {{READ, 0, 1, 1}}, .takers = 2),
    PINS("stale", 1, false, .takers = 1, .stale_batches = 1, .new_batches = 1),
    PINS("stale-healed", 1, false, .takers = 1, .stale_batches = 1, .new_batches = 1, .heals = 1),
    PINS("reserver", 1, false, .users = {{RESERVE, 0, 1, 1}}, .takers = 1, .stale_batches = 1),
    PINS("namer", 1, false, .users = {{NAME, 0, 1, 1}}, .takers = 1, .stale_batches = 1),
    PINS("lives", 1, false, .users = {{READ, 0, 1, 2}}, .takers = 1, .lives = 2),
    PINS("two-stale-takers", 1, true, .takers = 2, .stale_batches = 1, .new_batches = 1),
    PINS("three-readers", 1, true, .users = {{READ, 0, 1, 1}, {READ, 1, 1, 1}, {READ, 2, 1, 1}}, .takers = 1),
    PINS("reserver-reader", 1, true, .users = {{RESERVE, 0, 1, 1}, {KEEP, 1, 1, 1}}, .takers = 1, .stale_batches = 1),
    PINS("lives-keepers", 2, true, .users = {{KEEP, 0, 1, 2}, {READ, 1, 1, 2}}, .takers = 2, .lives = 2),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
