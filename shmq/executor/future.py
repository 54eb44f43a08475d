"""The future of one task.

Owns: cancelling a task that already lies in the workers' queue.
Must never: be cancelled once a worker has started the task, nor run after it was.
Sits: under the pool, which knows where the task is.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Protocol

from .calls import Call


class Owner(Protocol):
    """What a future asks of its pool."""

    def withdraw(self, future: TaskFuture) -> bool | None:
        """Keep a task from being started. None: it was cancelled before; False: it was started, or is settled."""

    def is_started(self, future: TaskFuture) -> bool:
        """Whether a worker has started the task, and it is not settled."""


class TaskFuture(Future[Any]):
    """A `concurrent.futures.Future`. `cancel()` succeeds exactly until a worker starts the task."""

    def __init__(self, pool: Owner, call: Call | None) -> None:
        super().__init__()
        self.pool = pool
        self.call = call
        """What to run, while that is not in the queue."""
        self.task = UNSENT
        """The number under which it is in the queue; or UNSENT, or WITHDRAWN."""
        self.sent_bytes = 0

    def cancel(self) -> bool:
        """Cancel the task, unless it has been started. Source: Future.cancel."""
        withdrawn = self.pool.withdraw(self)
        if withdrawn is False:
            return False
        super().cancel()
        if withdrawn:
            self.set_running_or_notify_cancel()  # those who wait need not wait for the queue to come to it
        return True

    def running(self) -> bool:
        """Whether a worker is running it. Source: Future.running."""
        return not self.done() and self.pool.is_started(self)


UNSENT, WITHDRAWN = -1, -2
