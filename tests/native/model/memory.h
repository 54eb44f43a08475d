/* The memory: an operational view-based machine for C11's relaxed, acquire, release and seq_cst-fence fragment.
 *
 * Each word has a history of messages in modification order; a view says, per word, which message is the oldest that
 * may still be read. Rules (after "Promising" 1.0, Kang et al., POPL 2017, without promises):
 *
 *   load relaxed    reads any message not older than the actor's view, which rises to it
 *   load acquire    also joins the message's view
 *   store relaxed   appends a message that carries the view of the actor's last fence
 *   store release   appends a message that carries the actor's view
 *   read-modify-write, successful: reads the newest message, as an acquire load and a release store; the new message
 *                   also carries the old one's view (release sequences)
 *   compare-and-swap, failing: an acquire load of any message that it may read and that differs
 *   fence           joins what relaxed loads have seen and the one global view, both ways
 *
 * A seq_cst read-modify-write is no fence here, as on ARM; only shmq_fence() is one, and shmq_fence_after_rmw() if the
 * actor has not stored since its last read-modify-write, as on x86.
 *
 * LIMITS  Weaker than C11 in that a seq_cst read-modify-write is only acquire and release; stronger in two places. A
 * plain store goes to the end of the modification order (the product stores plainly only into words that nobody else
 * may write). No load sees a later store of its own thread's future (load buffering), which needs two relaxed loads
 * that decide about relaxed stores; the product has no relaxed atomic store after publication. */
#ifndef MODEL_MEMORY_H
#define MODEL_MEMORY_H

#include "model.h"

typedef struct {
    _Alignas(16) uint8_t at[MODEL_MAX_WORDS];
} memory_view;

struct memory_message {
    uint64_t value;
    memory_view view;
};

struct memory_word {
    const shmq_a64 *address;
    const char *name;
    unsigned index;
    uint8_t format;
    bool eager;
    struct memory_message history[MODEL_MAX_MESSAGES];
};

/* What an actor knows. */
struct memory_actor {
    memory_view now, /* the oldest messages that it may read */
        seen,        /* what its relaxed loads have seen; a fence turns it into `now` */
        fenced;      /* `now` at the last fence; relaxed stores carry it */
};

/* The part that changes from state to state; histories only grow, so their lengths are enough. */
struct memory_state {
    uint8_t lengths[MODEL_MAX_WORDS];
    memory_view global;
};

extern struct memory_word memory_words[MODEL_MAX_WORDS];
extern unsigned memory_count;

void memory_clear(struct memory_state *state);
/* The number of a registered word, or -1. */
int memory_find(const shmq_a64 *word);
void memory_add(struct memory_state *state, const shmq_a64 *word, uint64_t initial);

static inline uint64_t memory_newest(const struct memory_state *state, unsigned word) {
    return memory_words[word].history[state->lengths[word] - 1].value;
}

uint64_t memory_load(struct memory_actor *actor, unsigned word, unsigned message, bool acquire);
/* False: the history is full. */
bool memory_store(struct memory_state *state, struct memory_actor *actor, unsigned word, uint64_t value, bool release);
bool memory_modify(struct memory_state *state, struct memory_actor *actor, unsigned word, uint64_t value, bool ordered);
void memory_fence(struct memory_state *state, struct memory_actor *actor);

#endif
