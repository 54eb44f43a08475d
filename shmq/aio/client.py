"""What the asyncio clients have in common: a thread from `start` to `stop`.

Owns: when the thread begins and ends.
Must never: leave a thread behind when a start fails.
Sits: over the thread; under the producer and the consumer.
"""

from __future__ import annotations

import abc
from types import TracebackType
from typing import Self

from shmq.aio.thread import Thread
from shmq.errors import IllegalStateError


class Client(abc.ABC):
    """Opened by `start` or `async with`, for one event loop."""

    _thread_name: str
    _thread: Thread | None = None

    async def start(self) -> None:
        """Open the broker; a consumer joins its group. Errors: those of the blocking client."""
        if self._thread is not None:
            raise IllegalStateError("it was started already")
        self._thread = Thread(self._thread_name)
        try:
            await self._begin(self._thread)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Send what lingers, or commit what was handed out and leave the group; close. A second time does nothing."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await self._finish(thread)
            thread.end()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @abc.abstractmethod
    async def _begin(self, thread: Thread) -> None:
        """Make the blocking client, there."""

    @abc.abstractmethod
    async def _finish(self, thread: Thread) -> None:
        """Close it, there; if it was made."""


def not_started() -> IllegalStateError:
    """Return the error of a call before `start` or after `stop`."""
    return IllegalStateError("it is not started; use `async with`, or await start()")
