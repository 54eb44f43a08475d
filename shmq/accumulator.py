"""Records that wait for others, so that one claim appends them all (`linger_ms`, `batch_size`).

Owns: the open batches of one producer and the thread that appends them when their time is up.
Must never: reorder the records of a partition, or keep an error to itself.
Sits: under the producer; over the C core's appenders. Source: RecordAccumulator of kafka-python.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from shmq import _native
from shmq.errors import KafkaTimeoutError
from shmq.futures import PendingRecord
from shmq.serde import Buffer
from shmq.types import RecordMetadata, TopicPartition

_log = logging.getLogger(__name__)

Row = tuple["Buffer | None", "Buffer | None", "bytes | None", int]
"""Key, value, encoded headers, timestamp in ms or -1: what `Appender.append_rows` takes."""

Append = Callable[[_native.Topic, int, "list[Row]"], tuple[int, int]]
"""Appends rows to one partition of a topic; (base offset, timestamp of the first row)."""


@dataclass
class _Batch:
    topic: _native.Topic
    partition: int
    due: float
    rows: list[Row] = field(default_factory=list)
    futures: list[PendingRecord] = field(default_factory=list)
    sizes: list[tuple[int, int, int]] = field(default_factory=list)
    waiting_bytes: int = 0


class Accumulator:
    """Open batches, one per partition; safe from any thread.

    Args:
        append: How a full or due batch is appended.
        linger_s: How long a record may wait, in seconds.
        batch_bytes: A batch of so many bytes is appended at once, by who fills it.
    """

    def __init__(self, append: Append, linger_s: float, batch_bytes: int) -> None:
        self._append = append
        self._linger_s = linger_s
        self._batch_bytes = batch_bytes
        self._changed = threading.Condition()
        self._batches: dict[tuple[str, int], _Batch] = {}
        self._order: dict[tuple[str, int], threading.Lock] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, topic: _native.Topic, partition: int, row: Row, sizes: tuple[int, int, int]) -> PendingRecord:
        """Put a record into its partition's batch; `sizes` are those of its metadata. Appends the batch if it is full."""
        future = PendingRecord()
        where = (topic.name, partition)
        with self._changed:
            batch = self._batches.get(where)
            if batch is None:
                batch = self._batches[where] = _Batch(topic, partition, time.monotonic() + self._linger_s)
                self._order.setdefault(where, threading.Lock())
                self._start()
                self._changed.notify()
            batch.rows.append(row)
            batch.futures.append(future)
            batch.sizes.append(sizes)
            batch.waiting_bytes += sum(max(size, 0) for size in sizes)
            full = batch.waiting_bytes >= self._batch_bytes
        if full:
            self._drain(where)
        return future

    def flush(self, timeout_s: float | None = None) -> None:
        """Append all that waits now.

        Raises:
            KafkaTimeoutError: some of it could not be appended in time; its futures are still open.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            waiting = list(self._order)
        for where in waiting:
            self._drain(where, deadline)

    def close(self, timeout_s: float | None) -> None:
        """Flush, and end the thread."""
        try:
            self.flush(timeout_s)
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify()
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join(timeout_s)

    def _drain(self, where: tuple[str, int], deadline: float | None = None) -> None:
        """Append a partition's batch, after those that were taken from it before: one drain at a time."""
        lock = self._order[where]
        if not lock.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())):
            raise KafkaTimeoutError(f"records of {where[0]}-{where[1]} were not appended in time; call flush() again")
        try:
            with self._changed:
                batch = self._batches.pop(where, None)
            if batch is not None:
                self._append_batch(batch)
        finally:
            lock.release()

    def _append_batch(self, batch: _Batch) -> None:
        try:
            base_offset, timestamp_ms = self._append(batch.topic, batch.partition, batch.rows)
        except BaseException as error:
            _log.error("%d records for %s-%d were not appended: %s", len(batch.rows), batch.topic.name, batch.partition, error)
            for future in batch.futures:
                future.resolve(None, error)
            if not isinstance(error, Exception):
                raise
            return
        place = TopicPartition(batch.topic.name, batch.partition)
        for index, (future, row, sizes) in enumerate(zip(batch.futures, batch.rows, batch.sizes, strict=True)):
            stamp = row[3] if row[3] >= 0 else timestamp_ms
            future.resolve(RecordMetadata(*place, place, base_offset + index, stamp, None, *sizes))

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="shmq-linger", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        """Append each batch when its time is up."""
        while True:
            with self._changed:
                now = time.monotonic()
                due = [where for where, batch in self._batches.items() if batch.due <= now]
                if not due:
                    if self._closed:
                        return
                    nearest = min((batch.due for batch in self._batches.values()), default=None)
                    self._changed.wait(None if nearest is None else nearest - now)
            for where in due:
                self._drain(where)
