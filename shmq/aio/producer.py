"""Producer for asyncio.

Owns: sending at once where there is room, and waiting for room elsewhere than in the event loop.
Must never: let a later record of this producer overtake one that waits.
Sits: over the Producer and its thread. Source: AIOKafkaProducer of aiokafka.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Any

from shmq.aio.thread import Thread
from shmq.errors import BufferFullError, IllegalStateError
from shmq.producer import Producer as BlockingProducer
from shmq.types import RecordMetadata

Headers = Sequence[tuple[str, bytes | None]]


class Producer:
    """Sends records; for one event loop.

    Args:
        **configs: As for `shmq.Producer`.

    An append takes about a microsecond and is made in the loop. Only where a topic with `retention=consumed` is full, a
    thread waits for room, up to `max_block_ms`; what is sent meanwhile waits behind it.
    """

    def __init__(self, **configs: Any) -> None:
        self._configs = configs
        self._hasty: BlockingProducer | None = None
        self._patient: BlockingProducer | None = None
        self._thread: Thread | None = None
        self._waiting = 0

    async def start(self) -> None:
        """Open the broker. Errors: `shmq.Producer`."""
        if self._thread is not None:
            raise IllegalStateError("it was started already")
        self._thread = Thread("shmq-aio-producer")
        try:
            configs = {**self._configs, "max_block_ms": 0}
            self._hasty = await self._thread.start(lambda: BlockingProducer(**configs))
            self._patient = await self._thread.start(lambda: BlockingProducer(**self._configs))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Send what lingers, and close; a second time does nothing."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        for producer in (self._hasty, self._patient):
            if producer is not None:
                await thread.start(producer.close)
        thread.end()

    async def __aenter__(self) -> Producer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

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
        hasty, patient, thread = self._hasty, self._patient, self._thread
        if hasty is None or patient is None or thread is None:
            raise IllegalStateError("it is not started; use `async with`, or await start()")
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
        if self._thread is None or self._hasty is None or self._patient is None:
            raise IllegalStateError("it is not started; use `async with`, or await start()")
        await self._thread.start(self._hasty.flush)
        await self._thread.start(self._patient.flush)

    async def partitions_for(self, topic: str) -> set[int]:
        """Return the numbers of a topic's partitions. Errors: `shmq.Producer.partitions_for`."""
        producer = self._hasty
        if self._thread is None or producer is None:
            raise IllegalStateError("it is not started; use `async with`, or await start()")
        return set(await self._thread.start(lambda: producer.partitions_for(topic)))
