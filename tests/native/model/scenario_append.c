/* (a) Producers append to one small journal, and again when they are told LOST; a healer aborts any CLAIMED word at any
 * time, mostly wrongly; a reader reads in order. A reserver takes space, fills it, and appends a batch that names it. */
#include <string.h>

#include "ledger.h"

#define MAX_WORDS 9u
#define MAX_UNITS 16u
#define INCARNATION 5u
#define RESERVED_UNITS 2u
#define RESERVED_POS 8 /* a payload with a place + 1 at this bit: there lie the items */

struct append_scenario {
    unsigned producers, batches; /* batches of each producer; batch b has b + 1 units and as many records */
    unsigned journal_words, data_units;
    unsigned heals;      /* how many, right or wrong */
    unsigned reservers;  /* after the producers; each reserves RESERVED_UNITS, once */
    bool healing_reader; /* the healer is the reader, which then runs along instead of coming last */
};

static const struct append_scenario *now;
static shmq_a64 words[MAX_WORDS], data[MAX_UNITS];

static struct shmq_journal journal_of_mine(void) {
    return (struct shmq_journal){
        .words = words, .length = now->journal_words, .data_units = now->data_units, .incarnation = INCARNATION};
}

/* One append, until it is acknowledged. False: the segment is full. `place`: 0, or that of a reservation, behind RESERVED_POS. */
static bool append(struct shmq_journal *journal, unsigned owner, unsigned batch, uint64_t place) {
    for (unsigned attempt = 0;; attempt++) {
        unsigned number = ledger_number(owner, batch, attempt), units = batch + 1;
        struct shmq_claim claim;
        int result = shmq_journal_claim(journal, shmq_owner(owner, 1), units, units, &claim);
        if (result == SHMQ_NO_FIT)
            return false;
        MODEL_CHECK(result == SHMQ_OK, "corrupt", result, claim.index);
        ledger_claimed(number, 0, 0, &claim);
        for (unsigned unit = claim.start_pos; unit < claim.start_pos + units; unit++)
            model_data_store(&data[unit], ledger_payload(number) | place);
        result = shmq_journal_commit(journal, &claim);
        if (result == SHMQ_OK) {
            ledger_acknowledged(number);
            return true;
        }
        ledger_lost(number);
    }
}

static void produce(void *argument) {
    unsigned owner = (unsigned)(uintptr_t)argument;
    struct shmq_journal journal = journal_of_mine();
    for (unsigned batch = 0; batch < now->batches; batch++)
        if (!append(&journal, owner, batch, 0))
            return;
}

/* What the items of an append consist of, word for word, whichever attempt it is. */
static uint64_t items_of(unsigned number) {
    return ledger_payload(number / LEDGER_ATTEMPTS * LEDGER_ATTEMPTS);
}

static void reserve(void *argument) {
    unsigned owner = (unsigned)(uintptr_t)argument;
    struct shmq_journal journal = journal_of_mine();
    struct shmq_claim claim;
    int result = shmq_journal_reserve(&journal, shmq_owner(owner, 1), RESERVED_UNITS, &claim);
    if (result == SHMQ_NO_FIT)
        return;
    MODEL_CHECK(result == SHMQ_OK, "corrupt", result, claim.index);
    ledger_reserved(owner, &claim);
    for (unsigned unit = claim.start_pos; unit < claim.start_pos + RESERVED_UNITS; unit++)
        model_data_store(&data[unit], items_of(ledger_number(owner, 0, 0)));
    append(&journal, owner, 0, (uint64_t)(claim.start_pos + 1) << RESERVED_POS);
}

static void heal(void *unused) {
    (void)unused;
    struct shmq_journal journal = journal_of_mine();
    for (unsigned heals = 0; heals < now->heals; heals++) {
        unsigned index = model_choose(now->journal_words);
        uint64_t word = shmq_load_acquire(&words[index]);
        if (shmq_word_state(word) != SHMQ_CLAIMED || shmq_journal_abort(&journal, index, word) != SHMQ_OK)
            model_drop();
    }
}

static void deliver(const struct shmq_entry *entry) {
    uint64_t payload = model_data_load(&data[entry->start_pos]);
    for (unsigned unit = entry->start_pos + 1; unit < entry->end_pos; unit++) {
        uint64_t next = model_data_load(&data[unit]);
        MODEL_CHECK(next == payload, "torn", next, payload);
    }
    uint64_t place = payload >> RESERVED_POS;
    payload &= (1u << RESERVED_POS) - 1;
    for (uint64_t unit = place; place && unit < place + RESERVED_UNITS; unit++) {
        uint64_t item = model_data_load(&data[unit - 1]);
        MODEL_CHECK(item == items_of((unsigned)payload - 1), "torn", item, payload);
    }
    ledger_delivered(payload, 0, 0, entry);
}

