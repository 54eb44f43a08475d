"""Producer: appends records to topics.

Owns: options, serializers, partitioners, batches that linger, and what happens after a fork.
Must never: stand between `send` and the log when none of these is asked for; that path is the C core's.
Sits: over connection, accumulator and the core's ProducerCore. Source: KafkaProducer of kafka-python.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

from shmq import _native
from shmq.accumulator import Accumulator, Row
from shmq.config import ProducerConfig
from shmq.connection import Connection
from shmq.errors import ClosedError, MessageSizeTooLargeError, RecordListTooLargeError
from shmq.futures import PendingRecord
from shmq.partitioner import Cluster, as_partitioner, check_choice
from shmq.serde import Buffer, Header, as_buffer, bind_serializer, close_serdes
from shmq.types import BatchMetadata

_FOREVER_MS = 1 << 62
_numbers = itertools.count(1)


def _whole_ms(milliseconds: float) -> int:
    return _FOREVER_MS if math.isinf(milliseconds) else int(milliseconds)


class Producer(_native.ProducerCore):
    """Appends records to the topics of a broker. Safe from many threads, and in forked children, which reopen it.

    Args:
        **configs: kafka-python's names and defaults; see the options table in the README.

    Raises:
        KafkaConfigurationError: an unknown option, or a value that cannot be.
        NotABrokerError, StorageError, TooManyProcessesError: see `Connection`.

    `send` returns when the record is in the log: it survives the death of every process from then on.
    """

    def __init__(self, **configs: Any) -> None:
        self.config = ProducerConfig.parse(configs)
        config = self.config
        self._key_serializer = bind_serializer(config.key_serializer, "key_serializer")
        self._value_serializer = bind_serializer(config.value_serializer, "value_serializer")
        self._partitioner = None if config.partitioner is None else as_partitioner(config.partitioner)
        self._client_id = config.client_id or f"shmq-producer-{next(_numbers)}"
        serializers = self._key_serializer or self._value_serializer
        self._connection = self._connect()
        super().__init__(
            max_block_ms=_whole_ms(config.max_block_ms),
            max_request_size=config.max_request_size,
            batch_size=config.batch_size,
            plain=not (serializers or self._partitioner or config.linger_ms),
        )
        self._accumulator = self._new_accumulator()

    def send_many(
        self,
        topic: str,
        values: Iterable[Any],
        keys: Iterable[Any] | None = None,
        *,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> list[BatchMetadata]:
        """Append many records, all of one partition as one batch: one claim, whole or not at all.

        Args:
            topic: Where to.
            values: As for `send`.
            keys: As many as values, or None: then all go to one partition.
            partition: The one partition for all of them.
            timestamp_ms: The one timestamp for all of them; None is now.

        Returns:
            Where each batch went, one per partition; more where a batch is larger than a segment and was split.

        Raises:
            ValueError: `keys` is not as long as `values`.
            Else as `send`. Sizes, types and serializers are checked before anything is appended; if space runs out
            between two batches, a note on the error says what was appended.
        """
        handle = self._topic(topic)
        values = list(values)
        rows = self._rows(topic, values, keys, -1 if timestamp_ms is None else timestamp_ms)
        if self._accumulator is not None:
            self._accumulator.flush()  # what was sent before comes before
        by_partition: dict[int, list[Any]] = {}
        if keys is None and (partition is not None or self._partitioner is None):
            if rows:
                size = sum(map(len, values)) if self._value_serializer is None else 0
                by_partition[self._choose(handle, None, partition, size)] = rows
        else:
            for row, value in zip(rows, values, strict=True):
                chosen = self._pick(handle, None, row[0], value, row[1], partition, _row_bytes(row))
                by_partition.setdefault(chosen, []).append(row)
        done: list[BatchMetadata] = []
        try:
            for number, batch in by_partition.items():
                self._append_split(handle, number, batch, done)
        except Exception as error:
            error.add_note(f"{sum(each.count for each in done)} of {len(rows)} records were appended: {done}")
            raise
        return done

    def flush(self, timeout: float | None = None) -> None:
        """Append what lingers; without `linger_ms` there is nothing to do.

        Args:
            timeout: Seconds; None waits as long as `max_block_ms` lets each append wait.

        Raises:
            KafkaTimeoutError: some records are still waiting.
            ClosedError: this producer was closed.
        """
        if self._topics is None:
            raise ClosedError("producer")
        if self._accumulator is not None:
            self._accumulator.flush(timeout)

    def partitions_for(self, topic: str) -> set[int]:
        """Return the numbers of a topic's partitions. Raises: UnknownTopicOrPartitionError, ClosedError."""
        return set(range(len(self._topic(topic).appenders)))

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return counts since this producer was made, under kafka-python's names; {} if `metrics_enabled` is off."""
        if not self.config.metrics_enabled:
            return {}
        counters = [
            appender.counters() for topic in (self._topics or {}).values() for appender in topic.appenders
        ]
        return {
            "producer-metrics": {
                "record-send-total": self._sent,
                "byte-total": self._sent_bytes,
                "segment-roll-total": sum(rolled for rolled, _ in counters),
                "record-retry-total": sum(aborted for _, aborted in counters),
            }
        }

    def bootstrap_connected(self) -> bool:
        """Return True until `close`: a local broker is always there."""
        return self._topics is not None

    def close(self, timeout: float | None = None) -> None:
        """Append what lingers and let go of the broker; a second time does nothing.

        Args:
            timeout: Seconds to wait for what lingers.

        Raises:
            KafkaTimeoutError: some records are still waiting; they are lost.
        """
        if self._topics is None:
            return
        try:
            if self._accumulator is not None and self._connection.pid == os.getpid():
                self._accumulator.close(timeout)
        finally:
            self._shut()
            self._connection.close()
            close_serdes(self.config.key_serializer, self.config.value_serializer)

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Producer {self._client_id} {self._connection.broker.directory}>"

    # -- called by the core ------------------------------------------------------------------------------------------

    def _open_topic(self, name: Any) -> _native.Topic:
        """Open a topic that this producer has not used yet."""
        if not isinstance(name, str):
            raise TypeError(f"a topic's name must be str, not {type(name).__name__}")
        meta = self._connection.topic(name)
        partitions = [self._connection.partition(meta, number) for number in range(meta.partitions)]
        attempts = 1 + int(min(2, self.config.retries))
        return _native.Topic(meta.name, tuple(_native.Appender(each, attempts) for each in partitions))

    def _reopen(self) -> None:
        """In a forked child: nothing of the parent's may be used. What lingered there is the parent's to append."""
        self._forget()
        self._connection = self._connect()
        self._accumulator = self._new_accumulator()

    def _send(self, topic: str, value: Any, key: Any, headers: Any, partition: Any, timestamp_ms: Any) -> Any:
        """Send with serializers, a partitioner or lingering."""
        if value is None and key is None:
            raise ValueError("a record needs a value or a key")
        handle = self._topic(topic)
        headers = [] if headers is None else headers
        key_bytes, value_bytes = self._serialized(topic, headers, key, value)
        encoded = _native.encode_headers(headers) if headers else None
        sizes = _sizes(key_bytes, value_bytes, headers)
        partition = self._pick(handle, key, key_bytes, value, value_bytes, partition, sum(max(0, each) for each in sizes))
        if self._accumulator is None:
            return self._append(handle, value_bytes, key_bytes, headers or None, partition, timestamp_ms)
        if timestamp_ms is not None and (not isinstance(timestamp_ms, int) or timestamp_ms < 0):
            raise ValueError(f"timestamp_ms is an int of milliseconds since 1970, not {timestamp_ms!r}")
        self._check_size(topic, partition, sum(max(0, each) for each in sizes))
        row = (_owned(key_bytes), _owned(value_bytes), encoded, -1 if timestamp_ms is None else timestamp_ms)
        return self._linger(handle, partition, row, sizes)

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _connect(self) -> Connection:
        return Connection(
            self.config.bootstrap_servers,
            timeout_ms=self.config.request_timeout_ms,
            auto_create=self.config.allow_auto_create_topics,
        )

    def _new_accumulator(self) -> Accumulator | None:
        if not self.config.linger_ms:
            return None
        return Accumulator(self._append_rows, self.config.linger_ms / 1000, self.config.batch_size)

    def _linger(
        self, handle: _native.Topic, partition: int, row: Row, sizes: tuple[int, int, int]
    ) -> PendingRecord:
        assert self._accumulator is not None
        return self._accumulator.add(handle, partition, row, sizes)

    def _append_rows(self, handle: _native.Topic, partition: int, rows: Sequence[Any]) -> tuple[int, int]:
        wait_ms = min(self.config.max_block_ms, self.config.delivery_timeout_ms)
        placed = handle.appenders[partition].append_rows(list(rows), _whole_ms(wait_ms))
        self._sent += len(rows)
        self._sent_bytes += sum(map(_row_bytes, rows))
        return placed

    def _append_split(
        self, handle: _native.Topic, partition: int, rows: list[Any], done: list[BatchMetadata]
    ) -> None:
        """Append rows as one batch, or as halves where a segment cannot hold them all."""
        try:
            if len(rows) > _native.MAX_BATCH_RECORDS:
                raise RecordListTooLargeError(handle.name, partition, len(rows), _native.MAX_BATCH_RECORDS, "one batch")
            base_offset, stamp = self._append_rows(handle, partition, rows)
        except RecordListTooLargeError:
            if len(rows) == 1:
                raise
            half = len(rows) // 2
            self._append_split(handle, partition, rows[:half], done)
            self._append_split(handle, partition, rows[half:], done)
        else:
            done.append(BatchMetadata(handle.name, partition, base_offset, len(rows), stamp))

    def _rows(self, topic: str, values: list[Any], keys: Iterable[Any] | None, timestamp_ms: int) -> list[Any]:
        """Serialize and check everything before anything is appended. Bare values where nothing else is needed."""
        bare = keys is None and self._value_serializer is None and timestamp_ms < 0
        if bare and all(type(value) is bytes for value in values):
            for value in values:
                self._check_size(topic, None, len(value))
            return values if self._partitioner is None else [(None, value, None, -1) for value in values]
        keys = [None] * len(values) if keys is None else list(keys)
        if len(keys) != len(values):
            raise ValueError(f"{len(values)} values but {len(keys)} keys; give as many, or none")
        rows: list[Any] = []
        for value, key in zip(values, keys, strict=True):
            key_bytes, value_bytes = self._serialized(topic, [], key, value)
            if key_bytes is None and value_bytes is None:
                raise ValueError(f"record {len(rows)} has neither value nor key; nothing was appended")
            rows.append((key_bytes, value_bytes, None, timestamp_ms))
            self._check_size(topic, None, _row_bytes(rows[-1]))
        return rows

    def _serialized(
        self, topic: str, headers: Sequence[Header], key: Any, value: Any
    ) -> tuple[Buffer | None, Buffer | None]:
        if self._key_serializer is not None:
            key = self._key_serializer(topic, headers, key)
        if self._value_serializer is not None:
            value = self._value_serializer(topic, headers, value)
        return as_buffer(key, topic, "the key"), as_buffer(value, topic, "the value")

    def _pick(
        self,
        handle: _native.Topic,
        key: Any,
        key_bytes: Buffer | None,
        value: Any,
        value_bytes: Buffer | None,
        partition: int | None,
        record_bytes: int,
    ) -> int:
        """Choose the partition of one record."""
        if self._partitioner is None or partition is not None:
            return self._choose(handle, key_bytes, partition, record_bytes)
        partitions = len(handle.appenders)
        chosen = self._partitioner.partition(
            handle.name, key, key_bytes, value, value_bytes, Cluster({handle.name: partitions})
        )
        return check_choice(chosen, handle.name, partitions)

    def _check_size(self, topic: str, partition: int | None, record_bytes: int) -> None:
        limit = self.config.max_request_size
        if record_bytes > limit:
            shown = -1 if partition is None else partition
            raise MessageSizeTooLargeError(topic, shown, record_bytes, limit, "max_request_size")


def _row_bytes(row: Any) -> int:
    """Bytes of a row's key and value; a bare value is a row as well."""
    if not isinstance(row, tuple):
        return len(row)
    return sum(memoryview(each).nbytes for each in row[:2] if each is not None)


def _owned(data: Buffer | None) -> bytes | None:
    """Copy what the caller may change while it lingers."""
    return data if data is None or isinstance(data, bytes) else bytes(data)


def _sizes(key: Buffer | None, value: Buffer | None, headers: Sequence[Header]) -> tuple[int, int, int]:
    """Sizes as RecordMetadata has them: bytes, -1 for what is not there."""
    header_bytes = sum(len(name.encode()) + len(data or b"") for name, data in headers) if headers else -1
    return (
        -1 if key is None else memoryview(key).nbytes,
        -1 if value is None else memoryview(value).nbytes,
        header_bytes,
    )
