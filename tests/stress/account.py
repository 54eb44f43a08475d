"""What producers told and what readers saw, and whether the one is the other.

Owns: one reader's way through one partition, checked record by record; the lines that processes leave behind.
Must never: take a record for lost that retention removed, or one for read that it did not see itself.
Sits: over `ledger` of the crash tests, which makes the values; under the processes and the tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledger import Seen, read_value

from shmq import TopicPartition


@dataclass
class Pass:
    """One reader's way through one partition. `take` fails at the first record that is torn, doubled or out of order.

    Attributes:
        begin: Where it began.
        next_offset: Nothing before it may come any more.
        seen: All that it read.
        gaps: Offsets `[from, to)` that retention removed before they were read.
    """

    begin: int
    seen: list[Seen] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    next_offset: int = field(init=False)

    def __post_init__(self) -> None:
        self.next_offset = self.begin
        self._latest: dict[str, int] = {}
        self._before_gap: dict[str, int] = {}

    def take(self, records: Iterable[Any]) -> None:
        """Read these next: each whole, offsets rise, and each sender's values follow one another."""
        for record in records:
            seen = read_value(record.offset, record.value)
            assert seen.offset >= self.next_offset, f"{seen} was read when {self.next_offset} was the next offset"
            if seen.name in self._latest:
                expected = self._latest[seen.name] + 1
                assert seen.index == expected, f"{seen} was read when its sender's next was {expected}"
            else:
                least = self._before_gap.get(seen.name, -1)
                assert seen.index > least, f"{seen} was read after its sender's {least}"
            self._latest[seen.name] = seen.index
            self.next_offset = seen.offset + 1
            self.seen.append(seen)

    def skip_to(self, offset: int) -> None:
        """Retention was faster; the reader goes on here."""
        assert offset > self.next_offset, f"{self.next_offset} was said to be gone, but the log begins at {offset}"
        self.gaps.append((self.next_offset, offset))
        self._before_gap |= self._latest
        self._latest.clear()
        self.next_offset = offset

    def covers(self, offset: int) -> bool:
        """Did this reader come by here?"""
        return offset >= self.begin and not any(start <= offset < end for start, end in self.gaps)


class Told:
    """A process's own file of lines, which outlives it, whatever ends it."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._counts: dict[str, int] = {}

    def sent(self, place: TopicPartition, index: int, offset: int, count: int) -> None:
        """So many values from `index` on are acknowledged, at offsets from `offset` on."""
        self._line(f"sent {place.topic} {place.partition} {index} {offset} {count}")

    def count(self, what: str, total: float) -> None:
        """So many of these so far."""
        before = self._counts.get(what, 0)
        assert total >= before, f"{what} fell from {before} to {total}"
        if total != before:
            self._counts[what] = int(total)
            self._line(f"{what} {int(total)}")

    def _line(self, text: str) -> None:
        os.write(self._fd, f"{text}\n".encode())


class Account:
    """All that was told.

    Attributes:
        offsets: By place and sender, the offset of each value that was acknowledged.
        counts: What processes counted, over all of them.
    """

    def __init__(self, told: Path) -> None:
        self.offsets: dict[TopicPartition, dict[str, list[int]]] = {}
        self.counts: dict[str, int] = {}
        for path in told.iterdir():
            counts: dict[str, int] = {}
            for line in path.read_text().split("\n")[:-1]:  # a death may have torn the last one
                match line.split():
                    case ["sent", topic, partition, index, offset, count]:
                        senders = self.offsets.setdefault(TopicPartition(topic, int(partition)), {})
                        offsets = senders.setdefault(path.name, [])
                        assert len(offsets) == int(index), f"{path.name} told of its value {index} after {len(offsets)}"
                        offsets += range(int(offset), int(offset) + int(count))
                    case [what, total]:
                        counts[what] = int(total)
            for what, total in counts.items():
                self.counts[what] = self.counts.get(what, 0) + total

    def check(self, place: TopicPartition, passes: list[Pass], most_unacknowledged: int) -> None:
        """Every acknowledged value was read once, where it was acknowledged; all that was read had been sent.

        What a sender had not told when it died is there up to the values of one append, behind its others.
        """
        senders = self.offsets[place]
        common: dict[int, Seen] = {}
        for each in passes:
            found = {seen.offset: seen for seen in each.seen}
            for name, offsets in senders.items():
                for index, offset in enumerate(offsets):
                    if each.covers(offset):
                        assert found.get(offset) == (offset, name, index), (
                            f"{place}: {name}'s value {index} was acknowledged at {offset}; there is {found.get(offset)}"
                        )
            for offset, seen in found.items():
                offsets = senders.get(seen.name, [])
                assert offset in offsets[seen.index : seen.index + 1] or (
                    len(offsets) <= seen.index < len(offsets) + most_unacknowledged
                ), f"{place}: {seen} was read; its sender told of {len(offsets)} values, the last at {offsets[-1:]}"
                assert common.setdefault(offset, seen) == seen, f"{place}: two readers saw {common[offset]} and {seen}"
