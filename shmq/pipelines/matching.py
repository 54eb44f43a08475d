"""Which items of several topics belong together.

Owns: the items that wait for others, and the two rules by which they are joined.
Must never: read a topic, look at a clock, or let an item go that was not in a row.
Sits: under join.
"""

from __future__ import annotations

import bisect
import math
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias


class Item(NamedTuple):
    """An item of a typed topic: a read-only array in place, and where and when it was."""

    value: Any
    key: Any
    partition: int
    offset: int
    timestamp_ms: int


Row: TypeAlias = tuple[Item | None, ...]
"""Of each topic an item, None where it has none for the others."""


class Matcher(Protocol):
    """A rule, and what waits by it. Topics are numbers here, from 0 on."""

    def add(self, topic: int, items: Iterable[Item]) -> list[Row]:
        """Take items; return rows that need no `settle`."""

    def settle(self) -> list[Row]:
        """Return the rows that nothing to come can change."""

    def shorten(self, topic: int, most: int) -> list[Row]:
        """Let no more than `most` of this topic wait: return what the oldest ones are in, as it is."""

    def flush(self) -> list[Row]:
        """Let nothing wait."""

    def waiting(self, topic: int) -> int:
        """Return how many items of this topic wait, or are kept because others may want them."""


@dataclass(eq=False, slots=True)
class _Together:
    """A row that is not complete."""

    key: Hashable
    items: list[Item | None]


@dataclass(eq=False, slots=True)
class _Line:
    """The rows of one key that are not complete, oldest first. Each topic's items stand in the first ones."""

    counts: list[int]
    rows: deque[_Together] = field(default_factory=deque)


class ByKey:
    """Items of the same key, one of each topic; of several, the first with the first, the second with the second ..."""

    def __init__(self, topics: int) -> None:
        self._topics = topics
        self._by_key: dict[Hashable, _Line] = {}
        self._waiting: list[OrderedDict[int, _Together]] = [OrderedDict() for _ in range(topics)]
        """Rows by which a topic has an item in, oldest first, by their id()."""

    def add(self, topic: int, items: Iterable[Item]) -> list[Row]:
        """Take items; return rows that are complete, and items that have no key, alone."""
        done: list[Row] = []
        for item in items:
            if item.key is None:
                done.append(tuple(item if each == topic else None for each in range(self._topics)))
                continue
            line = self._by_key.setdefault(item.key, _Line([0] * self._topics))
            if line.counts[topic] == len(line.rows):
                line.rows.append(_Together(item.key, [None] * self._topics))
            row = line.rows[line.counts[topic]]
            row.items[topic] = item
            line.counts[topic] += 1
            self._waiting[topic][id(row)] = row
            if None not in row.items:
                done.append(self._taken(row))
        return done

    def settle(self) -> list[Row]:
        """Nothing: a row is given out when it is complete."""
        return []

    def shorten(self, topic: int, most: int) -> list[Row]:
        """Let no more than `most` of this topic wait: return the oldest ones, with what they have found."""
        waiting = self._waiting[topic]
        return [self._taken(next(iter(waiting.values()))) for _ in range(len(waiting) - most)]

    def flush(self) -> list[Row]:
        """Let nothing wait."""
        return [self._taken(row) for line in list(self._by_key.values()) for row in list(line.rows)]

    def waiting(self, topic: int) -> int:
        """Return how many items of this topic wait."""
        return len(self._waiting[topic])

    def _taken(self, row: _Together) -> Row:
        """A row that waits no longer. It is the first of its key: the oldest one, and the first to be complete."""
        line = self._by_key[row.key]
        line.rows.popleft()
        if not line.rows:
            del self._by_key[row.key]
        for topic, waiting in enumerate(self._waiting):
            line.counts[topic] -= waiting.pop(id(row), None) is not None
        return tuple(row.items)


@dataclass(eq=False, slots=True)
class _Kept:
    """An item, and whether it was in a row."""

    item: Item
    was_used: bool = False


