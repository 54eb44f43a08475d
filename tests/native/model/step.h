/* Between step.c, which runs an actor, and ops.c, which the actor calls. */
#ifndef MODEL_STEP_H
#define MODEL_STEP_H

#include "world.h"

extern int step_actor; /* the one whose stack we are on, or -1 */
void step_back(void);  /* from an actor to the explorer, until its pending operation is done */

#endif
