"""What a partition must be: a list of records whose first offset moves by whole segments.

Owns: which appends share a segment, when the oldest goes, and who holds it.
Must never: import the package; it is the second opinion.
Sits: under `consumer_model` and `test_log`, which compare it with the log after every step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

PAGE, UNIT = 4096, 64
BATCH_BYTES = ROW_BYTES = 24

Header = tuple[str, "bytes | None"]

Plain = tuple[int, "bytes | None", "bytes | None", tuple[Header, ...], int]
"""Offset, key, value, headers, timestamp in milliseconds."""


@dataclass(frozen=True)
class Row:
    """A record as it is sent."""

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()
    timestamp_ms: int = 0

    @property
    def record_bytes(self) -> int:
        headers = [8 + len(name.encode()) + len(value or b"") for name, value in self.headers]
        return len(self.key or b"") + len(self.value or b"") + (4 + sum(headers) if headers else 0)


def batch_units(rows: Sequence[Row]) -> int:
    """How much of a segment these rows take as one batch."""
    plain = len(rows) == 1 and rows[0].key is None and rows[0].value is not None and not rows[0].headers
    payload = rows[0].record_bytes if plain else sum(ROW_BYTES + row.record_bytes for row in rows)
    return -(-(BATCH_BYTES + payload) // UNIT)


def segment_units(segment_bytes: int) -> int:
    """How much a fresh segment holds: a header's page, a journal word for each unit and one for SEALED, whole pages."""
    return (segment_bytes - 2 * PAGE - 8) // (UNIT + 8)


@dataclass
class Options:
    """Of a topic, as its partitions follow them from now on."""

    segment_bytes: int
    retention_bytes: int
    consumed: bool = False

    @property
    def max_message_bytes(self) -> int:
        return min((1 << 20) + 12, self.segment_bytes * 7 // 8 - 2 * PAGE)


@dataclass
class Segment:
    base_offset: int
    units: int
    used_units: int = 0
    batches: int = 0
    records: int = 0

    def fits(self, units: int) -> bool:
        return self.used_units + units <= self.units

    @property
    def end_offset(self) -> int:
        return self.base_offset + self.records


@dataclass
class Partition:
    """All records that there ever were, and all segments, of which those before `first` are gone."""

    options: Options
    ring_slots: int
    rows: list[Row] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    first: int = 0

    @property
    def begin(self) -> int:
        return self.segments[self.first].base_offset if self.segments else 0

    @property
    def end(self) -> int:
        return len(self.rows)

    @property
    def live(self) -> list[Segment]:
        return self.segments[self.first :]

    @property
    def most_segments(self) -> int:
        """How many may be there once a new one is."""
        return max(2, min(self.options.retention_bytes // self.options.segment_bytes, self.ring_slots - 1))

    def fits_newest(self, rows: Sequence[Row]) -> bool:
        return bool(self.segments) and self.segments[-1].fits(batch_units(rows))

    def append(self, rows: Sequence[Row], held: Collection[int] = ()) -> bool:
        """One claim; False if the ring stays full.

        Args:
            rows: The batch; it fits a fresh segment.
            held: For each registered reader the first segment that it still needs. Only for retention `consumed`.
        """
        if not self.fits_newest(rows):
            while len(self.live) > 1 and len(self.live) >= self.most_segments:
                if self.options.consumed and not (held and min(held) > self.first):
                    return False
                self.first += 1
            self.segments.append(Segment(self.end, segment_units(self.options.segment_bytes)))
        segment = self.segments[-1]
        assert segment.fits(batch_units(rows)), "a batch that no segment can hold"
        segment.used_units += batch_units(rows)
        segment.batches += 1
        segment.records += len(rows)
        self.rows += rows
        return True

    def pieces(self, rows: Sequence[Row]) -> list[Sequence[Row]]:
        """The batches that rows become which do not fit a fresh segment as one."""
        if len(rows) <= 1 or batch_units(rows) <= segment_units(self.options.segment_bytes):
            return [rows] if rows else []
        half = len(rows) // 2
        return self.pieces(rows[:half]) + self.pieces(rows[half:])

    def plain(self, offsets: Iterable[int]) -> list[Plain]:
        """Records as a consumer returns them."""
        rows = [(offset, self.rows[offset]) for offset in offsets]
        return [(offset, row.key, row.value, row.headers, row.timestamp_ms) for offset, row in rows]

    def segment_at(self, offset: int) -> int | None:
        """Where one stands who seeks `offset`, begin <= offset <= end; None while there is no segment."""
        found = [number for number, each in enumerate(self.segments) if each.base_offset <= offset]
        return found[-1] if found else None

    def first_since(self, timestamp_ms: int) -> int | None:
        """The first record that is not older."""
        for offset in range(self.begin, self.end):
            if self.rows[offset].timestamp_ms >= timestamp_ms:
                return offset
        return None
