"""How a thread takes from a queue, and how it waits without taking.

Owns: what a thread has taken and not settled, and giving that back when the thread ends.
Must never: be used by two threads at once, or cross a fork.
Sits: in queues, over `opened` and packing; under `base`.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from shmq import _native, packing
from shmq.errors import OffsetOutOfRangeError, PayloadGoneError, ShmqError, UnknownTopicOrPartitionError

from .opened import Opened

ACCEPT, RELEASE, REJECT = 1, 2, 3
Taken = tuple[Any, int, int]
"""What the core gives: the bytes in the log, their offset, and how often they were delivered."""
_SPIN_US = 20


class _Core(_native.ConsumerCore):
    """What the core asks of its Python half, for one reader."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(
            max_poll_records=1,
            fetch_min_bytes=1,
            fetch_max_wait_ms=0,
            fetch_max_bytes=1,
            max_partition_fetch_bytes=1,
            spin_us=_SPIN_US,
            iteration_timeout_ms=0,
            key_deserializer=None,
            value_deserializer=None,
        )
        self.opened = opened
        self._process = opened.process
        self._lock_ms = 0
        self.pid = os.getpid()

    def _checked_timeout(self, timeout_ms: float) -> float:
        return timeout_ms

    def _on_out_of_range(self, reader: _native.Reader, offset: int, begin: int, end: int) -> None:  # noqa: ARG002
        reader.seek(begin)

    def _on_deleted(self, reader: _native.Reader) -> None:
        raise UnknownTopicOrPartitionError(reader.key.topic, reader.key.partition, deleted=True)


class Taker(_Core):
    """A thread's way to take items.

    Attributes:
        reader: Its place in the log.
        unsettled: Items that it has handed out and not settled, and how many bytes of each lie elsewhere; only where
            the queue redelivers.
        delivery_count: How often the last item was delivered; 0 before the first.
        owed: How many items it has handed out, less the calls of task_done().
        rest: Items of a get_many() that come after one that could not be unpickled.
    """

    redelivers = False

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.reader = opened.reader()
        self.reader.share(opened.another_window(), opened.layout.group.number)
        self._readers.append(self.reader)
        self.redelivers = opened.redelivers
        self.unsettled: list[tuple[Taken, int]] = []
        self.delivery_count = 0
        self.owed = 0
        self.rest: list[Taken] = []

    def hand_out(self, taken: Taken) -> Any:
        """Return the object that was taken; from here on it is the thread's.

        Raises:
            PayloadGoneError: it is done already, and settled now.
            And what unpickling raises: then it is the thread's, too.
        """
        data, _, delivery_count = taken
        try:
            packed, size = self.opened.load(data)
        except PayloadGoneError:
            if self.redelivers:
                self.reader.settle(*taken[1:], ACCEPT)
            raise
        self.delivery_count = delivery_count
        if self.redelivers:
            self.note(taken, size)
        return packing.loads(packed)

    def note(self, taken: Taken, size: int) -> None:
        """The thread has this item now; so many bytes of it are to be released when it is settled."""
        self.delivery_count = taken[2]
        self.owed += 1
        self.unsettled.append((taken, size))

    def take_back(self) -> None:
        """What was handed out last did not get there."""
        if self.redelivers:
            self.owed -= 1
            self.unsettled.pop()

    def settle(self, most: int | None = None) -> None:
        """What it has handed out, oldest first, is done; what was given to another meanwhile is left to that one."""
        unsettled = self.unsettled
        for _ in range(len(unsettled) if most is None else min(most, len(unsettled))):
            (data, offset, delivery_count), size = unsettled[0]
            if size:
                self.opened.release(data, size)
            self.reader.settle(offset, delivery_count, ACCEPT)
            del unsettled[0]

    def drop(self, taken: Taken, kind: int) -> bool:
        """Settle an item that nobody gets; False if it was given to another meanwhile."""
        data, offset, delivery_count = taken
        self.opened.discard(data)
        return not self.redelivers or self.reader.settle(offset, delivery_count, kind)

    def __del__(self) -> None:
        if self.pid == os.getpid() and self.redelivers:  # its thread has ended, or the queue was closed
            with contextlib.suppress(ShmqError):  # the queue is gone
                for _, offset, delivery_count in [*(taken for taken, _ in self.unsettled), *self.rest]:
                    self.reader.settle(offset, delivery_count, RELEASE)


class Watcher(_Core):
    """A way to wait for an item without taking it: it reads what is there, for itself."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self._taker = Taker(opened)
        self._reader = opened.reader()
        self._readers.append(self._reader)

    def wait(self, timeout_ms: float) -> bool:
        """Wait for something to take; return whether there is.

        Args:
            timeout_ms: Longest wait; if a process dies with an item, that is noticed only when time is up.

        Raises:
            WakeupError: `wakeup` was called.
        """
        return self._wait_counting(timeout_ms) if self.opened.redelivers else self._wait_reading(timeout_ms)

    def wakeup(self) -> None:
        """End the wait under way, or the next one; any thread may."""
        self._set_wakeup(self._process)

    def _wait_reading(self, timeout_ms: float) -> bool:
        """Everything from the window's start on is there to take."""
        until = time.monotonic() + timeout_ms / 1000
        while True:
            with contextlib.suppress(OffsetOutOfRangeError):  # others have just gone on beyond it
                self._reader.seek(self.opened.window.start)
                found = self.poll(timeout_ms, 1)
                if not found:
                    return False
                if found[self._reader.key][0].offset >= self.opened.window.start:
                    return True
            timeout_ms = max(0.0, (until - time.monotonic()) * 1000)

    def _wait_counting(self, timeout_ms: float) -> bool:
        """What is there may lie anywhere."""
        self._reader.seek(self._reader.bounds()[1])
        if self._is_ready() or timeout_ms <= 0:
            return self._is_ready()
        self.poll(timeout_ms, 1)
        return self._is_ready()

    def _is_ready(self) -> bool:
        reader = self._taker.reader
        return bool(reader.counts()["ready"]) or not all(alive for _, _, _, alive, _ in reader.in_flight())
