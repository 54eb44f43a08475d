"""Consumer for asyncio.

Owns: handing out records one by one or many at once, and what a cancelled wait has read already.
Must never: lose a record because a task was cancelled, or commit one that was not handed out.
Sits: over `reading` and the Consumer. Source: AIOKafkaConsumer of aiokafka.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shmq.aio.reading import LONG_MS, Reading, forwarded
from shmq.arrays import ArrayBatch
from shmq.consumer import Consumer as BlockingConsumer
from shmq.listener import ConsumerRebalanceListener
from shmq.types import OffsetAndMetadata, TopicPartition


class Consumer(Reading[BlockingConsumer]):
    """Reads records; for one event loop.

    Args:
        *topics: Topics to subscribe to.
        **configs: As for `shmq.Consumer`.

    `async with Consumer("t", group_id="g") as consumer: async for record in consumer: ...`. Rebalance listeners may
    have coroutines for methods.
    """

    _thread_name = "shmq-aio-consumer"

    def __init__(self, *topics: str, **configs: Any) -> None:
        super().__init__(*topics, **configs)
        self._ready: deque[Any] = deque()

    # -- records ------------------------------------------------------------------------------------------------------

    async def getone(self, *partitions: TopicPartition) -> Any:
        """Return the next record, of these partitions if some are named; wait for it as long as it takes."""
        while True:
            record = self._next(partitions)
            if record is not None:
                return record
            async with self._fetching:
                if not self._has(partitions):
                    await self._fetch(partitions, LONG_MS, None)

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: float = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]:
        """Return the records that are there, by partition; {} if none came in time.

        Args:
            partitions: Only these; all if none is named.
            timeout_ms: Longest wait for a first record, in milliseconds.
            max_records: At most this many; default `max_poll_records`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        async with self._fetching:
            while not self._has(partitions):
                is_over = await self._fetch(partitions, max(0.0, deadline - loop.time()) * 1000, max_records)
                if is_over:
                    break
        most = self._open().config.max_poll_records if max_records is None else max_records
        result: dict[TopicPartition, list[Any]] = {}
        while most > 0 and (record := self._next(partitions)) is not None:
            result.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
            most -= 1
        return result

    async def poll_arrays(
        self, *, timeout_ms: float = 0, max_items: int | None = None
    ) -> dict[TopicPartition, ArrayBatch]:
        """Return the next items of the assigned partitions, each as one array in place; {} if none came in time.

        What a wait has read when its task is cancelled is read again.

        Args:
            timeout_ms: Longest wait for a first item, in milliseconds.
            max_items: See `shmq.Consumer.poll_arrays`, as for results and errors.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        async with self._fetching:
            while True:
                consumer, unread = self._open(), self._unread()
                self._ready.clear()
                left_ms = max(0.0, deadline - loop.time()) * 1000
                poll = functools.partial(_poll_arrays, consumer, unread, left_ms, max_items)
                found: dict[TopicPartition, ArrayBatch] | None = await self._wait(
                    poll, functools.partial(_give_back_arrays, consumer)
                )
                if found is not None:
                    return found

    # -- positions ----------------------------------------------------------------------------------------------------

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None) -> None:
        """Commit these, or what was handed out. Errors: `shmq.Consumer.commit`."""
        unread = self._unread()

        def commit(consumer: BlockingConsumer) -> None:
            wanted = offsets
            if wanted is None:
                first = {place: OffsetAndMetadata(offset, "", -1) for place, offset in unread.items()}
                wanted = consumer._alone(consumer._consumed) | first
            consumer.commit(wanted)

        await self._run(commit)

    async def position(self, partition: TopicPartition) -> int:
        """Return the offset of the next record that will be handed out."""
        unread = self._unread()
        if partition in unread:
            return unread[partition]
        position: int = await self._run(lambda consumer: consumer.position(partition))
        return position

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from `offset`. Errors: `shmq.Consumer.seek`."""
        self._forget(partition)
        await self._run(lambda consumer: consumer.seek(partition, offset))

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Read these partitions, or all, from their first offset on."""
        self._forget(*partitions)
        await self._run(lambda consumer: consumer.seek_to_beginning(*partitions))

    async def seek_to_end(self, *partitions: TopicPartition) -> None:
        """Read of these partitions, or of all, only what comes from now on."""
        self._forget(*partitions)
        await self._run(lambda consumer: consumer.seek_to_end(*partitions))

    async def subscribe(
        self, topics: Sequence[str] = (), pattern: str | None = None, listener: ConsumerRebalanceListener | None = None
    ) -> None:
        """Read these topics. Errors: `shmq.Consumer.subscribe`."""
        wrapped = None if listener is None else _Listener(listener, asyncio.get_running_loop())
        await self._run(lambda consumer: consumer.subscribe(topics, pattern, wrapped))

    assign = forwarded(BlockingConsumer, "assign")
    unsubscribe = forwarded(BlockingConsumer, "unsubscribe")
    assignment = forwarded(BlockingConsumer, "assignment")
    subscription = forwarded(BlockingConsumer, "subscription")
    committed = forwarded(BlockingConsumer, "committed")
    pause = forwarded(BlockingConsumer, "pause")
    resume = forwarded(BlockingConsumer, "resume")
    paused = forwarded(BlockingConsumer, "paused")
    highwater = forwarded(BlockingConsumer, "highwater")
    beginning_offsets = forwarded(BlockingConsumer, "beginning_offsets")
    end_offsets = forwarded(BlockingConsumer, "end_offsets")
    offsets_for_times = forwarded(BlockingConsumer, "offsets_for_times")
    partitions_for_topic = forwarded(BlockingConsumer, "partitions_for_topic")
    topics = forwarded(BlockingConsumer, "topics")

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _make(self) -> BlockingConsumer:
        return BlockingConsumer(*self._topics, **self._configs)

    async def _fetch(self, partitions: tuple[TopicPartition, ...], timeout_ms: float, max_records: int | None) -> bool:
        """Let the thread wait for records; they are in `_ready` before this task goes on, cancelled or not.

        What is in `_ready` already, of other partitions, is given back first: a poll may commit all that was read.
        False: the wait was ended before its time.
        """
        consumer, loop, unread = self._open(), asyncio.get_running_loop(), self._unread()
        self._ready.clear()

        def poll() -> bool:
            _give_back(consumer, unread)
            others = (consumer.assignment() - consumer.paused()).difference(partitions) if partitions else ()
            consumer.pause(*others)
            try:
                found = consumer.poll(timeout_ms=timeout_ms, max_records=max_records)
            finally:
                consumer.resume(*(consumer.paused() & set(others)))
            for records in found.values():
                loop.call_soon_threadsafe(self._ready.extend, records)
            return True

        return await self._wait(poll) or False

    def _next(self, partitions: tuple[TopicPartition, ...]) -> Any:
        """The next record that was read, of these partitions; None if there is none."""
        if not partitions:
            return self._ready.popleft() if self._ready else None
        for record in self._ready:
            if (record.topic, record.partition) in partitions:
                self._ready.remove(record)
                return record
        return None

    def _has(self, partitions: tuple[TopicPartition, ...]) -> bool:
        return any(not partitions or (each.topic, each.partition) in partitions for each in self._ready)

    def _unread(self) -> dict[TopicPartition, int]:
        """The first offset of each partition that was read and not handed out."""
        unread: dict[TopicPartition, int] = {}
        for record in self._ready:
            unread.setdefault(TopicPartition(record.topic, record.partition), record.offset)
        return unread

    def _forget(self, *partitions: TopicPartition) -> None:
        kept = [each for each in self._ready if partitions and (each.topic, each.partition) not in partitions]
        self._ready = deque(kept)

    def _close(self, consumer: BlockingConsumer) -> None:
        """What was read and not handed out must not be committed."""
        _give_back(consumer, self._unread())
        consumer.close()


def _give_back(consumer: BlockingConsumer, unread: Mapping[TopicPartition, int]) -> None:
    """Stand before what was read and not handed out."""
    assigned = consumer.assignment()
    for place, offset in unread.items():
        if place in assigned:
            consumer.seek(place, offset)


def _poll_arrays(
    consumer: BlockingConsumer, unread: Mapping[TopicPartition, int], timeout_ms: float, max_items: int | None
) -> dict[TopicPartition, ArrayBatch]:
    _give_back(consumer, unread)
    return consumer.poll_arrays(timeout_ms, max_items)


def _give_back_arrays(consumer: BlockingConsumer, found: Mapping[TopicPartition, ArrayBatch]) -> None:
    _give_back(consumer, {place: int(batch.offsets[0]) for place, batch in found.items()})


class _Listener(ConsumerRebalanceListener):
    """Calls a listener whose methods may be coroutines, from the consumer's thread."""

    def __init__(self, listener: ConsumerRebalanceListener, loop: asyncio.AbstractEventLoop) -> None:
        self._listener, self._loop = listener, loop

    def _call(self, function: Callable[[Sequence[TopicPartition]], Any], places: Sequence[TopicPartition]) -> None:
        result = function(places)
        if inspect.iscoroutine(result):
            asyncio.run_coroutine_threadsafe(result, self._loop).result()

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        self._call(self._listener.on_partitions_revoked, revoked)

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        self._call(self._listener.on_partitions_assigned, assigned)

    def on_partitions_lost(self, lost: Sequence[TopicPartition]) -> None:
        self._call(self._listener.on_partitions_lost, lost)
