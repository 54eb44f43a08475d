"""Contexts as multiprocessing's, whose queues are ours.

Owns: one context for each start method.
Must never: change multiprocessing itself.
Sits: in queues, over the queue classes. Source: multiprocessing.context of CPython.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import BaseContext
from typing import Any

from .joinable import JoinableQueue
from .queue import Queue
from .simple import SimpleQueue

_contexts: dict[str, Any] = {}


class _Queues(BaseContext):
    """The part of a context that differs."""

    def Queue(self, maxsize: int = 0, **options: Any) -> Queue:  # type: ignore[override]  # noqa: N802
        """Return a `shmq.Queue`; it has more options than multiprocessing's."""
        return Queue(maxsize, ctx=self, **options)

    def JoinableQueue(self, maxsize: int = 0, **options: Any) -> JoinableQueue:  # type: ignore[override]  # noqa: N802
        """Return a `shmq.JoinableQueue`."""
        return JoinableQueue(maxsize, ctx=self, **options)

    def SimpleQueue(self) -> SimpleQueue:  # type: ignore[override]  # noqa: N802
        """Return a `shmq.SimpleQueue`."""
        return SimpleQueue(ctx=self)

    def get_context(self, method: str | None = None) -> Any:
        """Return the context of another start method, with our queues too."""
        return self if method is None else get_context(method)

    def __reduce__(self) -> tuple[Any, ...]:
        return get_context, (self.get_start_method(),)


def get_context(method: str | None = None) -> Any:
    """Return what `multiprocessing.get_context(method)` does, but with shmq's Queue, JoinableQueue and SimpleQueue.

    Args:
        method: "fork", "spawn", "forkserver"; None is multiprocessing's default one.

    Its Pool, and a concurrent.futures.ProcessPoolExecutor with it as `mp_context`, use our queues where they use its.

    Raises:
        ValueError: no such start method.
    """
    theirs = multiprocessing.get_context(method)
    name = theirs.get_start_method()
    if name not in _contexts:
        kind = type(type(theirs).__name__, (_Queues, type(theirs)), {"__doc__": get_context.__doc__})
        _contexts[name] = kind()
    return _contexts[name]
