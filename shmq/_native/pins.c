#include "pins.h"

#include "fault.h"

int32_t shmq_pins_take(struct shmq_pins *pins, uint64_t holder) {
    uint32_t first = (uint32_t)holder % SHMQ_PINS; /* mostly each slot finds its own entry free */
    for (uint32_t step = 0; step < SHMQ_PINS; step++) {
        uint32_t entry = (first + step) % SHMQ_PINS;
        uint64_t none = 0;
        if (!SHMQ_SHARED("pins.take", shmq_cas(&pins->holders[entry], &none, holder)))
            continue;
        /* PAIR pin: before the look at the ring, as the fence in shmq_pins_are_free() stands behind the CAS that retires. */
        shmq_fence();
        return (int32_t)entry;
    }
    shmq_pins_taint(pins);
    return -1;
}

void shmq_pins_drop(struct shmq_pins *pins, int32_t entry, uint64_t holder) {
    if (entry < 0)
        return;
    /* PAIR unpin: who finds no pin here finds every read through it done. */
    SHMQ_SHARED("pins.drop", shmq_cas(&pins->holders[entry], &holder, 0));
}

void shmq_pins_taint(struct shmq_pins *pins) {
    SHMQ_SHARED("pins.taint", shmq_fetch_or(&pins->tainted, 1));
    shmq_fence(); /* PAIR pin: as for an entry */
}

bool shmq_pins_are_free(const struct shmq_pins *pins) {
    shmq_fence(); /* PAIR pin */
    for (uint32_t entry = 0; entry < SHMQ_PINS; entry++)
        if (shmq_load_acquire(&pins->holders[entry])) /* PAIR unpin */
            return false;
    return !shmq_load_acquire(&pins->tainted); /* PAIR unpin: a taint is never lifted */
}
