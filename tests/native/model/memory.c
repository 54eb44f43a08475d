#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE 256u /* power of two, well above MODEL_MAX_WORDS */

struct memory_word memory_words[MODEL_MAX_WORDS];
unsigned memory_count;
static int16_t table[TABLE]; /* number of the word + 1 */

static unsigned slot_of(const shmq_a64 *word) {
    return (unsigned)((uintptr_t)word / sizeof(shmq_a64) * 2654435761u >> 8) % TABLE;
}

void memory_clear(struct memory_state *state) {
    memory_count = 0;
    memset(table, 0, sizeof(table));
    memset(state, 0, sizeof(*state));
}

int memory_find(const shmq_a64 *word) {
    for (unsigned slot = slot_of(word);; slot = (slot + 1) % TABLE) {
        if (table[slot] == 0)
            return -1;
        if (memory_words[table[slot] - 1].address == word)
            return table[slot] - 1;
    }
}

void memory_add(struct memory_state *state, const shmq_a64 *word, uint64_t initial) {
    if (memory_count == MODEL_MAX_WORDS || memory_find(word) >= 0) {
        fprintf(stderr, "model: word %u is one too many, or registered twice\n", memory_count);
        exit(2);
    }
    unsigned slot = slot_of(word);
    while (table[slot])
        slot = (slot + 1) % TABLE;
    unsigned number = memory_count++;
    table[slot] = (int16_t)(number + 1);
    memory_words[number].address = word;
    memory_words[number].history[0] = (struct memory_message){.value = initial};
    state->lengths[number] = 1;
}

static void join(memory_view *into, const memory_view *from) {
    for (unsigned word = 0; word < MODEL_MAX_WORDS; word++)
        into->at[word] = from->at[word] > into->at[word] ? from->at[word] : into->at[word];
}

uint64_t memory_load(struct memory_actor *actor, unsigned word, unsigned message, bool acquire) {
    const struct memory_message *read = &memory_words[word].history[message];
    actor->now.at[word] = (uint8_t)message;
    join(&actor->seen, &read->view);
    if (acquire)
        join(&actor->now, &read->view);
    return read->value;
}

bool memory_store(struct memory_state *state, struct memory_actor *actor, unsigned word, uint64_t value, bool release) {
    if (state->lengths[word] == MODEL_MAX_MESSAGES)
        return false;
    uint8_t number = state->lengths[word]++;
    struct memory_message *message = &memory_words[word].history[number];
    actor->now.at[word] = number;
    message->value = value;
    message->view = release ? actor->now : actor->fenced;
    message->view.at[word] = number;
    return true;
}

bool memory_modify(struct memory_state *state, struct memory_actor *actor, unsigned word, uint64_t value,
                   bool ordered) {
    unsigned read = state->lengths[word] - 1u;
    memory_load(actor, word, read, ordered);
    if (!memory_store(state, actor, word, value, ordered))
        return false;
    join(&memory_words[word].history[read + 1].view, &memory_words[word].history[read].view);
    return true;
}

void memory_fence(struct memory_state *state, struct memory_actor *actor) {
    join(&actor->now, &actor->seen);
    join(&actor->now, &state->global);
    state->global = actor->now;
    actor->fenced = actor->now;
}
