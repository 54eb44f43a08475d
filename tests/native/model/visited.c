#include "visited.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct visited_hash *table;
static size_t capacity, count;

static uint64_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Two lanes of multiply and fold, as in wyhash; only accidental collisions matter here. */
struct visited_hash visited_hash(const void *bytes, size_t length) {
    const unsigned char *from = bytes;
    uint64_t low = 0x9e3779b97f4a7c15u ^ length, high = 0xc2b2ae3d27d4eb4fu + length;
    while (length) {
        uint64_t word = 0;
        size_t part = length < 8 ? length : 8;
        memcpy(&word, from, part);
        low = mix(low ^ word, 0xa0761d6478bd642fu);
        high = mix(high + word, 0xe7037ed1a0b428dbu) ^ word;
        from += part;
        length -= part;
    }
    struct visited_hash hash = {mix(low, 0x8ebc6af09c88c6e3u), mix(high, 0x589965cc75374cc3u)};
    if (hash.low == 0 && hash.high == 0)
        hash.low = 1; /* 0 marks an empty place of the table */
    return hash;
}

void visited_clear(void) {
    free(table);
    table = NULL;
    capacity = count = 0;
}

static bool put(struct visited_hash hash) {
    for (size_t place = hash.low & (capacity - 1);; place = (place + 1) & (capacity - 1)) {
        if (table[place].low == hash.low && table[place].high == hash.high)
            return false;
        if (table[place].low == 0 && table[place].high == 0) {
            table[place] = hash;
            return true;
        }
    }
}

static void grow(void) {
    struct visited_hash *old = table;
    size_t places = capacity;
    capacity = capacity ? capacity * 2 : 1u << 16;
    table = calloc(capacity, sizeof(*table));
    if (!table) {
        fprintf(stderr, "model: no memory for %zu states\n", capacity);
        exit(2);
    }
    for (size_t place = 0; place < places; place++)
        if (old[place].low || old[place].high)
            put(old[place]);
    free(old);
}

bool visited_add(struct visited_hash hash) {
    if (count * 4 >= capacity * 3)
        grow();
    bool fresh = put(hash);
    count += fresh;
    return fresh;
}

size_t visited_count(void) {
    return count;
}
