"""The two ends of a queue, as a pipe has them, and a file descriptor that is readable while there is something to take.

Owns: the descriptor, and the thread that looks after it, which is started when somebody first asks for it.
Must never: take an item to find out whether there is one.
Sits: in queues, under the queue classes, which have the ends as `_reader` and `_writer`: for
`multiprocessing.connection.wait`, and for the standard library's pools. Source: Connection of multiprocessing.
"""

from __future__ import annotations

import contextlib
import os
import threading
from types import TracebackType
from typing import Any, Protocol

from shmq.errors import UnknownTopicOrPartitionError, WakeupError

from .opened import Opened
from .takers import Watcher

_LOOK_EVERY_MS = 50.0  # so long until an item shows whose taker died


class Readiness:
    """An eventfd that is readable while there is something to take, and its thread.

    The thread sets it. Whoever finds the queue empty in this process clears it: if another process takes the last item,
    it stays set until somebody here looks, as a pipe may be empty again when one of several readers comes to it.
    """

    def __init__(self, opened: Opened) -> None:
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_wanted = threading.Event()  # nothing was there when somebody last looked
        self._ended = False
        self._watcher = Watcher(opened)  # the thread's
        self._looker = Watcher(opened)  # whoever's has the lock
        self._thread = threading.Thread(target=self._watch, name="shmq-queue-readiness", daemon=True)
        self.look()
        self._thread.start()

    def look(self) -> None:
        """Make the descriptor say how it is now."""
        with self._lock:
            if self._ended:
                return
            if self._looker.wait(0):
                os.eventfd_write(self.descriptor, 1)
                self._is_wanted.clear()
            else:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self.descriptor)
                self._is_wanted.set()

    def close(self) -> None:
        """End the thread and close the descriptor; in a forked child, only its copy of that."""
        if self._pid == os.getpid():
            with self._lock:
                self._ended = True
            self._is_wanted.set()
            self._watcher.wakeup()
            if threading.current_thread() is not self._thread:
                self._thread.join()
        os.close(self.descriptor)

    def _watch(self) -> None:
        with contextlib.suppress(WakeupError, UnknownTopicOrPartitionError):  # closed, or nobody has the queue any more
            while not self._ended:
                self._is_wanted.wait()
                if self._watcher.wait(_LOOK_EVERY_MS):
                    self.look()


class TwoEnded(Protocol):
    """What a queue is to its ends. `_closed_ends` is in the queue, so that it needs no reference to them."""

    _closed_ends: set[str]

    def fileno(self) -> int:
        """Return a descriptor that is readable while there is something to take."""
        ...

    def _receive(self) -> Any: ...
    def _send(self, obj: Any) -> None: ...
    def _poll(self, timeout: float | None) -> bool: ...
    def _close_end(self, end: str) -> None: ...


class _End:
    """One end of a queue. Two of the same end are equal."""

    name: str

    def __init__(self, queue: TwoEnded) -> None:
        self._queue = queue

    @property
    def closed(self) -> bool:
        """Whether this end was closed in this process."""
        return self.name in self._queue._closed_ends

    def close(self) -> None:
        """Close this end; the queue is closed with both. A second time does nothing."""
        if not self.closed:
            self._queue._closed_ends.add(self.name)
            self._queue._close_end(self.name)

    def fileno(self) -> int:
        """Return a descriptor that is readable while there is something to take."""
        self._check()
        return self._queue.fileno()

    def _check(self) -> None:
        if self.closed:
            raise OSError("handle is closed")

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, _End) and other._queue is self._queue

    def __hash__(self) -> int:
        return hash((self.name, id(self._queue)))


class ReadEnd(_End):
    """Where items are taken."""

    name = "reader"
    readable, writable = True, False

    def recv(self) -> Any:
        """Take an item, however long that takes. Raises: EOFError: nobody is left to put one; OSError: closed."""
        self._check()
        return self._queue._receive()

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Wait so many seconds, None for ever, for an item to take; True if there is one. Raises: OSError: closed."""
        self._check()
        return self._queue._poll(timeout)


class WriteEnd(_End):
    """Where items are put."""

    name = "writer"
    readable, writable = False, True

    def send(self, obj: Any) -> None:
        """Put an item. Raises: OSError: this end was closed; and as the queue's `put`."""
        self._check()
        self._queue._send(obj)
