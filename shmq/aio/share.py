"""ShareConsumer for asyncio.

Owns: waiting for records elsewhere than in the event loop, and what a cancelled wait has taken already.
Must never: settle a record that was not handed out as if it were done, or keep one from the others for nothing.
Sits: over `reading` and the ShareConsumer.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from shmq.aio.reading import LONG_MS, Reading, forwarded
from shmq.share import ShareConsumer as BlockingShareConsumer
from shmq.types import TopicPartition


class ShareConsumer(Reading[BlockingShareConsumer]):
    """Reads topics together with the other members of its share group; for one task at a time.

    Args:
        *topics: Topics to subscribe to.
        **configs: As for `shmq.ShareConsumer`.

    `async with ShareConsumer("jobs", group_id="g") as consumer: async for record in consumer: ...`. Several tasks that
    each take records need a consumer each, since what one polls settles what was polled before.
    """

    _thread_name = "shmq-aio-share-consumer"

    # -- records ------------------------------------------------------------------------------------------------------

    async def getone(self) -> Any:
        """Return the next record; wait for it as long as it takes. Errors: `shmq.ShareConsumer.poll`."""
        while True:
            for records in (await self.getmany(timeout_ms=LONG_MS, max_records=1)).values():
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

    # -- acknowledgements ---------------------------------------------------------------------------------------------

    acknowledge = forwarded(BlockingShareConsumer, "acknowledge")
    commit = forwarded(BlockingShareConsumer, "commit_sync")
    subscribe = forwarded(BlockingShareConsumer, "subscribe")
    subscription = forwarded(BlockingShareConsumer, "subscription")
    unsubscribe = forwarded(BlockingShareConsumer, "unsubscribe")

    async def set_acknowledgement_commit_callback(self, callback: Callable[..., Any] | None) -> None:
        """Be told of what polls and `stop` settle, by a function or a coroutine function that is run in the loop."""
        wrapped = None if callback is None else _in_loop(callback, asyncio.get_running_loop())
        await self._run(lambda consumer: consumer.set_acknowledgement_commit_callback(wrapped))

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _make(self) -> BlockingShareConsumer:
        return BlockingShareConsumer(*self._topics, **self._configs)

    def _close(self, consumer: BlockingShareConsumer) -> None:
        consumer.close()

    async def _fetch(self, timeout_ms: float, max_records: int | None) -> dict[TopicPartition, list[Any]] | None:
        """Let the thread wait for records. None: the wait was ended before its time."""
        consumer = self._open()
        return await self._wait(lambda: consumer.poll(timeout_ms, max_records), consumer._return)


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
