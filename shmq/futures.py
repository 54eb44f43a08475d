"""The future of a record that waits to be appended with others (`linger_ms`).

Owns: waiting for it, callbacks, and awaiting it. A record that is appended at once has a future of the C core instead.
Must never: lose an error: one that nobody asks for is logged by who sets it.
Sits: under the accumulator. Source: FutureRecordMetadata of kafka-python.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import os
import threading
from collections.abc import Callable, Generator
from typing import Any

from shmq.errors import ForkedError, KafkaTimeoutError
from shmq.types import RecordMetadata

_log = logging.getLogger(__name__)


class Bell:
    """Wakes one waiter; not lost if nobody waits yet.

    Made of a C lock alone: what the threading module writes in Python (Condition, Event) is left locked for ever by an
    error that a signal handler raises at the wrong moment. For the same reason `with` is used on C locks only.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the waiter, or the next one."""
        try:
            self._lock.release()
        except RuntimeError:  # rung already
            return

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for a ring; False if there was none in time."""
        return self._lock.acquire(timeout=-1 if timeout_s is None else min(timeout_s, threading.TIMEOUT_MAX))


class PendingRecord:
    """Resolved once, to a `RecordMetadata` (of a commit: to the offsets) or an error; safe from any thread."""

    def __init__(self) -> None:
        self.is_done = False
        self._lock = threading.RLock()  # a signal handler may come in while its own thread holds it
        self._waiting: list[Bell] = []
        self._callbacks: list[Callable[[RecordMetadata], object]] = []
        self._errbacks: list[Callable[[BaseException], object]] = []
        self._pid = os.getpid()
        self.value: Any = None
        self.exception: BaseException | None = None

    def succeeded(self) -> bool:
        """Whether the record is in the log."""
        return self.is_done and self.exception is None

    def failed(self) -> bool:
        """Whether the append failed; the record is not in the log."""
        return self.is_done and self.exception is not None

    def get(self, timeout: float | None = None) -> RecordMetadata:
        """Wait for the result.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Raises:
            KafkaTimeoutError: not resolved in time; the record may still be appended.
            ForkedError: the parent of this process sent it, and alone will know.
            ShmqError: what kept the record from being appended.
        """
        timeout = checked_seconds(timeout)
        if not self.is_done and self._pid != os.getpid():
            raise ForkedError("future", self._pid, os.getpid())
        if not self._wait(timeout):
            raise KafkaTimeoutError(f"the record was not appended within {timeout} s; call producer.flush()")
        if self.exception is not None:
            raise self.exception
        assert self.value is not None
        value: RecordMetadata = self.value
        return value

    def add_callback(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> PendingRecord:
        """Call `function(*args, metadata, **kwargs)` when the record is in the log; at once if it is."""
        return self._add(self._callbacks, functools.partial(function, *args, **kwargs))

    def add_errback(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> PendingRecord:
        """Call `function(*args, error, **kwargs)` when the append fails; at once if it did."""
        return self._add(self._errbacks, functools.partial(function, *args, **kwargs))

    def resolve(self, value: object, error: BaseException | None = None) -> None:
        """Set the result and run the callbacks in this thread. Again, it only runs those that were not run yet."""
        with self._lock:
            if not self.is_done:
                self.value, self.exception = value, error
                self.is_done = True
        for bell in list(self._waiting):
            bell.ring()
        self._run()

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        if not self.is_done:
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            wake = functools.partial(loop.call_soon_threadsafe, _set_done, waiter)
            self.add_callback(lambda _: wake())
            self.add_errback(lambda _: wake())
            yield from waiter
        return self.get(0)

    def _wait(self, timeout_s: float | None) -> bool:
        bell = Bell()
        with self._lock:
            if self.is_done:
                return True
            self._waiting.append(bell)
        if not bell.wait(timeout_s):
            self._waiting.remove(bell)
        return self.is_done

    def _add(self, where: list[Any], function: Callable[[Any], object]) -> PendingRecord:
        with self._lock:
            where.append(function)
            done = self.is_done
        if done:
            self._run()
        return self

    def _run(self) -> None:
        """Run what was not run yet, each once, whatever thread or interrupted call comes here."""
        chosen: list[Any] = self._callbacks if self.exception is None else self._errbacks
        while chosen:
            try:
                function = chosen.pop(0)
            except IndexError:  # another thread was faster
                return
            try:
                function(self.value if self.exception is None else self.exception)
            except Exception:
                _log.exception("a callback of send() failed")


def checked_seconds(timeout: float | None) -> float | None:
    """Return a timeout in seconds that can be waited for; None for ever. Raises: TypeError, ValueError."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not hasattr(timeout, "__float__"):
        raise TypeError(f"timeout is a number of seconds, not {type(timeout).__name__}")
    if math.isnan(timeout) or timeout < 0:
        raise ValueError(f"timeout is a number of seconds of at least 0, not {timeout!r}")
    return min(float(timeout), threading.TIMEOUT_MAX)


def _set_done(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():  # the awaiting task may have been cancelled meanwhile
        waiter.set_result(None)
