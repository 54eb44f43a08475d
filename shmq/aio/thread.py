"""The one thread that does what may block, for one client of an event loop.

Owns: the thread, the order of its work, and waking the loop when something is done.
Must never: run two things at once: a consumer belongs to one thread at a time.
Sits: under the asyncio clients.

The thread sleeps in the core until a record comes; then the loop is woken by its own event. Nothing polls.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

_R = TypeVar("_R")
_Work = tuple["Callable[[], Any]", "asyncio.Future[Any]", "asyncio.AbstractEventLoop"]


class Thread:
    """Runs functions one after another."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def start(self, function: Callable[[], _R]) -> asyncio.Future[_R]:
        """Begin `function` there when what came before is done; the future is this loop's."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_R] = loop.create_future()
        self._work.put((function, future, loop))
        return future

    def end(self) -> None:
        """Let it end once all is done; does not wait."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            function, future, loop = work
            try:
                result = function()
            except BaseException as error:
                _settle(loop, future, future.set_exception, error)
            else:
                _settle(loop, future, future.set_result, result)
            del work, function, future, loop  # what was returned must not live until the next call


def _settle(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], how: Callable[[Any], None], what: Any
) -> None:
    def settle() -> None:
        if not future.done():  # else it was cancelled
            how(what)

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)