def _time_of(kept: _Kept) -> int:
    return kept.item.timestamp_ms


@dataclass(eq=False, slots=True)
class _Timeline:
    """What is kept of one topic, by time, and how far each of its partitions has come."""

    kept: list[_Kept] = field(default_factory=list)
    seen: dict[int, float] = field(default_factory=dict)

    @property
    def until_ms(self) -> float:
        """Nothing older is to come, as long as each partition's timestamps rise."""
        return min(self.seen.values())

    def nearest(self, timestamp_ms: int, tolerance_ms: float) -> _Kept | None:
        """The item nearest to a time; of two at the same distance the older one."""
        after = bisect.bisect_right(self.kept, timestamp_ms, key=_time_of)
        near = self.kept[max(0, after - 1) : after + 1]
        best = min(near, key=lambda kept: abs(_time_of(kept) - timestamp_ms), default=None)
        return best if best is not None and abs(_time_of(best) - timestamp_ms) <= tolerance_ms else None


class ByTime:
    """To each item of the first topic the nearest one of each other topic, which may serve several.

    Source: pandas.merge_asof with direction="nearest".
    """

    def __init__(self, partitions: Sequence[Iterable[int]], tolerance_ms: float) -> None:
        self._lines = [_Timeline(seen=dict.fromkeys(each, -math.inf)) for each in partitions]
        self._tolerance_ms = tolerance_ms

    def add(self, topic: int, items: Iterable[Item]) -> list[Row]:
        """Take items."""
        line = self._lines[topic]
        for item in items:
            bisect.insort(line.kept, _Kept(item), key=_time_of)
            line.seen[item.partition] = max(line.seen[item.partition], item.timestamp_ms)
        return []

    def settle(self) -> list[Row]:
        """Return items of the first topic once all others have come as far, and items that none of it can want now."""
        first, *others = self._lines
        rows = self._decide(bisect.bisect_right(first.kept, min(each.until_ms for each in others), key=_time_of))
        low = min([first.until_ms, *map(_time_of, first.kept[:1])])
        for topic, line in enumerate(others, 1):
            newest_below = bisect.bisect_right(line.kept, low, key=_time_of) - 1
            too_old = bisect.bisect_left(line.kept, low - self._tolerance_ms, key=_time_of)
            rows += self._drop(topic, max(0, newest_below, too_old))
        return rows

    def shorten(self, topic: int, most: int) -> list[Row]:
        """Let no more than `most` of this topic wait: decide what is oldest by what has come."""
        kept = self._lines[topic].kept
        count = len(kept) - most
        if count <= 0:
            return []
        if topic == 0:
            return self._decide(count)
        first = self._lines[0].kept
        until_ms = _time_of(kept[count]) if most else math.inf  # who is older may want one of those that go
        return self._decide(bisect.bisect_right(first, until_ms, key=_time_of)) + self._drop(topic, count)

    def flush(self) -> list[Row]:
        """Let nothing wait."""
        return [row for topic in range(len(self._lines)) for row in self.shorten(topic, 0)]

    def waiting(self, topic: int) -> int:
        """Return how many items of this topic wait or may be wanted."""
        return len(self._lines[topic].kept)

    def _decide(self, count: int) -> list[Row]:
        """Rows of the first items of the first topic."""
        first, *others = self._lines
        decided, first.kept[:count] = first.kept[:count], []
        rows: list[Row] = []
        for kept in decided:
            found = [line.nearest(_time_of(kept), self._tolerance_ms) for line in others]
            for each in found:
                if each is not None:
                    each.was_used = True
            rows.append((kept.item, *(None if each is None else each.item for each in found)))
        return rows

    def _drop(self, topic: int, count: int) -> list[Row]:
        """Let the first items of another topic go; those that were in no row get one of their own."""
        kept = self._lines[topic].kept
        dropped, kept[:count] = kept[:count], []
        lines = range(len(self._lines))
        return [tuple(each.item if topic == line else None for line in lines) for each in dropped if not each.was_used]
