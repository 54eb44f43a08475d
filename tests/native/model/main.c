/* Usage: model [--long] [--first] [--naive] [SCENARIO...]. Runs the scenarios of the one file it was linked with; with
 * --first up to the first that fails; with --naive without reductions (explore.h). SCENARIO may have wildcards. */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "explore.h"

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool has_option(int argc, char **argv, const char *option) {
    for (int at = 1; at < argc; at++)
        if (strcmp(argv[at], option) == 0)
            return true;
    return false;
}

static bool is_wanted(const struct model_scenario *scenario, int argc, char **argv) {
    bool named = false;
    for (int at = 1; at < argc; at++) {
        if (argv[at][0] == '-')
            continue;
        if (fnmatch(argv[at], scenario->name, 0) == 0)
            return true;
        named = true;
    }
    return !named && (!scenario->long_only || has_option(argc, argv, "--long"));
}

int main(int argc, char **argv) {
    int failed = 0;
    bool naive = has_option(argc, argv, "--naive");
    for (size_t at = 0; at < model_scenario_count && !(failed && has_option(argc, argv, "--first")); at++) {
        const struct model_scenario *scenario = &model_scenarios[at];
        if (!is_wanted(scenario, argc, argv))
            continue;
        double start = seconds();
        struct explore_result result = explore_run(scenario, naive);
        printf("%s model %s%s: %zu states, %zu steps, %zu ends, depth %u, %.1f s\n",
               result.property ? "FAILED" : "ok", scenario->name, naive ? " naive" : "", result.states, result.steps, result.ends,
               result.deepest, seconds() - start);
        if (result.property) {
            explore_trace();
            failed++;
        }
        fflush(stdout);
    }
    return failed ? 1 : 0;
}
