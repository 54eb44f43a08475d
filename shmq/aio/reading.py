"""What the asyncio consumers have in common: a blocking consumer in a thread, where one task at a time waits for it.

Owns: that consumer, and ending its wait when somebody else wants the thread, or the waiting task is cancelled.
Must never: block the event loop, or drop what a wait has read when its task is cancelled.
Sits: over the client; under the consumers.
"""

from __future__ import annotations

import abc
import asyncio
import functools
from collections.abc import Callable
from typing import Any, Generic, Protocol, Self, TypeVar

from shmq.aio.client import Client, not_started
from shmq.aio.thread import Thread
from shmq.errors import WakeupError

LONG_MS = 3_600_000.0


class Blocking(Protocol):
    """What is asked of a blocking consumer here."""

    def wakeup(self) -> None:
        """End the `poll` under way, or the next one."""


_Blocking = TypeVar("_Blocking", bound=Blocking)
_Found = TypeVar("_Found")


def forwarded(kind: type[Any], name: str) -> Any:
    """Return a method of the blocking consumer's class, to be run in the thread."""

    @functools.wraps(getattr(kind, name))
    async def method(self: Reading[Any], *args: Any, **kwargs: Any) -> Any:
        return await self._run(lambda consumer: getattr(consumer, name)(*args, **kwargs))

    return method


class Reading(Client, Generic[_Blocking]):
    """A consumer for asyncio."""

    def __init__(self, *topics: str, **configs: Any) -> None:
        self._topics, self._configs = topics, configs
        self._consumer: _Blocking | None = None
        self._fetching = asyncio.Lock()
        self._is_polling = False

    @abc.abstractmethod
    async def getone(self) -> Any:
        """Return the next record; wait for it as long as it takes."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await self.getone()

    # -- for subclasses -----------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _make(self) -> _Blocking:
        """Return the blocking consumer; called in the thread, as is `_close`."""

    @abc.abstractmethod
    def _close(self, consumer: _Blocking) -> None:
        """Close it."""

    def _open(self) -> _Blocking:
        if self._thread is None or self._consumer is None:
            raise not_started()
        return self._consumer

    async def _run(self, function: Callable[[_Blocking], Any]) -> Any:
        """Run it in the thread; a wait for records that is under way there is ended first, and goes on afterwards."""
        consumer = self._open()
        assert self._thread is not None
        future = self._thread.start(lambda: function(consumer))
        if self._is_polling:
            consumer.wakeup()
        return await future

    async def _wait(
        self, poll: Callable[[], _Found], give_back: Callable[[_Found], object] | None = None
    ) -> _Found | None:
        """Let the thread poll. None: that was ended before its time.

        Args:
            poll: Called in the thread.
            give_back: Called there with what was found, if the task was cancelled meanwhile.
        """
        consumer, thread = self._open(), self._thread
        assert thread is not None

        def wait() -> _Found | None:
            try:
                return poll()
            except WakeupError:  # somebody wants the thread, or the task was cancelled
                return None
            finally:
                self._is_polling = False

        self._is_polling = True  # from here on: what another task starts is behind it
        future = thread.start(wait)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            consumer.wakeup()
            found = await future
            if found and give_back is not None:
                await thread.start(functools.partial(give_back, found))
            raise

    # -- the thread ---------------------------------------------------------------------------------------------------

    async def _begin(self, thread: Thread) -> None:
        self._consumer = await thread.start(self._make)

    async def _finish(self, thread: Thread) -> None:
        consumer = self._consumer
        if consumer is not None:
            if self._is_polling:
                consumer.wakeup()
            await thread.start(functools.partial(self._close, consumer))