static void read_all(void *unused) {
    (void)unused;
    struct shmq_journal journal = journal_of_mine();
    uint64_t before = 0;
    unsigned heals = 0;
    for (uint32_t index = 0; index < now->journal_words - 1;) {
        struct shmq_entry entry;
        int result = shmq_journal_read(&journal, index, before, &entry);
        MODEL_CHECK(result >= 0, "corrupt", result, index);
        if (result == SHMQ_NOTHING) {
            if (!model_pause())
                return;
        } else if (result == SHMQ_PENDING) {
            bool wrongly = now->healing_reader && heals < now->heals && model_choose(2);
            heals += wrongly;
            if (wrongly || !model_pause())
                shmq_journal_abort(&journal, index, entry.word);
        } else {
            if (result == SHMQ_OK)
                deliver(&entry);
            before = entry.word;
            index++;
        }
    }
}

static void start(const void *parameters) {
    static const char *const names[] = {"producer 0", "producer 1", "producer 2"};
    now = parameters;
    ledger_begin();
    for (unsigned index = 0; index < now->journal_words; index++)
        model_word(&words[index], shmq_empty_word(INCARNATION), MODEL_JOURNAL, 0, "journal", index);
    for (unsigned unit = 0; unit < now->data_units; unit++)
        model_word(&data[unit], 0, MODEL_NUMBER, MODEL_EAGER, "data", unit);
    for (unsigned owner = 0; owner < now->producers; owner++)
        model_actor(names[owner], produce, (void *)(uintptr_t)owner, 0);
    for (unsigned owner = now->producers; owner < now->producers + now->reservers; owner++)
        model_actor(names[owner], reserve, (void *)(uintptr_t)owner, 0);
    if (now->heals && !now->healing_reader)
        model_actor("healer", heal, NULL, MODEL_OPTIONAL | MODEL_IMMORTAL);
    model_actor("reader", read_all, NULL, MODEL_IMMORTAL | (now->healing_reader ? 0 : MODEL_LAZY));
}

static void finish(void) {
    ledger_finish(0);
}

#define APPEND(title, deaths, is_long, ...)                                                                            \
    {                                                                                                                  \
        .name = "append-" title, .start = start, .finish = finish, .kills = deaths, .long_only = is_long,       \
        .parameters = &(const struct append_scenario){__VA_ARGS__}                                                     \
    }

const struct model_scenario model_scenarios[] = {
    APPEND("two", 2, false, .producers = 2, .batches = 1, .journal_words = 5, .data_units = 4, .heals = 2),
    APPEND("two-by-two", 2, false, .producers = 2, .batches = 2, .journal_words = 7, .data_units = 9, .heals = 2),
    APPEND("three", 3, false, .producers = 3, .batches = 1, .journal_words = 6, .data_units = 5, .heals = 2),
    APPEND("full", 2, false, .producers = 2, .batches = 2, .journal_words = 4, .data_units = 5, .heals = 2),
    APPEND("healing-reader", 2, false, .producers = 2, .batches = 2, .journal_words = 7, .data_units = 9, .heals = 2,
           .healing_reader = true),
    APPEND("reserve", 2, false, .producers = 1, .reservers = 1, .batches = 2, .journal_words = 7, .data_units = 9, .heals = 2),
    APPEND("reserve-full", 2, false, .producers = 1, .reservers = 2, .batches = 1, .journal_words = 6, .data_units = 5,
           .heals = 1),
    APPEND("reserve-healing-reader", 2, false, .producers = 1, .reservers = 1, .batches = 2, .journal_words = 7,
           .data_units = 9, .heals = 2, .healing_reader = true),
    APPEND("two-reserve", 3, true, .producers = 2, .reservers = 1, .batches = 2, .journal_words = 9, .data_units = 12,
           .heals = 1),
    APPEND("two-by-three", 2, true, .producers = 2, .batches = 3, .journal_words = 9, .data_units = 15, .heals = 2),
    APPEND("three-healing-reader", 3, true, .producers = 3, .batches = 1, .journal_words = 7, .data_units = 6,
           .heals = 3, .healing_reader = true),
    APPEND("three-by-two", 2, true, .producers = 3, .batches = 2, .journal_words = 8, .data_units = 11, .heals = 1),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
