"""What a consumer may return from where it stands, and where it must stand afterwards.

Owns: positions, what was read ahead, which segment a reader still has mapped, `auto_offset_reset`.
Must never: import the package; it is the second opinion.
Sits: over `log_model`, under `test_log`.

A reader whose segment was dropped reads it to its end, for it has the file mapped. Then it is out of range. In which order
partitions are read is left open, so where a step may or may not have come to a partition, what the consumer says of its
own position decides, among what is possible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from log_model import Partition, Plain

LOST, NEVER_SET = "OffsetOutOfRangeError", "NoOffsetForPartitionError"

Got = Mapping[int, Sequence[Plain]]
"""Records by partition."""


@dataclass(frozen=True)
class Seen:
    """What a consumer says of one partition.

    Attributes:
        position: Offset of the next record; None if it never had one.
        ahead: Up to here it has read; what lies between was not given out yet.
        unset: It was sent to `position`, which the log did not have.
    """

    position: int | None
    ahead: int
    unset: bool = False


@dataclass(frozen=True)
class Place(Seen):
    """Where a consumer stands in one partition.

    Attributes:
        segment: Number of the segment that its reader has mapped, None if none.
    """

    segment: int | None = None
    paused: bool = False

    def limit(self, log: Partition) -> int:
        """Up to here it can read without being sent elsewhere."""
        if self.unset:
            return self.ahead
        segment_end = 0 if self.segment is None else log.segments[self.segment].end_offset
        is_there = log.first == 0 if self.segment is None else self.segment >= log.first
        return log.end if is_there or segment_end >= log.begin else segment_end

    def known(self, log: Partition) -> range:
        """Offsets that it gives out before it is sent elsewhere."""
        return range(0) if self.unset or self.position is None else range(self.position, self.limit(log))

    def target(self, log: Partition, reset: str) -> int | None:
        """Where it is sent then; None: nowhere, or into an error."""
        if self.unset and self.position is not None and log.begin <= self.position <= log.end:
            return self.position
        if not self.unset and self.limit(log) >= log.begin:
            return None
        return {"earliest": log.begin, "latest": log.end, "none": None}[reset]

    def must_move(self, log: Partition) -> bool:
        """It has nothing left where it stands, and is not at the end of the log."""
        return self.unset or self.ahead == self.limit(log) < log.begin

    def trouble(self, log: Partition, reset: str) -> str:
        """The error that it meets at once, if any."""
        if not self.must_move(log) or self.target(log, reset) is not None:
            return ""
        return NEVER_SET if self.position is None else LOST

    @property
    def seen(self) -> Seen:
        return Seen(self.position, self.ahead, self.unset)

    def sought(self, log: Partition, offset: int) -> Place:
        if log.begin <= offset <= log.end:
            return Place(offset, offset, False, log.segment_at(offset), self.paused)
        return replace(self, position=offset, unset=True)


@dataclass
class ConsumerModel:
    reset: str
    most: int
    has_byte_limit: bool = False
    places: dict[int, Place] = field(default_factory=dict)

    def assign(self, log: Sequence[Partition], numbers: Sequence[int]) -> None:
        """Stand in these partitions; in new ones at an edge, or nowhere."""
        before, never = self.places, Place(None, 0, unset=True)
        self.places = {}
        for number in numbers:
            edge = {"earliest": log[number].begin, "latest": log[number].end, "none": None}[self.reset]
            fresh = never if edge is None else never.sought(log[number], edge)
            self.places[number] = before.get(number, fresh)

    def seek(self, log: Sequence[Partition], number: int, offset: int) -> None:
        self.places[number] = self.places[number].sought(log[number], offset)

    def pause(self, number: int, paused: bool) -> None:
        self.places[number] = replace(self.places[number], paused=paused)

    @property
    def active(self) -> dict[int, Place]:
        return {number: place for number, place in self.places.items() if not place.paused}

    def taken(self) -> dict[int, int]:
        """Records that were read and not given out, of partitions that are not paused."""
        found = {n: place.ahead - place.position for n, place in self.active.items() if place.position is not None}
        return {n: count for n, count in found.items() if count > 0 and not self.places[n].unset}

    def sure(self, log: Sequence[Partition]) -> int:
        """So many records it gives without waiting for more, as often as it is asked; 0 if an error may come first."""
        count = 0
        for number, place in self.active.items():
            target = place.target(log[number], self.reset)
            if target is None and (place.unset or place.limit(log[number]) < log[number].begin):
                return 0
            count += len(place.known(log[number])) + (log[number].end - target if target is not None else 0)
        return count

    def judge_poll(
        self,
        log: Sequence[Partition],
        got: Got | str,
        seen: Mapping[int, Seen],
        most: int,
        *,
        waited: bool,
        keeps: bool,
    ) -> None:
        """Was this a right answer to `poll`? Stand where it left the consumer."""
        taken = self.taken()
        troubles = {place.trouble(log[number], self.reset) for number, place in self.active.items()} - {""}
        if isinstance(got, str):
            assert not taken, "an error came before what had been read already"
            assert got in troubles
            got = {}
        else:
            total = sum(map(len, got.values()))
            assert total <= most
            if taken:
                assert total == min(most, sum(taken.values()))
                assert all(len(rows) <= taken[number] for number, rows in got.items())
            else:
                self._judge_amount(log, got, seen, most - total)
                assert total or not (waited or troubles), "neither records nor the error that there is"
        read_ahead = (0 if not keeps else most) if not taken else 0
        self.judge(log, got, seen, read_ahead, keeps)

    def _judge_amount(self, log: Sequence[Partition], got: Got, seen: Mapping[int, Seen], left: int) -> None:
        """Was everything given that there is, if there was space for it?"""
        if self.has_byte_limit:
            assert got or not any(place.known(log[number]) for number, place in self.active.items())
        elif left > 0:
            for number, place in self.active.items():
                assert len(got.get(number, ())) >= len(place.known(log[number])), f"partition {number} was not read out"
                if place.must_move(log[number]) and place.target(log[number], self.reset) is not None:
                    assert not seen[number].unset
                    assert seen[number].ahead >= log[number].begin, f"partition {number} was left where nothing is"

    def judge(
        self, log: Sequence[Partition], got: Got, seen: Mapping[int, Seen], read_ahead: int = 0, keeps: bool = False
    ) -> None:
        """Could these records come next, and could the consumer stand there then? Stand there."""
        assert got.keys() <= self.active.keys()
        assert seen.keys() == self.places.keys()
        for number in self.places:
            rows, says = got.get(number, ()), seen[number]
            before = self.places[number]
            self.places[number] = after = self._stepped(log[number], before, rows, says, keeps)
            assert after.seen == says
            if not after.unset and after.position is not None:
                behind = after.position + (read_ahead if not keeps else len(rows))
                assert after.ahead <= max(before.ahead, behind), "more was read ahead than was asked for"

    def _stepped(self, log: Partition, before: Place, rows: Sequence[Plain], says: Seen, keeps: bool) -> Place:
        known, target = before.known(log), before.target(log, self.reset)
        beyond = range(target, log.end) if target is not None else range(0)
        expected = [*known, *beyond][: len(rows)]
        assert list(rows) == log.plain(expected)
        given = 0 if keeps else len(rows)
        moved = not says.unset and target is not None and (before.unset or says.position >= target > known.stop)
        if not moved:
            assert len(rows) <= len(known), "records from elsewhere, but the position stayed"
            position = None if before.position is None else before.position + given
            read = says.ahead > before.ahead
            assert before.ahead <= says.ahead <= max(before.ahead, known.stop)
            segment = log.segment_at(says.ahead - 1) if read else before.segment
            return replace(before, position=position, ahead=says.ahead, segment=segment)
        assert given >= len(known), "sent elsewhere before it had given what it had"
        assert target is not None
        assert target <= says.ahead <= log.end
        segment = log.segment_at(says.ahead - 1 if says.ahead > target else target)
        return Place(target + given - len(known), says.ahead, False, segment, before.paused)
