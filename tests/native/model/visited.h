/* The set of states seen so far, as 128-bit hashes. */
#ifndef MODEL_VISITED_H
#define MODEL_VISITED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct visited_hash {
    uint64_t low, high;
};

struct visited_hash visited_hash(const void *bytes, size_t count);

void visited_clear(void);
/* True if it was not there yet. */
bool visited_add(struct visited_hash hash);
size_t visited_count(void);

#endif
