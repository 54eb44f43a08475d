/* Coroutines small enough to be copied: an actor is its stack from the stack pointer up, and nothing else. */
#ifndef MODEL_COROUTINE_H
#define MODEL_COROUTINE_H

#include <stddef.h>

/* Save the callee-saved registers on this stack, its pointer in `*from`; go on where `to` was saved. */
void coroutine_switch(void **from, void *to);

/* A stack that begins in `entry`, which must not return. `top` is its end, a multiple of 16. */
void *coroutine_new(void *top, void (*entry)(void));

#endif
