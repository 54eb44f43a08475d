"""Producer for asyncio.

Owns: sending at once where there is room, and waiting for room elsewhere than in the event loop.
Must never: let a later record of this producer overtake one that waits.
Sits: over the client and the Producer. Source: AIOKafkaProducer of aiokafka.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from shmq.aio.client import Client, not_started
from shmq.aio.thread import Thread
from shmq.errors import BufferFullError
from shmq.producer import Producer as BlockingProducer
from shmq.types import BatchMetadata, RecordMetadata

if TYPE_CHECKING:
    import numpy as np

    from shmq.arrays.reserving import Reserved as BlockingReserved

_Result = TypeVar("_Result")
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
        hasty, patient, _ = self._started()
        if not self._waiting:
            try:
                sent: Awaitable[RecordMetadata] = hasty.send(topic, value, key, headers, partition, timestamp_ms)
                return sent
            except BufferFullError as full:
                if full.self_wait:
                    raise
        late: Awaitable[RecordMetadata] = await self._wait(
            lambda: patient.send(topic, value, key, headers, partition, timestamp_ms)
        )
        return late

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

    async def send_array(
        self,
        topic: str,
        array: Any,
        keys: Iterable[Any] | None = None,
        *,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> list[BatchMetadata]:
        """Append items, copied in a thread. Errors and results: `shmq.Producer.send_array`."""
        _, patient, _ = self._started()
        return await self._wait(
            lambda: patient.send_array(topic, array, keys, partition=partition, timestamp_ms=timestamp_ms)
        )

    def reserve(
        self,
        topic: str,
        items: int | None = None,
        *,
        nbytes: int | None = None,
        keys: Iterable[Any] | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Reserved:
        """Return an asynchronous context manager that gives an array to be filled in place.

        `async with producer.reserve("t", items=8) as array: array[:] = ...`. Else as `shmq.Producer.reserve`.
        """
        _, patient, _ = self._started()
        return Reserved(
            self,
            patient.reserve(topic, items, nbytes=nbytes, keys=keys, partition=partition, timestamp_ms=timestamp_ms),
        )

    async def flush(self) -> None:
        """Append what lingers. Errors: `shmq.Producer.flush`."""
        hasty, patient, thread = self._started()
        await thread.start(hasty.flush)
        await thread.start(patient.flush)

    async def partitions_for(self, topic: str) -> set[int]:
        """Return the numbers of a topic's partitions. Errors: `shmq.Producer.partitions_for`."""
        hasty, _, thread = self._started()
        return set(await thread.start(lambda: hasty.partitions_for(topic)))

    # -- helpers ------------------------------------------------------------------------------------------------------

    async def _wait(self, function: Callable[[], _Result]) -> _Result:
        """Run it in the thread; what is sent meanwhile waits behind it. A task that is cancelled does not end it."""
        _, _, thread = self._started()
        self._waiting += 1
        try:
            return await asyncio.shield(thread.start(function))
        finally:
            self._waiting -= 1


class Reserved:
    """What `Producer.reserve` returns; its attributes are those of the blocking one."""

    def __init__(self, producer: Producer, reserved: BlockingReserved) -> None:
        self._producer, self._reserved = producer, reserved

    @property
    def metadata(self) -> BatchMetadata | None:
        """Where the records went; None before, and if nothing was published."""
        return self._reserved.metadata

    async def __aenter__(self) -> np.ndarray[Any, Any]:
        return await self._producer._wait(self._reserved.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer._wait(lambda: self._reserved.__exit__(kind, error, trace))
