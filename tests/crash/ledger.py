"""What crash tests send, and the judgement over what came out.

Owns: values that show at sight who sent them, which one they are and whether they are whole; counting them.
Must never: know how a process died, or touch the log.
Sits: at the bottom of the crash and stress tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


def make_value(name: str, index: int, size: int = 0) -> bytes:
    """Value `index` of sender `name`: whole if and only if it equals what its first bytes ask for."""
    head = f"{name} {index} {size} ".encode()
    return (head * (size // len(head) + 1))[: max(size, len(head))]


class Seen(NamedTuple):
    """One record as a reader got it."""

    offset: int
    name: str
    index: int


def read_value(offset: int, value: bytes) -> Seen:
    """Return who sent a value. Raises: AssertionError if it is not, byte for byte, what was sent."""
    name, index, size, _ = value[:100].split(b" ", 3)
    seen = Seen(offset, name.decode(), int(index))
    assert value == make_value(seen.name, seen.index, int(size)), f"{seen} is broken: {value[:100]!r} ..."
    return seen


@dataclass
class Ledger:
    """The records of one partition: `acknowledged` counts those whose send returned, by sender."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def add(self, records: Iterable[Seen]) -> None:
        """Add what a reader got next."""
        self.seen += records

    def check(self, unacknowledged: int) -> None:
        """Every acknowledged record is there once and in order, and no sender has more than so many others behind them."""
        offsets = [each.offset for each in self.seen]
        assert offsets == sorted(set(offsets)), "offsets do not rise"
        found: dict[str, list[int]] = {name: [] for name in self.acknowledged}
        for each in self.seen:
            found.setdefault(each.name, []).append(each.index)
        for name, indexes in found.items():
            assert indexes == list(range(len(indexes))), f"{name}: lost, doubled or out of order: {indexes}"
            sent = self.acknowledged.get(name, 0)
            assert sent <= len(indexes) <= sent + unacknowledged, f"{name}: {sent} acknowledged, {len(indexes)} there"
