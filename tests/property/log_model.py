"""What a partition must be: a list of records with a first offset that moves by whole segments.

Owns: which appends share a segment, when the oldest goes, what a reader may see.
Must never: import the package; it is the second opinion.
Sits: under `test_log`, which compares it with the log after every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

PAGE, UNIT = 4096, 64

Header = tuple[str, "bytes | None"]


@dataclass(frozen=True)
class Row:
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()
    timestamp_ms: int = 0

    @property
    def record_bytes(self) -> int:
        return len(self.key or b"") + len(self.value or b"") + self.headers_bytes

    @property
    def headers_bytes(self) -> int:
        each = [8 + len(name.encode()) + len(value or b"") for name, value in self.headers]
        return 4 + sum(each) if each else 0


def batch_units(rows: Sequence[Row]) -> int:
    plain = len(rows) == 1 and rows[0].key is None and rows[0].value is not None and not rows[0].headers
    payload = rows[0].record_bytes if plain else sum(24 + row.record_bytes for row in rows)
    return -(-(24 + payload) // UNIT)


@dataclass
class Options:
    segment_bytes: int
    retention_bytes: int
    consumed: bool = False


@dataclass
class Segment:
    base_offset: int
    units: int
    free_units: int
    words: int = 0
    records: int = 0

    @classmethod
    def made(cls, base_offset: int, segment_bytes: int) -> Segment:
        units = (segment_bytes - 2 * PAGE - 8) // (UNIT + 8)
        return cls(base_offset, units, units)

    def fits(self, units: int) -> bool:
        return units <= self.free_units and self.words < self.units  # a word for each unit, and one for SEALED


@dataclass
class Partition:
    """One partition with retention `delete`, or with `consumed`, whose first offset is then only bounded by its readers."""

    options: Options
    ring_slots: int
    rows: list[Row] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)

    @property
    def begin(self) -> int:
        return self.segments[0].base_offset if self.segments else 0

    @property
    def end(self) -> int:
        return len(self.rows)

    @property
    def most_segments(self) -> int:
        """How many segments may be there once a new one is."""
        return max(2, min(self.options.retention_bytes // self.options.segment_bytes, self.ring_slots - 1))

    def must_roll(self, rows: Sequence[Row]) -> bool:
        return not self.segments or not self.segments[-1].fits(batch_units(rows))

    def append(self, rows: Sequence[Row]) -> None:
        """One claim. Retention `consumed` lets segments go elsewhere: see `forget`."""
        if self.must_roll(rows):
            while not self.options.consumed and len(self.segments) > 1 and len(self.segments) >= self.most_segments:
                self.segments.pop(0)
            self.segments.append(Segment.made(self.end, self.options.segment_bytes))
        segment = self.segments[-1]
        segment.free_units -= batch_units(rows)
        segment.words += 1
        segment.records += len(rows)
        self.rows += rows

    def forget(self, begin: int) -> None:
        """Let whole segments go, up to the one that begins at `begin`."""
        assert begin in [segment.base_offset for segment in self.segments] or begin == self.begin
        while self.segments and self.segments[0].base_offset < begin:
            self.segments.pop(0)

    def segment_end(self, offset: int) -> int:
        """The offset behind the segment that holds `offset`, were it still there."""
        later = [segment.base_offset for segment in self.segments if segment.base_offset > offset]
        return later[0] if later else self.end

    def first_since(self, timestamp_ms: int) -> int | None:
        for offset in range(self.begin, self.end):
            if self.rows[offset].timestamp_ms >= timestamp_ms:
                return offset
        return None
