"""Consumer: reads the records of assigned partitions.

Owns: options, assignment, positions and what to do where there is none.
Must never: be used by two threads at once (only `wakeup` may come from another), or cross a fork.
Sits: over connection and the core's ConsumerCore, which holds the readers and does the polling.
Source: KafkaConsumer of kafka-python.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from shmq import _native
from shmq.config import ConsumerConfig
from shmq.connection import Connection
from shmq.errors import (
    IllegalArgumentError,
    IllegalStateError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
)
from shmq.serde import bind_deserializer, close_serdes
from shmq.store import TopicMeta
from shmq.types import OffsetAndTimestamp, TopicPartition

_log = logging.getLogger(__name__)
_numbers = itertools.count(1)

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _alone(method: Callable[Concatenate[Consumer, _P], _R]) -> Callable[Concatenate[Consumer, _P], _R]:
    """Let one thread in at a time, not after close and not after a fork; the rest get an error that says so."""

    @functools.wraps(method)
    def enter(self: Consumer, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        self._acquire()
        try:
            return method(self, *args, **kwargs)
        finally:
            self._release()

    return enter


class Consumer(_native.ConsumerCore):
    """Reads records from the partitions assigned to it.

    Args:
        *topics: Topics whose partitions are all assigned at once; none to `assign` later.
        **configs: kafka-python's names and defaults; see the options table in the README.

    Raises:
        KafkaConfigurationError: an unknown option, or a value that cannot be.
        UnknownTopicOrPartitionError: a topic does not exist and may not be created.
        NotABrokerError, StorageError, TooManyProcessesError: see `Connection`.

    Iterating over it gives record after record, and ends when none came for `consumer_timeout_ms`.
    """

    def __init__(self, *topics: str, **configs: Any) -> None:
        self.config = ConsumerConfig.parse(configs)
        config = self.config
        self._client_id = config.client_id or f"shmq-consumer-{next(_numbers)}"
        super().__init__(
            max_poll_records=config.max_poll_records,
            fetch_min_bytes=config.fetch_min_bytes,
            fetch_max_wait_ms=int(config.fetch_max_wait_ms),
            fetch_max_bytes=max(1, config.fetch_max_bytes),
            max_partition_fetch_bytes=max(1, config.max_partition_fetch_bytes),
            spin_us=int(config.spin_us),
            key_deserializer=bind_deserializer(config.key_deserializer, "key_deserializer"),
            value_deserializer=bind_deserializer(config.value_deserializer, "value_deserializer"),
        )
        self._connection = Connection(
            config.bootstrap_servers, timeout_ms=config.request_timeout_ms, auto_create=config.allow_auto_create_topics
        )
        self._process = self._connection.process
        self._wanted: dict[TopicPartition, int] = {}
        try:
            if topics:
                self.assign([place for name in topics for place in self._places(self._connection.topic(name))])
        except BaseException:
            self.close()
            raise

    # -- assignment --------------------------------------------------------------------------------------------------

    @_alone
    def assign(self, partitions: Iterable[TopicPartition | tuple[str, int]]) -> None:
        """Read these partitions and no others. Those that were assigned before keep their positions.

        Args:
            partitions: `TopicPartition`s. One that is new begins where `auto_offset_reset` says, as of now.

        Raises:
            UnknownTopicOrPartitionError: there is no such topic, or it has no such partition; nothing was changed.
            TooManyReadersError: a topic with `retention=consumed` has all the readers that it can have.
        """
        places = [_as_place(each) for each in partitions]
        self._give_back()
        kept = {reader.key: reader for reader in self._readers}
        fresh: dict[TopicPartition, _native.Reader] = {}
        try:
            for place in places:
                if place not in kept and place not in fresh:
                    fresh[place] = self._open(place)
        except BaseException:
            for reader in fresh.values():
                reader.close()
            raise
        for place in kept.keys() - set(places):
            kept.pop(place).close()
            self._wanted.pop(place, None)
        readers = {**kept, **fresh}
        self._readers[:] = [readers[place] for place in dict.fromkeys(places)]

    @_alone
    def assignment(self) -> set[TopicPartition]:
        """Return the partitions that this consumer reads."""
        return {reader.key for reader in self._readers}

    def unsubscribe(self) -> None:
        """Read nothing any more."""
        self.assign([])

    # -- positions ---------------------------------------------------------------------------------------------------

    @_alone
    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from `offset`.

        An offset that the partition does not have is treated at the next `poll` as `auto_offset_reset` says.

        Raises:
            IllegalStateError: the partition is not assigned.
            IllegalArgumentError: `offset` is no int of 0 or more.
        """
        if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset < 1 << 63:
            raise IllegalArgumentError(f"offset is an int of 0 to 2**63 - 1, not {offset!r}")
        self._give_back()
        self._seek(self._reader(partition), offset)

    @_alone
    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Read these partitions, or all that are assigned, from their first offset on."""
        self._give_back()
        for reader in self._chosen(partitions):
            self._to_edge(reader, "earliest")

    @_alone
    def seek_to_end(self, *partitions: TopicPartition) -> None:
        """Read of these partitions, or of all that are assigned, only what comes from now on."""
        self._give_back()
        for reader in self._chosen(partitions):
            self._to_edge(reader, "latest")

    @_alone
    def position(self, partition: TopicPartition, timeout_ms: float | None = None) -> int:
        """Return the offset of the next record.

        Raises:
            IllegalStateError: the partition is not assigned.
            NoOffsetForPartitionError: it has no position, and `auto_offset_reset` is "none".
        """
        _check_timeout(timeout_ms)
        self._give_back()
        reader = self._reader(partition)
        if not reader.unset:
            return reader.position
        if reader.key not in self._wanted:
            raise NoOffsetForPartitionError(*reader.key)
        return self._wanted[reader.key]

    @_alone
    def beginning_offsets(
        self, partitions: Iterable[TopicPartition], timeout_ms: float | None = None
    ) -> dict[TopicPartition, int]:
        """Return the first offset of each partition, assigned or not."""
        _check_timeout(timeout_ms)
        return {place: self._bounds(place)[0] for place in map(_as_place, partitions)}

    @_alone
    def end_offsets(
        self, partitions: Iterable[TopicPartition], timeout_ms: float | None = None
    ) -> dict[TopicPartition, int]:
        """Return the offset after the last record of each partition, assigned or not; appends under way count."""
        _check_timeout(timeout_ms)
        return {place: self._bounds(place)[1] for place in map(_as_place, partitions)}

    @_alone
    def offsets_for_times(
        self, timestamps: Mapping[TopicPartition, int], timeout_ms: float | None = None
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """Return for each partition the first record whose timestamp is not before the given one, None if there is none.

        Args:
            timestamps: Milliseconds since 1970, by partition.
        """
        _check_timeout(timeout_ms)
        found: dict[TopicPartition, OffsetAndTimestamp | None] = {}
        for place, timestamp_ms in timestamps.items():
            if not isinstance(timestamp_ms, int | float) or math.isnan(timestamp_ms) or timestamp_ms < 0:
                raise IllegalArgumentError(f"a timestamp is a number of milliseconds of 0 or more, not {timestamp_ms!r}")
            reader = self._unregistered(_as_place(place))
            try:
                _seek_to_begin(reader)
                hit = reader.find_time(int(timestamp_ms))
            finally:
                reader.close()
            found[_as_place(place)] = None if hit is None else OffsetAndTimestamp(*hit, None)
        return found

    @_alone
    def highwater(self, partition: TopicPartition) -> int:
        """Return the offset after the last record of an assigned partition."""
        return self._reader(partition).bounds()[1]

    # -- flow --------------------------------------------------------------------------------------------------------

    @_alone
    def pause(self, *partitions: TopicPartition) -> None:
        """Let `poll` pass these partitions by until `resume`."""
        self._give_back()
        for place in partitions:
            self._reader(place).paused = True

    @_alone
    def resume(self, *partitions: TopicPartition) -> None:
        """Read these partitions again."""
        for place in partitions:
            self._reader(place).paused = False

    @_alone
    def paused(self) -> set[TopicPartition]:
        """Return the partitions that are paused."""
        return {reader.key for reader in self._readers if reader.paused}

    def wakeup(self) -> None:
        """End the `poll` under way in another thread, or else the next one, with WakeupError. Also in signal handlers."""
        self._set_wakeup(self._process)

    # -- the broker --------------------------------------------------------------------------------------------------

    @_alone
    def topics(self) -> set[str]:
        """Return the names of the broker's topics."""
        return set(self._connection.topics.names())

    @_alone
    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return the numbers of a topic's partitions, None if there is no such topic."""
        try:
            return set(range(self._connection.topics.load(topic).partitions))
        except UnknownTopicOrPartitionError:
            return None

    def bootstrap_connected(self) -> bool:
        """Return True until `close`: a local broker is always there."""
        return self._readers is not None

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return counts since this consumer was made; {} if `metrics_enabled` is off."""
        if not self.config.metrics_enabled or self._readers is None:
            return {}
        return {
            "consumer-metrics": {
                "records-consumed-total": self._received,
                "bytes-consumed-total": self._received_bytes,
                "sleep-total": self._slept,
                "sleep-rescued-total": self._rescued,
                "claims-healed-total": sum(reader.healed for reader in self._readers),
            }
        }

    def close(self, autocommit: bool = True, timeout_ms: float | None = None) -> None:
        """Let go of the partitions and the broker; a second time does nothing.

        Args:
            autocommit: No effect without a group.
            timeout_ms: No effect: nothing is waited for.

        Raises:
            ConcurrentUseError: another thread is inside; `wakeup` it first.
        """
        if self._readers is None:
            return
        if not self._is_inherited():
            self._acquire()
        for reader in self._readers:
            reader.close()
        self._shut()
        self._connection.close()
        close_serdes(self.config.key_deserializer, self.config.value_deserializer)

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Consumer {self._client_id} {self._connection.broker.directory}>"

    # -- called by the core ------------------------------------------------------------------------------------------

    def _on_out_of_range(self, reader: _native.Reader, offset: int, begin: int, end: int) -> None:
        """Move a reader whose offset is not in the log, or that has none yet, or raise."""
        reset = self.config.auto_offset_reset
        if reader.unset:
            if reader.key not in self._wanted and reset == "none":
                raise NoOffsetForPartitionError(*reader.key)
            begin, end = reader.bounds()
            offset = self._wanted.get(reader.key, offset)
        if begin <= offset <= end and reader.unset:  # it has come into being since
            self._seek(reader, offset)
            return
        if reset == "none":
            raise OffsetOutOfRangeError(*reader.key, offset, begin, end)
        _log.warning("%s-%d: offset %d is outside %d..%d; going on at the %s", *reader.key, offset, begin, end, reset)
        self._to_edge(reader, reset)

    def _poll_in_place(self, timeout_ms: float, max_records: int | None) -> dict[TopicPartition, list[Any]]:
        """poll() with update_offsets=False: read, then go back."""
        records = self.poll(timeout_ms, max_records)
        self._go_back(record for batch in records.values() for record in batch[:1])
        return records

    def _next_batch(self) -> list[Any]:
        """The next records for iteration, in the order in which it gives them out; [] when it ends."""
        records = self.poll(self.config.consumer_timeout_ms)
        return list(itertools.chain.from_iterable(records.values()))

    def _rewind(self) -> None:
        self._give_back()

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _give_back(self) -> None:
        """Stand where iteration stands: what it took from the log and has not given out is read again."""
        self._go_back(self._take_buffer())

    def _go_back(self, records: Iterable[Any]) -> None:
        """Stand before the first of these records in each partition."""
        first: dict[TopicPartition, int] = {}
        for record in records:
            first.setdefault(TopicPartition(record.topic, record.partition), record.offset)
        for reader in self._readers:
            if reader.key in first:
                self._seek(reader, first[reader.key])

    def _seek(self, reader: _native.Reader, offset: int) -> None:
        try:
            reader.seek(offset)
            self._wanted.pop(reader.key, None)
        except OffsetOutOfRangeError:
            self._wanted[reader.key] = offset
            reader.unset = True

    def _to_edge(self, reader: _native.Reader, edge: str) -> None:
        if edge == "earliest":
            _seek_to_begin(reader)
        else:
            reader.seek(reader.bounds()[1])
        self._wanted.pop(reader.key, None)

    def _reader(self, partition: TopicPartition) -> _native.Reader:
        place = _as_place(partition)
        for reader in self._readers:
            if reader.key == place:
                return reader
        raise IllegalStateError(f"{place.topic}-{place.partition} is not assigned; assign() it first")

    def _chosen(self, partitions: tuple[TopicPartition, ...]) -> list[_native.Reader]:
        return [self._reader(place) for place in partitions] if partitions else list(self._readers)

    def _bounds(self, place: TopicPartition) -> tuple[int, int]:
        for reader in self._readers:
            if reader.key == place:
                return reader.bounds()
        reader = self._unregistered(place)
        try:
            return reader.bounds()
        finally:
            reader.close()

    def _places(self, meta: TopicMeta) -> list[TopicPartition]:
        return [TopicPartition(meta.name, number) for number in range(meta.partitions)]

    def _unregistered(self, place: TopicPartition) -> _native.Reader:
        """A reader that holds nobody back; see also `_open`."""
        return self._reader_of(self._connection.topic(place.topic), place)

    def _reader_of(self, meta: TopicMeta, place: TopicPartition) -> _native.Reader:
        if not 0 <= place.partition < meta.partitions:
            raise UnknownTopicOrPartitionError(place.topic, place.partition, meta.partitions)
        return _native.Reader(self._connection.partition(meta, place.partition), place, self.config.check_crcs)

    def _open(self, place: TopicPartition) -> _native.Reader:
        """A reader for the assignment, at its first position and registered if producers are to wait for it."""
        meta = self._connection.topic(place.topic)
        reader = self._reader_of(meta, place)
        try:
            if self.config.auto_offset_reset == "none":
                reader.unset = True
            else:
                self._to_edge(reader, self.config.auto_offset_reset)
            if meta.config.retention == "consumed":
                reader.register()
        except BaseException:
            reader.close()
            raise
        return reader


def _seek_to_begin(reader: _native.Reader) -> None:
    """Stand at the first offset, which retention may move while we look."""
    while True:
        begin = reader.bounds()[0]
        try:
            reader.seek(begin)
        except OffsetOutOfRangeError:
            continue
        return


def _as_place(partition: TopicPartition | tuple[str, int]) -> TopicPartition:
    if isinstance(partition, tuple) and len(partition) == 2:
        topic, number = partition
        if isinstance(topic, str) and isinstance(number, int) and not isinstance(number, bool):
            return TopicPartition(topic, number)
    raise TypeError(f"a partition is a TopicPartition(topic, partition), not {partition!r}")


def _check_timeout(timeout_ms: float | None) -> None:
    """Nothing here waits, but a timeout that cannot be is an error all the same."""
    if timeout_ms is not None and (not isinstance(timeout_ms, int | float) or not timeout_ms >= 0):
        raise IllegalArgumentError(f"timeout_ms is a number of milliseconds of at least 0, not {timeout_ms!r}")
