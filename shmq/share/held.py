"""The records of one partition that are with a share consumer, from when they were given out until they are settled.

Owns: what was said about each, and what may still be said.
Must never: touch the window; who settles asks it what to do.
Sits: under the other parts of this room.

A record is in one of three places: `given` (nothing was said), `said` (acknowledged, to be settled), `renewed` (its
lock was renewed: it may be acknowledged once more, and no poll waits for that).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from shmq import _native
from shmq.types import AcknowledgeType


class Saying(NamedTuple):
    """What is to become of a record. `delay_ms` is for RELEASE, `reason` for what ends in the dead letters."""

    kind: AcknowledgeType
    delay_ms: int = 0
    reason: str = ""


ACCEPTED = Saying(AcknowledgeType.ACCEPT)


class Held:
    """The records of one partition that are with this consumer, as they came out of the log, by offset."""

    def __init__(self, reader: _native.Reader) -> None:
        self.reader = reader
        self.given: dict[int, _native.ConsumerRecord] = {}
        self.said: dict[int, tuple[_native.ConsumerRecord, Saying]] = {}
        self.renewed: dict[int, _native.ConsumerRecord] = {}

    def take(self, records: Iterable[_native.ConsumerRecord]) -> None:
        """They were given out. One that is here already came anew: what was said of it before is void."""
        for record in records:
            offset = record.offset
            self.given[offset] = record
            if self.said or self.renewed:
                self.said.pop(offset, None)
                self.renewed.pop(offset, None)

    def say(self, record: _native.ConsumerRecord, saying: Saying) -> str:
        """Note what is to become of a record; return "", or why that cannot be."""
        offset = record.offset
        for place in (self.given, self.renewed):
            mine = place.get(offset)
            if mine is not None and mine.delivery_count == record.delivery_count:
                self.said[offset] = place.pop(offset), saying
                return ""
        already = self.said.get(offset)
        if already is None or already[0].delivery_count != record.delivery_count:
            return "it is not with this consumer: another one has it, or it was settled"
        if already[1].kind is not AcknowledgeType.RENEW:
            return f"it was acknowledged already, with {already[1].kind.name}"
        self.said[offset] = already[0], saying
        return ""

    def accept_all(self) -> None:
        """Accept everything that nothing was said about."""
        for offset, record in self.given.items():
            self.said[offset] = record, ACCEPTED
        self.given.clear()

    def rest(self) -> list[_native.ConsumerRecord]:
        """Return the records about which nothing final was said, and forget them."""
        records = [*self.given.values(), *self.renewed.values()]
        self.given.clear()
        self.renewed.clear()
        return records
