/* (e) The memory of a finished segment is taken again, in place, for a new incarnation, while a producer of the old one
 * was stopped anywhere in its append or seal and goes on now: nothing of it may land in the new incarnation (J6).
 *
 * The rule that in-place reuse will follow: only a segment whose claims are all COMMITTED (an aborted one may have a
 * late writer), and only by a process that made it its own first. */
#include <string.h>

#include "ledger.h"

#define WORDS 4u
#define UNITS 3u
#define OLD 1u
#define NEW 2u
#define TAKEN 9u
#define NEW_BASE 16u

struct reuse_scenario {
    unsigned stale_batches, new_batches, heals;
};

static const struct reuse_scenario *now;
static shmq_a64 words[WORDS], data[UNITS], gate; /* gate: the incarnation of the memory, as a ring word would say */
static struct {
    bool taken;
} ghost;

static uint64_t base_of(uint64_t incarnation) {
    return incarnation == OLD ? 0 : NEW_BASE;
}

static struct shmq_journal journal_of(uint64_t incarnation) {
    return (struct shmq_journal){words, WORDS, UNITS, incarnation, 0};
}

/* OK, or what ended it; what a producer of the old incarnation does must have happened before the memory was taken. */
static int append(struct shmq_journal *journal, unsigned owner, unsigned batch) {
    for (unsigned attempt = 0;; attempt++) {
        unsigned number = ledger_number(owner, batch, attempt);
        struct shmq_claim claim;
        int result = shmq_journal_claim(journal, shmq_owner(owner, 1), 1, 1, &claim);
        if (result != SHMQ_OK)
            return result;
        MODEL_CHECK(journal->incarnation == NEW || !ghost.taken, "foreign", claim.index, claim.word);
        ledger_claimed(number, (unsigned)journal->incarnation, base_of(journal->incarnation), &claim);
        model_data_store(&data[claim.start_pos], ledger_payload(number));
        if (shmq_journal_commit(journal, &claim) == SHMQ_OK) {
            ledger_acknowledged(number);
            return SHMQ_OK;
        }
        ledger_lost(number);
    }
}

/* Of the old incarnation. When the memory is no longer its own, its calls say SEALED, NO_FIT or E_CORRUPT, and then it
 * would look at the ring. */
static void stale(void *unused) {
    (void)unused;
    struct shmq_journal journal = journal_of(OLD);
    uint32_t end_count;
    for (unsigned batch = 0; batch < now->stale_batches; batch++)
        if (append(&journal, 0, batch) != SHMQ_OK)
            break;
    if (shmq_journal_seal(&journal, &end_count) == SHMQ_OK)
        MODEL_CHECK(!ghost.taken, "foreign", end_count, 0);
}

/* Whether all claims of the finished old incarnation are COMMITTED. */
static bool may_take(const struct shmq_journal *journal) {
    uint64_t before = 0;
    for (uint32_t index = 0;; index++) {
        struct shmq_entry entry;
        int result = shmq_journal_read(journal, index, before, &entry);
        if (result != SHMQ_OK)
            return result == SHMQ_SEALED;
        before = entry.word;
    }
}

static void recycle(void *unused) {
    (void)unused;
    struct shmq_journal journal = journal_of(OLD);
    uint32_t end_count;
    int result = shmq_journal_seal(&journal, &end_count);
    MODEL_CHECK(result >= 0, "corrupt", result, 0);
    while (!may_take(&journal))
        if (!model_pause())
            return;
    uint64_t expected = OLD;
    if (!shmq_cas(&gate, &expected, TAKEN))
        return;
    ghost.taken = true;
    journal.incarnation = NEW;
    shmq_journal_reset(&journal);
    expected = TAKEN;
    shmq_cas(&gate, &expected, NEW);
}

static void produce(void *unused) {
    (void)unused;
    while (shmq_load_acquire(&gate) != NEW)
        if (!model_pause())
            return;
    struct shmq_journal journal = journal_of(NEW);
    for (unsigned batch = 0; batch < now->new_batches; batch++) {
        int result = append(&journal, 1, batch);
        MODEL_CHECK(result == SHMQ_OK || (now->heals && result == SHMQ_NO_FIT), "corrupt", result, batch);
        if (result != SHMQ_OK)
            return;
    }
}

/* What it saw may be of the old incarnation, and then land in the new one: that costs a retry, and nothing else. */
static void heal(void *unused) {
    (void)unused;
    struct shmq_journal journal = journal_of(NEW);
    for (unsigned heals = 0; heals < now->heals; heals++) {
        unsigned index = model_choose(WORDS);
        uint64_t word = shmq_load_acquire(&words[index]);
        if (shmq_word_state(word) != SHMQ_CLAIMED || shmq_journal_abort(&journal, index, word) != SHMQ_OK)
            model_drop();
    }
}

static void read_new(void *unused) {
    (void)unused;
    while (shmq_load_acquire(&gate) != NEW)
        if (!model_pause())
            return;
    struct shmq_journal journal = journal_of(NEW);
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
            ledger_delivered(model_data_load(&data[entry.start_pos]), NEW, NEW_BASE, &entry);
        before = entry.word;
        index++;
    }
}

static void start(const void *parameters) {
    now = parameters;
    memset(&ghost, 0, sizeof(ghost));
    model_ghost(&ghost, sizeof(ghost));
    ledger_begin();
    for (unsigned index = 0; index < WORDS; index++)
        model_word(&words[index], shmq_empty_word(OLD), MODEL_JOURNAL, 0, "journal", index);
    /* Not eager: a late writer of the old incarnation would be the second to write here. */
    for (unsigned unit = 0; unit < UNITS; unit++)
        model_word(&data[unit], 0, MODEL_NUMBER, 0, "data", unit);
    model_word(&gate, OLD, MODEL_NUMBER, 0, "gate", 0);
    model_actor("stale", stale, NULL, 0);
    model_actor("recycler", recycle, NULL, 0);
    model_actor("producer", produce, NULL, 0);
    if (now->heals)
        model_actor("healer", heal, NULL, MODEL_OPTIONAL | MODEL_IMMORTAL);
    model_actor("reader", read_new, NULL, MODEL_IMMORTAL | MODEL_LAZY);
}

static void finish(void) {
    ledger_finish(1u << OLD);
}

#define REUSE(title, deaths, is_long, ...)                                                                             \
    {                                                                                                                  \
        .name = "reuse-" title, .start = start, .finish = finish, .kills = deaths, .long_only = is_long,               \
        .parameters = &(const struct reuse_scenario){__VA_ARGS__}                                                      \
    }

const struct model_scenario model_scenarios[] = {
    REUSE("one", 1, false, .stale_batches = 1, .new_batches = 1),
    REUSE("healed", 1, false, .stale_batches = 1, .new_batches = 1, .heals = 1),
    REUSE("two", 2, false, .stale_batches = 2, .new_batches = 2),
    REUSE("two-healed", 2, true, .stale_batches = 2, .new_batches = 2, .heals = 1),
};
const size_t model_scenario_count = sizeof(model_scenarios) / sizeof(model_scenarios[0]);
