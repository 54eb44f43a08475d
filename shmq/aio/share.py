"""ShareConsumer for asyncio.

Owns: waiting for records elsewhere than in the event loop, and what a cancelled wait has taken already.
Must never: settle a record that was not handed out as if it were done, or keep one from the others for nothing.
Sits: over the client and the ShareConsumer.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

from shmq.aio.client import Client, not_started
from shmq.aio.thread import Thread
from shmq.errors import WakeupError
from shmq.share import ShareConsumer as BlockingShareConsumer
from shmq.types import TopicPartition

_LONG_MS = 3_600_000.0


def _forwarded(name: str) -> Any:
    """A method of the blocking consumer, run in the thread."""

    @functools.wraps(getattr(BlockingShareConsumer, name))
    async def method(self: ShareConsumer, *args: Any, **kwargs: Any) -> Any:
        return await self._run(lambda consumer: getattr(consumer, name)(*args, **kwargs))

    return method


class ShareConsumer(Client):
    """Reads topics together with the other members of its share group; for one task at a time.

    Args:
        *topics: Topics to subscribe to.
        **configs: As for `shmq.ShareConsumer`.

    `async with ShareConsumer("jobs", group_id="g") as consumer: async for record in consumer: ...`. Several tasks that
    each take records need a consumer each, since what one polls settles what was polled before.
    """

    _thread_name = "shmq-aio-share-consumer"

    def __init__(self, *topics: str, **configs: Any) -> None:
        self._topics, self._configs = topics, configs
        self._consumer: BlockingShareConsumer | None = None
        self._fetching = asyncio.Lock()
        self._is_polling = False

    async def _begin(self, thread: Thread) -> None:
        self._consumer = await thread.start(lambda: BlockingShareConsumer(*self._topics, **self._configs))

    async def _finish(self, thread: Thread) -> None:
        consumer = self._consumer
        if consumer is not None:
            if self._is_polling:
                consumer.wakeup()
            await thread.start(consumer.close)

    # -- records ------------------------------------------------------------------------------------------------------

    async def getone(self) -> Any:
        """Return the next record; wait for it as long as it takes. Errors: `shmq.ShareConsumer.poll`."""
        while True:
            for records in (await self.getmany(timeout_ms=_LONG_MS, max_records=1)).values():
                return records[0]

    async def getmany(
        self, *, timeout_ms: float = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]:
        """Return records that are with this consumer from now on, by partition; {} if none came in time.

        What a wait has taken when its task is cancelled is released, and delivered again.

        Args:
            timeout_ms: Longest wait for a first record, in milliseconds.
            max_records: At most this many; default `max_poll_records`.

        Raises: as `shmq.ShareConsumer.poll`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        async with self._fetching:
            while True:
                found = await self._fetch(max(0.0, deadline - loop.time()) * 1000, max_records)
                if found is not None:
                    return found

    def __aiter__(self) -> ShareConsumer:
        return self

    async def __anext__(self) -> Any:
        return await self.getone()

    # -- acknowledgements ---------------------------------------------------------------------------------------------

    acknowledge = _forwarded("acknowledge")
    commit = _forwarded("commit_sync")
    subscribe = _forwarded("subscribe")
    subscription = _forwarded("subscription")
    unsubscribe = _forwarded("unsubscribe")

    async def set_acknowledgement_commit_callback(self, callback: Callable[..., Any] | None) -> None:
        """Be told of what polls and `stop` settle, by a function or a coroutine function that is run in the loop."""
        wrapped = None if callback is None else _in_loop(callback, asyncio.get_running_loop())
        await self._run(lambda consumer: consumer.set_acknowledgement_commit_callback(wrapped))

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _open(self) -> BlockingShareConsumer:
        if self._thread is None or self._consumer is None:
            raise not_started()
        return self._consumer

    async def _run(self, function: Callable[[BlockingShareConsumer], Any]) -> Any:
        """Run it in the thread; a wait for records that is under way there is ended first, and goes on afterwards."""
        consumer = self._open()
        assert self._thread is not None
        future = self._thread.start(lambda: function(consumer))
        if self._is_polling:
            consumer.wakeup()
        return await future

    async def _fetch(self, timeout_ms: float, max_records: int | None) -> dict[TopicPartition, list[Any]] | None:
        """Let the thread wait for records. None: the wait was ended before its time."""
        consumer, thread = self._open(), self._thread
        assert thread is not None

        def poll() -> dict[TopicPartition, list[Any]] | None:
            try:
                return consumer.poll(timeout_ms, max_records)
            except WakeupError:  # somebody wants the thread, or the task was cancelled
                return None
            finally:
                self._is_polling = False

        self._is_polling = True  # from here on: what another task starts is behind it
        future = thread.start(poll)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            consumer.wakeup()
            found = await future
            if found:
                await thread.start(lambda: consumer._return(found))
            raise


def _in_loop(callback: Callable[..., Any], loop: asyncio.AbstractEventLoop) -> Callable[..., None]:
    """Call it in the loop, without waiting for it there: the loop may be waiting for us."""

    def call(*args: Any) -> None:
        loop.call_soon_threadsafe(run, args)

    def run(args: tuple[Any, ...]) -> None:
        result = callback(*args)
        if inspect.iscoroutine(result):
            _running.add(task := loop.create_task(result))
            task.add_done_callback(_running.discard)

    return call


_running: set[asyncio.Task[Any]] = set()
"""Else nothing would keep them until they are done."""
