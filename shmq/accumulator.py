"""Records that wait for others, so that one claim appends them all (`linger_ms`, `batch_size`).

Owns: the waiting records of one producer and the thread that appends them when their time is up.
Must never: reorder the records of a partition, keep an error to itself, or lose or double a record because a signal
handler raised or sent in the middle: all that a step has done can be seen, and the next one goes on from there.
Sits: under the producer; over the C core's appenders. Source: RecordAccumulator of kafka-python.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import util

from shmq import _native
from shmq.errors import (
    BufferFullError,
    ClosedError,
    ConcurrentUseError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ShmqError,
)
from shmq.futures import Bell, PendingRecord
from shmq.serde import Buffer
from shmq.types import RecordMetadata, TopicPartition

_log = logging.getLogger(__name__)

_RETRY_S = 0.01  # how soon the thread tries a full partition again
_LOOK_S = 0.05  # who waits for another thread looks again so often: a ring goes to one, and that one may give up

Row = tuple["Buffer | None", "Buffer | None", "bytes | None", int]
"""Key, value, encoded headers, timestamp in ms or -1: what `Appender.append_rows` takes."""

Placed = tuple[int, int, bool]
"""Base offset, timestamp of the first row, whether the log stamped all rows with it."""

Append = Callable[[_native.Topic, int, "list[Row]", float, "list[Placed]"], object]
"""Appends rows to a partition of a topic, waiting so many seconds for room, and puts where they went into the list."""

_open: weakref.WeakSet[Accumulator] = weakref.WeakSet()


@dataclass(slots=True)
class _Waiting:
    topic: _native.Topic  # as it was open when this was sent: it may have been made anew since
    row: Row
    sizes: tuple[int, int, int]
    added: float
    future: PendingRecord = field(default_factory=PendingRecord)


@dataclass(slots=True)
class _Batch:
    """The first records of a queue while they are appended; `placed` is filled once they are in the log."""

    records: list[_Waiting]
    expires: float
    placed: list[Placed] = field(default_factory=list)


@dataclass(slots=True)
class _Queue:
    """The waiting records of one partition, in order. `owner` is the thread that appends them, 0 if none does."""

    name: str
    partition: int
    records: list[_Waiting] = field(default_factory=list)
    waiting_bytes: int = 0
    batch: _Batch | None = None
    most: int = _native.MAX_BATCH_RECORDS
    retry_at: float = 0
    owner: int = 0
    free: Bell = field(default_factory=Bell)


class Accumulator:
    """Waiting records, a queue per partition; safe from any thread.

    Args:
        append: How records are appended.
        linger_s: How long a record may wait for others, in seconds.
        batch_bytes: Once so many bytes wait for a partition, they are appended at once, by who filled it.
        max_block_s: How long an append may wait for room.
        delivery_timeout_s: How long a record may take in all.
    """

    def __init__(
        self, append: Append, *, linger_s: float, batch_bytes: int, max_block_s: float, delivery_timeout_s: float
    ) -> None:
        self._append = append
        self._linger_s = linger_s
        self._batch_bytes = batch_bytes
        self._max_block_s = max_block_s
        self._delivery_timeout_s = delivery_timeout_s
        self._lock = threading.RLock()
        self._changed = Bell()
        self._queues: dict[tuple[str, int], _Queue] = {}
        self._thread: threading.Thread | None = None
        self._closed = self._abandoned = False
        self.pid = os.getpid()
        _open.add(self)
        # Records that linger when the process ends are appended then; children of multiprocessing run no atexit.
        self._finalizer = util.Finalize(None, _flush_all, exitpriority=10)

    def add(self, topic: _native.Topic, partition: int, row: Row, sizes: tuple[int, int, int]) -> PendingRecord:
        """Put a record behind those of its partition; `sizes` are those of its metadata. Appends them if it is enough.

        Raises:
            ClosedError: another thread has closed the producer.
        """
        record = _Waiting(topic, row, sizes, time.monotonic())
        with self._lock:
            if self._closed:
                raise ClosedError("producer")
            queue = self._queues.get((topic.name, partition))
            if queue is None:
                queue = self._queues[topic.name, partition] = _Queue(topic.name, partition)
            self._start()
            queue.records.append(record)  # one step: a signal handler may send, too
            queue.waiting_bytes += _bytes_of(record)
            if len(queue.records) == 1:
                self._changed.ring()
            full = queue.waiting_bytes >= self._batch_bytes
        if full and queue.owner != threading.get_ident():  # else a callback sends: who called it goes on with this one
            self._drain(queue, None)
        return record.future

    def flush(self, timeout_s: float | None = None) -> None:
        """Append all that waits now.

        Raises:
            KafkaTimeoutError: some of it could not be appended in time; it still waits.
            ConcurrentUseError: called from a callback of `send`, or from a signal handler in the middle of an append.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._check_not_inside()
        late: KafkaTimeoutError | None = None
        for queue in list(self._queues.values()):
            try:
                self._drain(queue, deadline)
            except KafkaTimeoutError as error:
                late = late or error
        if late is not None:
            raise late

    def close(self, timeout_s: float | None) -> None:
        """Flush, give up what could not be appended in time, and end the thread. Errors: `flush`."""
        self._check_not_inside()
        with self._lock:
            self._closed = True
        late: KafkaTimeoutError | None = None
        try:
            self.flush(timeout_s)
        except KafkaTimeoutError as error:
            late = error
        except BaseException:  # Ctrl-C: nothing is given up yet, and close() may be called again
            self._closed = False
            raise
        self._abandoned = True
        for queue in list(self._queues.values()):
            if not queue.owner:  # else its owner sees to it
                self._drain(queue, None)
        self._changed.ring()
        self._finalizer.cancel()
        _open.discard(self)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        if late is not None:
            raise late

    def _check_not_inside(self) -> None:
        me = threading.get_ident()
        if any(queue.owner == me for queue in list(self._queues.values())):
            raise ConcurrentUseError("producer", me, me)

    # -- appending: one thread at a time in each queue ---------------------------------------------------------------

    def _drain(self, queue: _Queue, deadline: float | None) -> None:
        """Append what waits there now. Raises: KafkaTimeoutError: not all of it until `deadline`."""
        last = next((record.future for record in queue.records[-1:]), None)
        if last is None:
            return
        me = threading.get_ident()
        # Before the queue is ours, so that no signal can come between that and giving it back. One call and no loop:
        # CPython 3.13 runs signal handlers where a loop jumps back, and that jump is in no `try`.
        try:
            self._drain_as(me, queue, last, deadline)
        finally:
            if queue.owner == me:
                queue.owner = 0
                queue.free.ring()
                if queue.records:
                    self._changed.ring()

    def _drain_as(self, me: int, queue: _Queue, last: PendingRecord, deadline: float | None) -> None:
        while not self._take(queue, me):
            left = _LOOK_S if deadline is None else min(_LOOK_S, deadline - time.monotonic())
            if left <= 0:
                raise _late(queue)
            queue.free.wait(left)
        while queue.records and not last.is_done:
            if not self._step(queue, deadline) and deadline is not None:
                raise _late(queue)

    def _take(self, queue: _Queue, me: int) -> bool:
        with self._lock:
            queue.owner = queue.owner or me
        return queue.owner == me

    def _step(self, queue: _Queue, deadline: float | None) -> bool:
        """Append one batch, or go on with one that a signal handler's error left behind. False: no room until then."""
        batch = queue.batch
        if batch is None:
            with self._lock:
                first = queue.records[0]
                records = queue.records[: queue.most]  # in one step, even if a signal handler sends in it
            records = list(itertools.takewhile(lambda record: record.topic is first.topic, records))
            now = time.monotonic()
            expires = min(now + self._max_block_s, first.added + self._delivery_timeout_s)
            batch = queue.batch = _Batch(records, expires)
        if not batch.placed and not batch.records[0].future.is_done:
            try:
                self._place(queue, batch, deadline)
            except BufferFullError as error:
                if not error.self_wait and time.monotonic() < batch.expires:
                    return False
                self._fail(queue, batch, error)
            except MessageSizeTooLargeError as error:
                if len(batch.records) > 1:  # half of it may fit a segment; or one record alone is to blame
                    queue.most = len(batch.records) // 2
                    queue.batch = None
                    return True
                self._fail(queue, batch, error)
            except ShmqError as error:  # any other is a signal handler's, and nothing was appended
                self._fail(queue, batch, error)
        if batch.placed:
            self._settle(queue, batch)
            queue.most = min(2 * queue.most, _native.MAX_BATCH_RECORDS)
        with self._lock:
            done = list(itertools.takewhile(lambda record: record.future.is_done, queue.records))
            del queue.records[: len(done)]
            queue.waiting_bytes -= sum(map(_bytes_of, done))
            if not queue.records:
                queue.waiting_bytes = 0  # in case that a signal handler came into the arithmetic
        queue.batch = None
        return True

    def _place(self, queue: _Queue, batch: _Batch, deadline: float | None) -> None:
        if self._abandoned:
            raise KafkaTimeoutError("the producer was closed before this record could be appended")
        until = batch.expires if deadline is None else min(deadline, batch.expires)
        rows = [record.row for record in batch.records]
        self._append(batch.records[0].topic, queue.partition, rows, max(0.0, until - time.monotonic()), batch.placed)

    def _settle(self, queue: _Queue, batch: _Batch) -> None:
        base_offset, timestamp_ms, stamped = batch.placed[0]
        place = TopicPartition(queue.name, queue.partition)
        for index, record in enumerate(batch.records):
            stamp = timestamp_ms if stamped else record.row[3]
            record.future.resolve(RecordMetadata(*place, place, base_offset + index, stamp, None, *record.sizes))

    def _fail(self, queue: _Queue, batch: _Batch, error: Exception) -> None:
        if isinstance(error, ShmqError):
            error.__traceback__ = None  # its frames would keep files mapped for as long as the future lives
        if not batch.records[0].future.is_done:
            name, count = f"{queue.name}-{queue.partition}", len(batch.records)
            _log.error("%d records for %s were not appended: %s", count, name, error)
        for record in batch.records:
            record.future.resolve(None, error)

    # -- the thread --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="shmq-linger", daemon=True)
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        """Append the records of each partition when their time is up, without waiting for room in one of them."""
        while True:
            with self._lock:
                times = self._times()
            if times is None:
                self._changed.ring()  # a signal handler that came into _start() made a second thread
                return
            now = time.monotonic()
            due = [queue for at, queue in times if at <= now]
            if not due:
                self._changed.wait(min((at for at, _ in times), default=math.inf) - now)
            for queue in due:
                try:
                    self._drain(queue, now)
                except KafkaTimeoutError:
                    queue.retry_at = time.monotonic() + _RETRY_S
                except BaseException:  # what a user's callback raised; whoever sends next must still be served
                    queue.retry_at = time.monotonic() + _RETRY_S
                    _log.exception("a callback of send() failed")

    def _times(self) -> list[tuple[float, _Queue]] | None:
        """When each queue that nobody appends is due; None: nothing waits, nor will."""
        queues = [queue for queue in self._queues.values() if queue.records]
        if self._closed and not queues:
            return None
        return [(self._due(queue), queue) for queue in queues if not queue.owner]

    def _due(self, queue: _Queue) -> float:
        return 0 if self._abandoned else max(queue.records[0].added + self._linger_s, queue.retry_at)


def _bytes_of(record: _Waiting) -> int:
    return sum(max(size, 0) for size in record.sizes)


def _late(queue: _Queue) -> KafkaTimeoutError:
    name = f"{queue.name}-{queue.partition}"
    return KafkaTimeoutError(f"records of {name} were not appended in time; call flush() again")


def _flush_all() -> None:
    for each in list(_open):
        if each.pid == os.getpid():
            try:
                each.flush()
            except Exception:
                _log.exception("records were not appended before the end of the process")
