"""Producer: appends records to topics.

Owns: options, batches that linger, and what happens after a fork.
Must never: stand between `send` and the log when none of these is asked for; that path is the C core's.
Sits: over connection, accumulator, `placing` and arrays, on the core's ProducerCore. Source: KafkaProducer of
kafka-python.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from shmq import _native
from shmq.accumulator import Accumulator, Placed
from shmq.arrays.sending import ArraySending
from shmq.config import ProducerConfig
from shmq.connection import Connection
from shmq.errors import KafkaTimeoutError, RecordListTooLargeError, UnknownTopicOrPartitionError
from shmq.futures import checked_seconds
from shmq.rows import checked_timestamp_ms, now_ms, owned, payload_bytes, row_bytes, sizes_in, sizes_of
from shmq.serde import close_serdes
from shmq.types import BatchMetadata

_FOREVER_MS = 1 << 62
_numbers = itertools.count(1)


def _whole_ms(milliseconds: float) -> int:
    return _FOREVER_MS if math.isinf(milliseconds) else math.ceil(milliseconds)


class Producer(ArraySending):
    """Appends records to the topics of a broker. Safe from many threads, and in forked children, which reopen it.

    Args:
        **configs: kafka-python's names and defaults; see the options table in the README.

    Raises:
        KafkaConfigurationError: an unknown option, or a value that cannot be.
        NotABrokerError, StorageError, TooManyProcessesError: see `Connection`.

    `send` returns when the record is in the log: it survives the death of every process from then on. Pickled, as
    multiprocessing does for a process that it spawns, it becomes a new producer with the same options.
    """

    def __init__(self, **configs: Any) -> None:
        self.config = ProducerConfig.parse(configs)
        self._configs = configs
        config = self.config
        self._init_placing(config)
        self._client_id = config.client_id or f"shmq-producer-{next(_numbers)}"
        self._patience_ms = _whole_ms(min(config.max_block_ms, config.delivery_timeout_ms))
        serializers = self._key_serializer or self._value_serializer
        self._connection = self._connect()
        super().__init__(
            max_block_ms=self._patience_ms,
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
        keys = None if keys is None else list(keys)
        stamp = -1 if timestamp_ms is None else checked_timestamp_ms(timestamp_ms)
        if handle.item_type is not None:
            return self._send_items(handle, values, keys, partition, stamp)
        rows = self._rows(topic, values, keys, stamp)
        sizes = sizes_in(rows, row_bytes)
        by_partition: dict[int, tuple[list[Any], list[int]]] = {}  # rows, and the size of each
        if keys is None and (partition is not None or self._partitioner is None):
            if rows:
                by_partition[self._choose(handle, None, partition, sum(sizes))] = rows, sizes
        else:
            chosen_by = itertools.repeat(None) if keys is None else keys
            for row, size, key, value in zip(rows, sizes, chosen_by, values, strict=keys is not None):
                chosen = self._pick(handle, key, row[0], value, row[1], partition, size)
                batch, batch_sizes = by_partition.setdefault(chosen, ([], []))
                batch.append(row)
                batch_sizes.append(size)
        for number, (_, batch_sizes) in by_partition.items():
            self._check_sizes(handle, number, batch_sizes)
        if self._accumulator is not None:
            self._accumulator.flush()  # what was sent before comes before
        done: list[BatchMetadata] = []
        try:
            for number, (batch, _) in by_partition.items():
                self._append_split(handle, number, batch, done)
        except BaseException as error:
            error.add_note(f"{sum(each.count for each in done)} of {len(rows)} records were appended: {done}")
            raise
        return done

    def flush(self, timeout: float | None = None) -> None:
        """Append what lingers; without `linger_ms` there is nothing to do.

        Args:
            timeout: Seconds; None waits as long as `max_block_ms` lets each append wait.

        Raises:
            KafkaTimeoutError: some records are still waiting.
            ConcurrentUseError: called from a callback of `send`.
            ClosedError: this producer was closed.
        """
        timeout = checked_seconds(timeout)
        self._check()
        if self._accumulator is not None:
            self._accumulator.flush(timeout)

    def partitions_for(self, topic: str) -> set[int]:
        """Return the numbers of a topic's partitions. Raises: UnknownTopicOrPartitionError, ClosedError."""
        return set(range(len(self._topic(topic).appenders)))

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return counts since this producer was made, under kafka-python's names; {} if `metrics_enabled` is off."""
        if not self.config.metrics_enabled:
            return {}
        topics = list((self._topics or {}).values())
        counters = [appender.counters() for topic in topics for appender in topic.appenders]
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
            KafkaTimeoutError: some records were still waiting; they are lost, and their futures say so.
            ConcurrentUseError: called from a callback of `send`; it stays open.
        """
        timeout = checked_seconds(timeout)
        if self._topics is None:
            return
        late: Exception | None = None
        if self._accumulator is not None and self._accumulator.pid == os.getpid():
            try:
                self._accumulator.close(timeout)
            except KafkaTimeoutError as error:
                late = error
        self._shut()
        self._connection.close()
        close_serdes(self.config.key_serializer, self.config.value_serializer)
        if late is not None:
            raise late

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), **self._configs), ()

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
        appenders = tuple(_native.Appender(each, attempts) for each in partitions)
        return _native.Topic(meta.name, appenders, meta.config.item_type)

    def _reopen(self) -> None:
        """In a forked child: nothing of the parent's may be used. What lingered there is the parent's to append."""
        self._forget(None)
        self._connection = self._connect()
        self._accumulator = self._new_accumulator()

    def _send(self, topic: str, value: Any, key: Any, headers: Any, partition: Any, timestamp_ms: Any) -> Any:
        """Send with serializers, a partitioner or lingering, or to a typed topic, where nothing lingers."""
        handle = self._topic(topic)
        if handle.item_type is not None:
            return self._send_item(handle, value, key, headers, partition, timestamp_ms)
        if value is None and key is None:
            raise ValueError("a record needs a value or a key")
        headers = [] if headers is None else _as_list(headers)
        encoded = _native.encode_headers(headers) if headers else None
        key_bytes, value_bytes = self._serialized(topic, headers, key, value)
        size = payload_bytes((key_bytes, value_bytes))
        partition = self._pick(handle, key, key_bytes, value, value_bytes, partition, size)
        if self._accumulator is None:
            return self._append(handle, value_bytes, key_bytes, headers or None, partition, timestamp_ms)
        if key_bytes is None and value_bytes is None:
            raise ValueError("a record needs a value or a key")
        stamp = now_ms() if timestamp_ms is None else checked_timestamp_ms(timestamp_ms)
        row = (owned(key_bytes), owned(value_bytes), encoded, stamp)
        self._check_sizes(handle, partition, [row_bytes(row)])
        return self._accumulator.add(handle, partition, row, sizes_of(key_bytes, value_bytes, headers))

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _connect(self) -> Connection:
        return Connection(
            self.config.bootstrap_servers,
            timeout_ms=self.config.request_timeout_ms,
            auto_create=self.config.allow_auto_create_topics,
        )

    def _new_accumulator(self) -> Accumulator | None:
        config = self.config
        if not config.linger_ms:
            return None
        return Accumulator(
            self._append_rows,
            linger_s=config.linger_ms / 1000,
            batch_bytes=config.batch_size,
            max_block_s=config.max_block_ms / 1000,
            delivery_timeout_s=config.delivery_timeout_ms / 1000,
        )

    def _append_rows(
        self, handle: _native.Topic, partition: int, rows: list[Any], wait_s: float, placed: list[Placed]
    ) -> None:
        """Append rows as one batch; where they went is put into `placed` in the same step."""
        try:
            handle.appenders[partition].append_rows(rows, _whole_ms(wait_s * 1000), placed)
        except UnknownTopicOrPartitionError:  # deleted; it may be created again: look for it anew next time
            self._forget(handle.name)
            raise
        count, size = len(rows), sum(sizes_in(rows, payload_bytes))
        self._sent += count  # no call in between: no other thread either
        self._sent_bytes += size

    def _append_split(self, handle: _native.Topic, partition: int, rows: list[Any], done: list[BatchMetadata]) -> None:
        """Append rows as one batch, or as halves where a segment cannot hold them all."""
        placed: list[Placed] = []
        try:
            if len(rows) > _native.MAX_BATCH_RECORDS:
                raise RecordListTooLargeError(handle.name, partition, len(rows), _native.MAX_BATCH_RECORDS, "one batch")
            self._append_rows(handle, partition, rows, self._patience_ms / 1000, placed)
        except RecordListTooLargeError:
            if len(rows) == 1:
                raise
            half = len(rows) // 2
            self._append_split(handle, partition, rows[:half], done)
            self._append_split(handle, partition, rows[half:], done)
        finally:
            done += [BatchMetadata(handle.name, partition, base, len(rows), stamp) for base, stamp, _ in placed]

    def _rows(self, topic: str, values: list[Any], keys: list[Any] | None, timestamp_ms: int) -> list[Any]:
        """Serialize and check everything before anything is appended. Bare values where nothing else is needed."""
        bare = keys is None and self._value_serializer is None and self._key_serializer is None and timestamp_ms < 0
        if bare and set(map(type, values)) <= {bytes}:
            return values if self._partitioner is None else [(None, value, None, -1) for value in values]
        if keys is not None and len(keys) != len(values):
            raise ValueError(f"{len(values)} values but {len(keys)} keys; give as many, or none")
        rows: list[Any] = []
        for index, value in enumerate(values):
            key_bytes, value_bytes = self._serialized(topic, [], None if keys is None else keys[index], value)
            if key_bytes is None and value_bytes is None:
                raise ValueError(f"record {index} has neither value nor key; nothing was appended")
            rows.append((key_bytes, value_bytes, None, timestamp_ms))
        return rows


def _as_list(headers: Any) -> list[Any]:
    try:
        return list(headers)
    except TypeError:
        raise TypeError(f"headers are a list of (str, bytes) tuples, not {type(headers).__name__}") from None
