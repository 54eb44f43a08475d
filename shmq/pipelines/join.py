"""Join: items of several typed topics that belong together, by key or by time.

Owns: reading the topics evenly, how many items may wait, and counting what was given out.
Must never: let an item that was read go without giving it out, or read on in one topic while another that it waits for
    has something to read.
Sits: over consumer and matching.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

from shmq.arrays import ArrayBatch
from shmq.config import checked_timeout_ms
from shmq.consumer import Consumer
from shmq.errors import IllegalArgumentError
from shmq.types import TopicPartition

from .matching import ByKey, ByTime, Item, Matcher, Row

_OURS = ("enable_auto_commit", "group_id", "key_deserializer", "value_deserializer")


class Join:
    """Reads typed topics side by side and gives out rows: of each topic an item, or None. Used by one thread at a time.

    By key: items of the same key, one of each topic; if a key comes several times, the first with the first, and so on.
    An item without a key is alone.

    By time (`tolerance_ms`): to each item of the first topic the nearest one of each other topic, unless it is further
    away than that. An item of another topic may be in several rows. An item of the first topic is given out once all
    partitions of the others have come as far: their timestamps should rise. (Items of one `send_array` have
    one timestamp.)

    Every item that was read is in a row: with None for what it did not find, in the end. What waits is bounded: where
    `max_waiting` items of a topic wait, and the others have nothing to read or are as full, its oldest ones are given
    out with what they have found. A join has no group, and begins where `auto_offset_reset` says. What retention took
    before it was read is logged, as by `Consumer`: it was in no row.

    Iterating over it gives row after row, and ends when none came for `consumer_timeout_ms`; what waits then is there
    for `flush`. Who leaves the loop early loses nothing: the next call gives the rows that were found.

    Args:
        *topics: Two or more typed topics, in the order of the items in a row.
        tolerance_ms: Join by time, so many milliseconds apart at most. None: by key.
        max_waiting: Most items of each topic that wait, 1 or more. They keep the segments in which they lie, up to
            `max_pinned_bytes`; beyond that they are copies.
        partitions: Read these partitions of each topic, so that several joins share the work where records of one key
            lie in partitions of the same number. None: all.
        **configs: As for `Consumer`; no group and no deserializers.

    Attributes:
        joined: How many rows had an item of each topic.
        missing: How many rows lacked an item, by topic.

    Raises:
        IllegalArgumentError: fewer than two topics, one of them twice, a number out of range, or an option that has no
            meaning here.
        KafkaConfigurationError, UnknownTopicOrPartitionError, NotABrokerError, StorageError: as `Consumer`.
    """

    def __init__(
        self,
        *topics: str,
        tolerance_ms: float | None = None,
        max_waiting: int = 10_000,
        partitions: Iterable[int] | None = None,
        **configs: Any,
    ) -> None:
        if len(topics) < 2 or len(set(topics)) < len(topics):
            raise IllegalArgumentError(f"a join is of two or more different topics, not of {topics!r}")
        if tolerance_ms is not None and not tolerance_ms >= 0:
            raise IllegalArgumentError(f"tolerance_ms is 0 or more, not {tolerance_ms!r}")
        if max_waiting < 1:
            raise IllegalArgumentError(f"max_waiting is 1 or more, not {max_waiting!r}")
        for name in _OURS:
            if name in configs:
                raise IllegalArgumentError(f"{name} has no meaning for a join: leave it out")
        self.joined, self.missing = 0, dict.fromkeys(topics, 0)
        self._numbers = {topic: number for number, topic in enumerate(topics)}
        self._most = max_waiting
        self._found: list[Row] = []
        """Rows that iterating has not given out, last one first."""
        self._consumer = Consumer(**configs, enable_auto_commit=False, group_id=None)
        try:
            self._assign(None if partitions is None else sorted(set(partitions)))
            self._matcher = self._matcher_for(tolerance_ms)
        except BaseException:
            self._consumer.close()
            raise

    def poll(self, timeout_ms: float = 0) -> list[Row]:
        """Return the next rows.

        Args:
            timeout_ms: Longest wait for a first row, in milliseconds; 0 does not wait.

        Returns:
            Rows, in the order in which they were found; [] when time ran out.

        Raises:
            TopicTypeError: one of the topics has no dtype.
            Else as `Consumer.poll_arrays`. What waits goes on waiting.
        """
        deadline = time.monotonic() + checked_timeout_ms(timeout_ms) / 1000
        if self._found:
            return self._left_over()
        while True:
            left_ms = max(0.0, (deadline - time.monotonic()) * 1000)
            news, rows = self._read(left_ms)
            if rows or (not news and not left_ms):
                return rows

    def flush(self) -> list[Row]:
        """Return rows of all that waits, as for the end of the topics. What comes afterwards does not find it."""
        return self._left_over() + self._counted(self._matcher.flush())

    def close(self) -> None:
        """Let go of the broker; a second time does nothing. What waits is there for `flush` all the same."""
        self._consumer.close()

    def __iter__(self) -> Iterator[Row]:
        while rows := self.poll(self._consumer.config.consumer_timeout_ms):
            self._found = rows[::-1]
            while self._found:
                yield self._found.pop()

    def __enter__(self) -> Join:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _assign(self, partitions: list[int] | None) -> None:
        places = []
        for topic in self._numbers:
            self._consumer._connection.topic(topic)  # it is made if it may be
            chosen = self._consumer.partitions_for_topic(topic) if partitions is None else partitions
            places += [TopicPartition(topic, number) for number in sorted(chosen or ())]
        if not places:
            raise IllegalArgumentError("partitions is empty; name one at least, or leave it out")
        self._consumer.assign(places)

    def _matcher_for(self, tolerance_ms: float | None) -> Matcher:
        if tolerance_ms is None:
            return ByKey(len(self._numbers))
        assigned = self._consumer.assignment()
        return ByTime([[each[1] for each in assigned if each[0] == topic] for topic in self._numbers], tolerance_ms)

    def _read(self, timeout_ms: float) -> tuple[bool, list[Row]]:
        """Read once, if possible where there is room: whether there was news, and the rows that it made."""
        room = {topic: self._most - self._matcher.waiting(number) for topic, number in self._numbers.items()}
        full = [each for each in self._consumer.assignment() if room[each.topic] <= 0]
        most = min((each for each in room.values() if each > 0), default=self._most)
        most = min(most, self._consumer.config.max_poll_records)
        found = self._read_others(full, most) if full else {}
        if not found:
            found = self._consumer.poll_arrays(timeout_ms, most)
        rows: list[Row] = []
        for place, batch in found.items():
            rows += self._matcher.add(self._numbers[place.topic], _items(place, batch))
        rows += self._matcher.settle()
        for number in self._numbers.values():
            rows += self._matcher.shorten(number, self._most)
        return bool(found), self._counted(rows)

    def _read_others(self, full: list[TopicPartition], most: int) -> dict[TopicPartition, ArrayBatch]:
        """Read what is there in topics that have room."""
        self._consumer.pause(*full)
        try:
            return self._consumer.poll_arrays(0, most)
        finally:
            self._consumer.resume(*full)

    def _left_over(self) -> list[Row]:
        rows, self._found = self._found[::-1], []
        return rows

    def _counted(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            self.joined += None not in row
            for topic, item in zip(self.missing, row, strict=True):
                self.missing[topic] += item is None
        return rows


def _items(place: TopicPartition, batch: ArrayBatch) -> list[Item]:
    keys = batch.keys or [None] * len(batch)
    places = zip(batch.items, keys, batch.offsets.tolist(), batch.timestamps.tolist(), strict=True)
    return [Item(value, key, place.partition, offset, stamp) for value, key, offset, stamp in places]
