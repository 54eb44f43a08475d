"""Positions: the partitions that a consumer reads, and where it stands in each.

Owns: assignment, seeking, asking for offsets, and what to do where a position is not in the log.
Must never: be used by two threads at once, or cross a fork.
Sits: over connection and the core's ConsumerCore, which holds the readers and does the polling; under consumer.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

from shmq import _native
from shmq.config import ConsumerConfig, ItemType, checked_timeout_ms
from shmq.connection import Connection
from shmq.errors import (
    IllegalArgumentError,
    IllegalStateError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    ShmqError,
    UnknownTopicOrPartitionError,
)
from shmq.store import TopicMeta
from shmq.types import OffsetAndTimestamp, TopicPartition

_log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Self = TypeVar("_Self", bound=_native.ConsumerCore)


def alone(method: Callable[Concatenate[_Self, _P], _R]) -> Callable[Concatenate[_Self, _P], _R]:
    """Let one thread in at a time, not after close and not after a fork; the rest get an error that says so."""

    @functools.wraps(method)
    def enter(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return self._alone(method, self, *args, **kwargs)

    return enter


class Positions(_native.ConsumerCore):
    """The part of Consumer that is about partitions and offsets."""

    config: ConsumerConfig
    _connection: Connection
    _wanted: dict[TopicPartition, int]
    """Where a reader that is `unset` shall stand, if the log ever has that offset."""
    _item_types: dict[TopicPartition, ItemType | None]
    """What the records of each partition are that was ever assigned; None where they are bytes."""
    _healed_before = 0
    """Claims given up in partitions that are not assigned any more."""

    # -- assignment --------------------------------------------------------------------------------------------------

    def _replace(self, partitions: Iterable[TopicPartition | tuple[str, int]]) -> None:
        """Read these partitions and no others; see `Consumer.assign`."""
        places = list(dict.fromkeys(_as_place(each) for each in partitions))
        before = list(self._readers)
        kept = {reader.key: reader for reader in before if reader.key in places and not _is_deleted(reader)}
        fresh: dict[TopicPartition, _native.Reader] = {}
        try:
            for place in places:
                if place not in kept:
                    fresh[place] = self._open(place)
        except BaseException:
            for reader in fresh.values():
                reader.close()
            raise
        readers = {**kept, **fresh}
        self._readers[:] = [readers[place] for place in places]
        for reader in before:
            if readers.get(reader.key) is not reader:
                self._part_with(reader)
        self._note_pauses()

    def _part_with(self, reader: _native.Reader) -> None:
        """It is assigned no more: close it, with what was polled ahead of it, and keep its count."""
        self._drop(reader)
        self._healed_before += reader.healed
        reader.close()
        self._wanted.pop(reader.key, None)

    @alone
    def assignment(self) -> set[TopicPartition]:
        """Return the partitions that this consumer reads."""
        return {reader.key for reader in self._readers}

    # -- positions ---------------------------------------------------------------------------------------------------

    @alone
    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from `offset`.

        An offset that the partition does not have is treated at the next `poll` as `auto_offset_reset` says.

        Raises:
            IllegalStateError: the partition is not assigned.
            IllegalArgumentError: `offset` is no int of 0 or more.
        """
        if isinstance(offset, bool) or not hasattr(offset, "__index__") or not 0 <= int(offset) < 1 << 63:
            raise IllegalArgumentError(f"offset is an int of 0 to 2**63 - 1, not {offset!r}")
        reader = self._reader(partition)
        self._seek(reader, int(offset))
        self._drop(reader)

    @alone
    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Read these partitions, or all that are assigned, from their first offset on."""
        for reader in self._chosen(partitions):
            self._to_edge(reader, "earliest")
            self._drop(reader)

    @alone
    def seek_to_end(self, *partitions: TopicPartition) -> None:
        """Read of these partitions, or of all that are assigned, only what comes from now on."""
        for reader in self._chosen(partitions):
            self._to_edge(reader, "latest")
            self._drop(reader)

    @alone
    def position(self, partition: TopicPartition, timeout_ms: float | None = None) -> int:
        """Return the offset of the next record.

        Raises:
            IllegalStateError: the partition is not assigned.
            NoOffsetForPartitionError: it has no position, and `auto_offset_reset` is "none".
        """
        _check_timeout(timeout_ms)
        reader = self._reader(partition)
        first = self._first_taken(reader)
        if first is not None:
            return first
        if not reader.unset:
            return reader.position
        if reader.key not in self._wanted:
            raise NoOffsetForPartitionError(*reader.key)
        return self._wanted[reader.key]

    @alone
    def beginning_offsets(
        self, partitions: Iterable[TopicPartition], timeout_ms: float | None = None
    ) -> dict[TopicPartition, int]:
        """Return the first offset of each partition, assigned or not."""
        _check_timeout(timeout_ms)
        return {place: self._bounds(place)[0] for place in map(_as_place, partitions)}

    @alone
    def end_offsets(
        self, partitions: Iterable[TopicPartition], timeout_ms: float | None = None
    ) -> dict[TopicPartition, int]:
        """Return the offset after the last record of each partition, assigned or not; appends under way count."""
        _check_timeout(timeout_ms)
        return {place: self._bounds(place)[1] for place in map(_as_place, partitions)}

    @alone
    def offsets_for_times(
        self, timestamps: Mapping[TopicPartition, int], timeout_ms: float | None = None
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """Return for each partition the first record that is not older than the given time, None if there is none.

        Args:
            timestamps: Milliseconds since 1970, by partition.
        """
        _check_timeout(timeout_ms)
        wanted = {_as_place(place): _as_timestamp(timestamp_ms) for place, timestamp_ms in timestamps.items()}
        return {place: self._find_time(place, timestamp_ms) for place, timestamp_ms in wanted.items()}

    @alone
    def highwater(self, partition: TopicPartition) -> int:
        """Return the offset after the last record of an assigned partition."""
        return self._reader(partition).bounds()[1]

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

    def _on_deleted(self, reader: _native.Reader) -> None:
        """The topic of a reader is gone."""
        raise UnknownTopicOrPartitionError(*reader.key, deleted=True)

    def _want(self, reader: _native.Reader, offset: int) -> None:
        """Note where a reader shall stand, which the log does not have now: the next poll decides."""
        self._wanted[reader.key] = offset
        reader.unset = True

    def _checked_timeout(self, timeout_ms: Any) -> float:
        return checked_timeout_ms(timeout_ms)

    # -- for groups --------------------------------------------------------------------------------------------------

    def _first_place(self, meta: TopicMeta, place: TopicPartition) -> int | None:  # noqa: ARG002  # for a subclass
        """Where to begin, None: where `auto_offset_reset` says."""
        return None

    def _is_reader_of_its_own(self) -> bool:
        """Whether producers wait for this consumer itself, not for its group."""
        return True

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _note_pauses(self) -> None:
        self._pausing = any(reader.paused for reader in self._readers)

    def _seek(self, reader: _native.Reader, offset: int) -> None:
        try:
            reader.seek(offset)
            self._wanted.pop(reader.key, None)
        except OffsetOutOfRangeError:
            self._want(reader, offset)

    def _to_edge(self, reader: _native.Reader, edge: str) -> None:
        _stand_at_edge(reader, edge)
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
            if reader.key == place and not _is_deleted(reader):
                return reader.bounds()
        reader = self._unregistered(place)
        try:
            return reader.bounds()
        finally:
            reader.close()

    def _find_time(self, place: TopicPartition, timestamp_ms: int) -> OffsetAndTimestamp | None:
        reader = self._unregistered(place)
        try:
            while True:
                _stand_at_edge(reader, "earliest")
                try:
                    hit = reader.find_time(timestamp_ms)
                except OffsetOutOfRangeError:  # retention was faster: look again from the new beginning
                    continue
                return None if hit is None else OffsetAndTimestamp(*hit, None)
        finally:
            reader.close()

    def _unregistered(self, place: TopicPartition) -> _native.Reader:
        """A reader that holds nobody back, of a topic that exists: asking makes none."""
        return self._reader_of(self._connection.topics.load(place.topic), place)

    def _reader_of(self, meta: TopicMeta, place: TopicPartition) -> _native.Reader:
        if not 0 <= place.partition < meta.partitions:
            raise UnknownTopicOrPartitionError(place.topic, place.partition, meta.partitions)
        return _native.Reader(self._connection.partition(meta, place.partition), place, self.config.check_crcs)

    def _open(self, place: TopicPartition) -> _native.Reader:
        """A reader for the assignment, at its first position and registered if producers are to wait for it."""
        meta = self._connection.topic(place.topic)
        reader = self._reader_of(meta, place)
        try:
            if meta.config.retention == "consumed" and self._is_reader_of_its_own():
                reader.register()  # before it chooses its place, so that this stays in the log
            first = self._first_place(meta, place)
            if first is not None:
                self._seek(reader, first)
            elif self.config.auto_offset_reset == "none":
                reader.unset = True
            else:
                self._to_edge(reader, self.config.auto_offset_reset)
            item = self._item_types[place] = meta.config.item_type
            reader.item_bytes = item.item_bytes if item is not None else 0
        except BaseException:
            reader.close()
            raise
        return reader


def _is_deleted(reader: _native.Reader) -> bool:
    try:
        reader.bounds()
    except UnknownTopicOrPartitionError:
        return True
    except ShmqError:  # damaged: whoever reads there is told
        return False
    return False


def _stand_at_edge(reader: _native.Reader, edge: str) -> None:
    """Stand at the first or the last offset, which retention may move while we look."""
    while True:
        begin, end = reader.bounds()
        try:
            reader.seek(begin if edge == "earliest" else end)
        except OffsetOutOfRangeError:
            continue
        return


def _as_place(partition: TopicPartition | tuple[str, int]) -> TopicPartition:
    if isinstance(partition, tuple) and len(partition) == 2:
        topic, number = partition
        if isinstance(topic, str) and isinstance(number, int) and not isinstance(number, bool):
            return TopicPartition(topic, number)
    raise TypeError(f"a partition is a TopicPartition(topic, partition), not {partition!r}")


def _as_timestamp(timestamp_ms: object) -> int:
    """The first whole millisecond that is not before it."""
    if isinstance(timestamp_ms, int | float) and not isinstance(timestamp_ms, bool) and 0 <= timestamp_ms < 1 << 63:
        return math.ceil(timestamp_ms)
    raise IllegalArgumentError(f"a timestamp is a number of milliseconds of 0 or more, not {timestamp_ms!r}")


def _check_timeout(timeout_ms: float | None) -> None:
    """Nothing here waits, but a timeout that cannot be is an error all the same."""
    if timeout_ms is not None:
        checked_timeout_ms(timeout_ms)
