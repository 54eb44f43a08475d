"""What every queue has: both directions, counts, and the two ends that pools and `connection.wait` use.

Owns: the descriptor that can be waited for.
Must never: start its thread before somebody asks for it.
Sits: in queues, over `putting`, `taking` and `ends`; under the classes with multiprocessing's names.
"""

from __future__ import annotations

import time
from typing import Any

from .ends import ReadEnd, Readiness, WriteEnd
from .handle import SLICE_MS, until
from .putting import Putting
from .takers import Watcher
from .taking import Taking


class BaseQueue(Putting, Taking):
    """A queue, whatever its name."""

    def qsize(self) -> int:
        """Return how many items are there to take. Exact, at some time during the call."""
        return self._counts()["ready"]

    def empty(self) -> bool:
        """Return whether there is nothing to take."""
        return self.qsize() == 0

    def fileno(self) -> int:
        """Return a descriptor that is readable while there is something to take, for `connection.wait` and selectors.

        The first call starts a thread that looks after it.
        """
        with self._opening:
            readiness = self._readiness
            if readiness is None:
                readiness = self._readiness = Readiness(self._open())
                self._busy = True  # from now on, whoever takes has a look after it
        readiness.look()
        return readiness.descriptor

    @property
    def _reader(self) -> ReadEnd:
        return ReadEnd(self)

    @property
    def _writer(self) -> WriteEnd:
        return WriteEnd(self)

    def _receive(self) -> Any:
        return super().get()

    def _send(self, obj: Any) -> None:
        super().put(obj)

    def _poll(self, timeout: float | None = 0.0) -> bool:
        try:
            watcher: Watcher = self._local.watcher
        except AttributeError:
            with self._opening:
                watcher = self._local.watcher = Watcher(self._open())
        ends_at = until(True, timeout)
        while True:
            left_ms = (ends_at - time.monotonic()) * 1000
            if watcher.wait(max(0.0, min(left_ms, SLICE_MS))):
                return True
            if left_ms <= 0:
                return False
            if self._nobody_is_left():
                return True  # as a pipe at its end: the next recv() raises EOFError

    def _close_end(self, end: str) -> None:
        self._disarm()  # who goes on with the other end is asked each time
        if end == "writer":
            self._place.drop(end)
        if self._closed_ends == {"reader", "writer"}:
            self._close()
