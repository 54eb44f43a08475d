/* Runs one scenario to its end, or to its first failure. */
#ifndef MODEL_EXPLORE_H
#define MODEL_EXPLORE_H

#include "model.h"

struct explore_result {
    const char *property; /* NULL: all of them hold */
    size_t states, steps, ends;
    unsigned deepest;
};

/* `naive`: without the reductions that model.h lists, to check them on small scenarios. */
struct explore_result explore_run(const struct model_scenario *scenario, bool naive);

/* Print the failing execution of the last run. */
void explore_trace(void);

#endif
