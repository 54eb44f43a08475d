"""SimpleQueue: multiprocessing's, with the two ends that its pools reach for.

Owns: when a reader finds that nobody is left who could put anything.
Must never: make a reader wait for writers that are dead.
Sits: in queues, over `base`. Source: multiprocessing.queues of CPython.
"""

from __future__ import annotations

import types
from typing import Any, ClassVar

from .base import BaseQueue
from .layout import Shape
from .places import new_place


class _NoLock:
    """Stands for the locks of multiprocessing's queue, which pools take: here nothing has to be kept apart."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:  # noqa: ARG002
        return True

    def release(self) -> None:
        pass

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *error: object) -> None:
        pass


class SimpleQueue(BaseQueue):
    """A queue with multiprocessing.SimpleQueue's methods and exceptions.

    Args:
        ctx: Accepted, as multiprocessing.queues.SimpleQueue takes it.

    Raises:
        StorageError, StorageFullError: it cannot be made.
    """

    _rlock = _wlock = _NoLock()

    def __init__(self, *, ctx: Any = None) -> None:  # noqa: ARG002
        super().__init__(new_place("writer"), Shape())

    def put(self, obj: Any) -> None:  # type: ignore[override]
        """Put an item; never waits. Raises: OSError: closed; QueueMemoryError: no memory; and what pickling raises."""
        super().put(obj)

    def get(self) -> Any:  # type: ignore[override]
        """Take the oldest item, however long that takes.

        Raises:
            OSError: this queue was closed.
            EOFError: every process that could put something has closed its end, or is gone.
            And what unpickling raises: see `Queue.get`.
        """
        return super().get()

    def close(self) -> None:
        """Let go of the queue in this process; a second time does nothing."""
        self._reader.close()
        self._writer.close()

    def _closed_error(self) -> Exception:
        return OSError("handle is closed")

    def _nobody_is_left(self) -> bool:
        return "writer" not in self._place.holds and not self._place.is_held("writer")

    def __getstate__(self) -> tuple[Any, ...]:
        return (*super().__getstate__(), self._closed_ends)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        super().__setstate__(state[:-1])
        self._closed_ends = state[-1]

    def __repr__(self) -> str:
        return f"<shmq.SimpleQueue {self._place.topic}>"

    __class_getitem__: ClassVar[Any] = classmethod(types.GenericAlias)
