"""Latest: the newest item of a partition, and not a backlog.

Owns: finding the last record before a place in the log, and its age.
Must never: read from the backlog more than what it takes to find one record, or hold producers back.
Sits: over consumer.
"""

from __future__ import annotations

import contextlib
import time
from types import TracebackType
from typing import Any, NamedTuple

from shmq.config import checked_timeout_ms
from shmq.consumer import Consumer
from shmq.errors import IllegalArgumentError, OffsetOutOfRangeError
from shmq.types import TopicPartition

_OURS = ("auto_offset_reset", "enable_auto_commit", "group_id")
_TRIES = 1000  # each lost one means that a whole ring went by meanwhile


class Newest(NamedTuple):
    """A record, and how old it was when it was looked at.

    Attributes:
        value: On a typed topic the item, a read-only array in place; else as `value_deserializer` or `values` make it.
        age_ms: Since its timestamp, by this host's clock; 0 if that lies ahead.
    """

    value: Any
    key: Any
    offset: int
    timestamp_ms: int
    age_ms: int


class _Onlooker(Consumer):
    """A consumer that nobody waits for, also where `retention=consumed`."""

    def _is_reader_of_its_own(self) -> bool:
        return False


class Latest:
    """Looks at one partition's newest record, whatever else there is. Used by one thread at a time.

    Args:
        topic: Which topic.
        partition: Which of its partitions.
        **configs: As for `Consumer`; no group.

    Raises:
        KafkaConfigurationError, UnknownTopicOrPartitionError, NotABrokerError, StorageError: as `Consumer`.
        IllegalArgumentError: an option that it sets itself.

    What it gives is whole: a record that is being appended does not count yet. `get` and `wait` never go back. One call
    reads few records however many there are: it begins at the end, and steps back over what aborted appends left. While
    several appends are under way at once, one that was completed between them may be passed over until they end.
    """

    def __init__(self, topic: str, partition: int = 0, **configs: Any) -> None:
        for name in _OURS:
            if name in configs:
                raise IllegalArgumentError(f"{name} has no meaning for Latest: it keeps no place in the log")
        self._place = TopicPartition(topic, partition)
        self._consumer = _Onlooker(**configs, auto_offset_reset="none", enable_auto_commit=False, group_id=None)
        try:
            self._consumer.assign([self._place])
            self._typed = self._consumer._connection.topic(topic).config.dtype is not None
        except BaseException:
            self._consumer.close()
            raise
        self._given = self._seen = -1  # offsets: of what was given out last, of what is known to be a record

    def get(self, max_age_ms: float | None = None) -> Newest | None:
        """Return the newest record.

        Args:
            max_age_ms: None if it is older than this.

        Returns:
            The record, or None where there is none.

        Raises:
            ClosedError, UnknownTopicOrPartitionError, CorruptSegmentError, StorageError: as `Consumer.poll`.
        """
        found = _fresh_enough(self._last_before(None), max_age_ms)
        if found is not None:
            self._given = max(self._given, found.offset)
        return found

    def wait(self, timeout_ms: float) -> Newest | None:
        """Return the newest record as soon as there is one that `get` and `wait` have not given yet; None in time."""
        deadline = time.monotonic() + checked_timeout_ms(timeout_ms) / 1000
        while True:
            found = self._last_before(None)
            if found is not None and found.offset > self._given:
                self._given = found.offset
                return found
            left_ms = max(0, (deadline - time.monotonic()) * 1000)
            with contextlib.suppress(OffsetOutOfRangeError):  # a whole ring went by: there is news
                self._consumer.seek(self._place, max(self._given + 1, self._bounds()[0]))
                if not self._poll(left_ms, 1):
                    return None

    def as_of(self, timestamp_ms: int, max_age_ms: float | None = None) -> Newest | None:
        """Return the newest record that is not newer than a time.

        Args:
            timestamp_ms: That time, in milliseconds since 1970.
            max_age_ms: None if the record was older than this at that time.

        Returns:
            The last record before the first one that is newer; `age_ms` is what it was at that time. None where there
            is none any more, or not yet.
        """
        end = self._bounds()[1]  # before the search: what comes after it was not looked at
        newer = self._consumer.offsets_for_times({self._place: timestamp_ms + 1})[self._place]
        found = self._last_before(end if newer is None else newer.offset)
        while found is not None and found.timestamp_ms > timestamp_ms:  # it was being appended during the search
            found = self._last_before(found.offset)
        if found is None:
            return None
        return _fresh_enough(found._replace(age_ms=max(0, timestamp_ms - found.timestamp_ms)), max_age_ms)

    def close(self) -> None:
        """Let go of the broker; a second time does nothing. What was given stays valid."""
        self._consumer.close()

    def __enter__(self) -> Latest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _bounds(self) -> tuple[int, int]:
        places = [self._place]
        # The end first: the beginning only rises.
        end = self._consumer.end_offsets(places)[self._place]
        return self._consumer.beginning_offsets(places)[self._place], end

    def _last_before(self, limit: int | None) -> Newest | None:
        """Find the last record before an offset, or of all. None if there is none."""
        for _ in range(_TRIES):
            with contextlib.suppress(OffsetOutOfRangeError):  # retention was faster: look again
                begin, end = self._bounds()
                found = self._last_between(begin, end if limit is None else min(limit, end))
                self._seen = max(self._seen, -1 if found is None else found.offset)
                return found
        raise OffsetOutOfRangeError(*self._place, end, begin, end)

    def _last_between(self, begin: int, end: int) -> Newest | None:
        """Look at the last offset, then at the last two, four ...: those of claims that were aborted hold nothing."""
        if begin <= self._seen < end:
            begin = self._seen  # so that an append under way does not hide what was there before
        step = 1
        while begin < end:
            first = max(begin, end - step)
            found = self._last_read(first, end)
            if found is not None:
                return found
            end, step = first, 2 * step
        return None

    def _last_read(self, first: int, end: int) -> Newest | None:
        """Read from one offset to another, which may take several polls, and return the last record."""
        last = None
        self._consumer.seek(self._place, first)
        while (most := end - self._consumer.position(self._place)) > 0 and (found := self._poll(0, most)):
            before = [each for each in found if each.offset < end]
            last = before[-1] if before else last
        return last

    def _poll(self, timeout_ms: float, most: int) -> list[Newest]:
        now_ms = time.time_ns() // 1_000_000
        if self._typed:
            found = [
                (item, key, int(offset), int(stamp))
                for batch in self._consumer.poll_arrays(timeout_ms, most).values()
                for item, key, offset, stamp in zip(
                    batch.items, batch.keys or [None] * len(batch), batch.offsets, batch.timestamps, strict=True
                )
            ]
        else:
            polled = self._consumer.poll(timeout_ms, max_records=most).get(self._place, [])
            found = [(each.value, each.key, each.offset, each.timestamp) for each in polled]
        return [Newest(*each, max(0, now_ms - each[3])) for each in found]


def _fresh_enough(found: Newest | None, max_age_ms: float | None) -> Newest | None:
    return None if found is None or (max_age_ms is not None and found.age_ms > max_age_ms) else found
