"""Producer for asyncio.

Owns: sending at once where there is room, and waiting for room elsewhere than in the event loop.
Must never: let a later record of this producer overtake one that waits.
Sits: over the client and the Producer. Source: AIOKafkaProducer of aiokafka.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from shmq.aio.client import Client, not_started
from shmq.aio.thread import Thread
from shmq.errors import BufferFullError
from shmq.producer import Producer as BlockingProducer
from shmq.types import RecordMetadata

Headers = Sequence[tuple[str, bytes | None]]


class Producer(Client):
    """Sends records; for one event loop.

    Args:
        **configs: As for `shmq.Producer`.

    An append takes about a microsecond and is made in the loop. Only where a topic with `retention=consumed` is full, a
    thread waits for room, up to `max_block_ms`; what is sent meanwhile waits behind it.
    """

    _thread_name = "shmq-aio-producer"

    def __init__(self, **configs: Any) -> None:
        self._configs = configs
        self._hasty: BlockingProducer | None = None
        self._patient: BlockingProducer | None = None
        self._waiting = 0

    async def _begin(self, thread: Thread) -> None:
        configs = {**self._configs, "max_block_ms": 0}
        self._hasty = await thread.start(lambda: BlockingProducer(**configs))
        self._patient = await thread.start(lambda: BlockingProducer(**self._configs))

    async def _finish(self, thread: Thread) -> None:
        for producer in (self._hasty, self._patient):
            if producer is not None:
                await thread.start(producer.close)

    def _started(self) -> tuple[BlockingProducer, BlockingProducer, Thread]:
        if self._hasty is None or self._patient is None or self._thread is None:
            raise not_started()
        return self._hasty, self._patient, self._thread

    async def send(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Headers | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Append a record, and return a future of where it went. Errors: `shmq.Producer.send`."""
        hasty, patient, thread = self._started()
        if not self._waiting:
            try:
                sent: Awaitable[RecordMetadata] = hasty.send(topic, value, key, headers, partition, timestamp_ms)
                return sent
            except BufferFullError as full:
                if full.self_wait:
                    raise
        self._waiting += 1
        try:
            work = thread.start(lambda: patient.send(topic, value, key, headers, partition, timestamp_ms))
            late: Awaitable[RecordMetadata] = await asyncio.shield(work)
            return late
        finally:
            self._waiting -= 1

    async def send_and_wait(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Headers | None = None,
    ) -> RecordMetadata:
        """Append a record, and return where it went. Errors: `shmq.Producer.send`."""
        return await (await self.send(topic, value, key, partition, timestamp_ms, headers))

    async def flush(self) -> None:
        """Append what lingers. Errors: `shmq.Producer.flush`."""
        hasty, patient, thread = self._started()
        await thread.start(hasty.flush)
        await thread.start(patient.flush)

    async def partitions_for(self, topic: str) -> set[int]:
        """Return the numbers of a topic's partitions. Errors: `shmq.Producer.partitions_for`."""
        hasty, _, thread = self._started()
        return set(await thread.start(lambda: hasty.partitions_for(topic)))
