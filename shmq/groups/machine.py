"""A consumer group as a state machine: events in, effects out.

Owns: who is a member, who shall have which partition, and when a partition may change hands.
Must never: look at a clock, a socket or a file; the same events always give the same effects.
Sits: over events and assignors; the coordinator saves its state before it carries out the effects.

INVARIANTS
    K1  A partition is in `owned` of one member at most. It gets there when nobody has it, and leaves when that member
        has released it, has left, has died or was expelled. So nobody reads what another still reads.
    K2  Each time a partition gets an owner its epoch is raised first, and again if it is taken from one who has not
        released it. So whoever had it before can commit no more, whatever he believes.
    K3  When nobody owes an answer, `owned` is the target for every member: all partitions have an owner.
    K4  Only the answer to the last assignment counts: an earlier one says nothing about what came after it, and whoever
        sent it will answer the last one, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from .assignors import ASSIGNORS
from .events import (
    Assign,
    Beat,
    Died,
    Done,
    Effect,
    Event,
    Expel,
    Join,
    Leave,
    Place,
    Raise,
    Refuse,
    Tick,
    TopicInfo,
    TopicsChanged,
)

FORMAT = 1


@dataclass
class Member:
    """One member. `gone`: a static one whose process has ended, or who has closed; its place waits for its return."""

    join: Join
    number: int = 0
    owned: set[Place] = field(default_factory=set)
    told: tuple[int, frozenset[Place]] | None = None
    seen_ms: int | None = None
    owing_since_ms: int | None = None
    gone: bool = False


class Group:
    """The state of one group.

    Attributes:
        members: By member id, in the order in which they came.
        generation: Rises by one each time that the target changes.
        target: What each member shall own.
        strategy: The assignor that made the target.
        empty_since_ms: When the last member went, on the caller's clock; None while there is one, or it is not known.
    """

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.topics: dict[str, TopicInfo] = {}
        self.generation = 0
        self.target: dict[str, set[Place]] = {}
        self.strategy = ""
        self._effects: list[Effect] = []

    def apply(self, event: Event, now_ms: int) -> list[Effect]:
        """Take in an event at a time that never goes back; return what is to be done, in order."""
        self._effects = []
        handle: dict[type[Any], Callable[[Any, int], bool]] = {
            Join: self._on_join,
            Beat: self._on_beat,
            Done: self._on_done,
            Leave: self._on_leave,
            Died: self._on_died,
            TopicsChanged: self._on_topics,
            Tick: self._on_tick,
        }
        if handle[type(event)](event, now_ms):
            self._aim()
        self._settle(now_ms)
        return self._effects

    # -- what is seen from outside ------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """Kafka's word for it: Empty, Reconciling (a partition is changing hands) or Stable."""
        if not self.members:
            return "Empty"
        return "Stable" if all(each.owned == self.target[id_] for id_, each in self.members.items()) else "Reconciling"

    def owner(self, place: Place) -> str | None:
        """The member that owns a partition now."""
        return next((id_ for id_, each in self.members.items() if place in each.owned), None)

    def to_json(self) -> dict[str, Any]:
        """Everything that the next coordinator must know, as plain values."""
        return {
            "format": FORMAT,
            "generation": self.generation,
            "strategy": self.strategy,
            "members": [
                {"join": asdict(each.join), "number": each.number, "owned": sorted(each.owned), "gone": each.gone}
                for each in self.members.values()
            ],
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Group:
        """The group as it was saved. Every member is due a fresh session, and is told anew when it comes back.

        Raises:
            ValueError, KeyError, TypeError: this is not what `to_json` gives.
        """
        if stored["format"] != FORMAT:
            raise ValueError(f"format {stored['format']!r}, not {FORMAT}")
        group = cls()
        group.generation, group.strategy = int(stored["generation"]), str(stored["strategy"])
        for each in stored["members"]:
            join = dict(each["join"])
            for name in ("topics", "strategies"):
                join[name] = tuple(join[name])
            join["owned"] = None
            member = Member(Join(**join), int(each["number"]), _places(each["owned"]), gone=bool(each["gone"]))
            group.members[member.join.member_id] = member
        group.target = {id_: set(each.owned) for id_, each in group.members.items()}
        return group

    # -- events: each tells whether the target must be found anew ------------------------------------------------------

    def _on_join(self, join: Join, now_ms: int) -> bool:
        common = self._common_strategies(join)
        if not common:
            others = ", ".join(sorted({name for each in self.members.values() for name in each.join.strategies}))
            detail = f"it knows the assignors {', '.join(join.strategies)}; the other members know {others}"
            self._effects.append(Refuse(join.member_id, "InconsistentGroupProtocolError", detail))
            return False
        known = self.members.get(join.member_id)
        if known is not None:
            return self._come_back(known, join, now_ms)
        member = Member(join, seen_ms=now_ms)
        before = self._of_instance(join.instance_id)
        if before is None:
            self.members[join.member_id] = member
            return True
        self._replace(before, member)
        return (before.join.topics, before.join.pattern) != (join.topics, join.pattern)

    def _come_back(self, member: Member, join: Join, now_ms: int) -> bool:
        """After its coordinator died, or with another subscription. What it does not hold any more is free."""
        is_other = (member.join.topics, member.join.pattern, member.join.strategies) != (
            join.topics,
            join.pattern,
            join.strategies,
        )
        member.join, member.seen_ms, member.gone, member.told = join, now_ms, False, None
        if join.owned is not None:
            member.owned &= set(join.owned)
        return is_other

    def _replace(self, before: Member, member: Member) -> None:
        """A static member in a new process: same place, same partitions, in their order; new epochs."""
        old_id, new_id = before.join.member_id, member.join.member_id
        if not before.gone:
            self._effects.append(Expel(old_id, "instance"))
        self.members = {new_id if id_ == old_id else id_: each for id_, each in self.members.items()}
        self.members[new_id] = member
        self.target[new_id] = self.target.pop(old_id)
        for place in before.owned:
            self._effects.append(Raise(place))  # K2; who takes it raises it once more

    def _on_beat(self, beat: Beat, now_ms: int) -> bool:
        member = self.members.get(beat.member_id)
        if member is None:
            return False
        member.seen_ms = now_ms
        if beat.poll_age_ms > member.join.max_poll_interval_ms:
            self._expel(member, "poll")
            return True
        return False

    def _on_done(self, done: Done, now_ms: int) -> bool:
        member = self.members.get(done.member_id)
        if member is not None:
            member.seen_ms = now_ms
            if member.told is not None and done.number == member.number:  # K4
                member.owned &= member.told[1]
        return False

    def _on_leave(self, leave: Leave, _: int) -> bool:
        member = self.members.get(leave.member_id)
        if member is None:
            return False
        if member.join.instance_id is not None and not leave.for_good:
            member.gone = True
            return False
        self._remove(member)
        return True

    def _on_died(self, died: Died, _: int) -> bool:
        return self._on_leave(Leave(died.member_id), _)

    def _on_topics(self, changed: TopicsChanged, _: int) -> bool:
        self.topics = dict(changed.topics)
        there = set(self._all_places())
        for member in self.members.values():
            member.owned &= there
        return True

    def _on_tick(self, _: Tick, now_ms: int) -> bool:
        expelled = False
        for member in list(self.members.values()):
            if member.seen_ms is None:
                member.seen_ms = now_ms
            owing_ms = 0 if member.owing_since_ms is None else now_ms - member.owing_since_ms
            if now_ms - member.seen_ms > member.join.session_timeout_ms:
                self._expel(member, "session")
            elif owing_ms > member.join.max_poll_interval_ms:
                self._expel(member, "poll")
            else:
                continue
            expelled = True
        return expelled

    # -- members ------------------------------------------------------------------------------------------------------

    def _of_instance(self, instance_id: str | None) -> Member | None:
        if instance_id is None:
            return None
        return next((each for each in self.members.values() if each.join.instance_id == instance_id), None)

    def _common_strategies(self, join: Join) -> list[str]:
        """Assignors that all members know, the newcomer among them; in the order of the first member."""
        staying = [
            each.join
            for id_, each in self.members.items()
            if id_ != join.member_id and (join.instance_id is None or each.join.instance_id != join.instance_id)
        ]
        first, *rest = [*staying, join]
        return [
            name for name in first.strategies if name in ASSIGNORS and all(name in each.strategies for each in rest)
        ]

    def _expel(self, member: Member, reason: str) -> None:
        if not member.gone:
            self._effects.append(Expel(member.join.member_id, reason))
        self._remove(member)

    def _remove(self, member: Member) -> None:
        """Take all that it has from it, whatever it believes (K2)."""
        self._effects += [Raise(place) for place in sorted(member.owned)]
        del self.members[member.join.member_id]
        self.target.pop(member.join.member_id, None)

    # -- the target ---------------------------------------------------------------------------------------------------

    def _aim(self) -> None:
        """Find the target for the members and topics that there are now."""
        before = {id_: set(places) for id_, places in self.target.items()}
        if self.members:
            joins = {id_: each.join for id_, each in self.members.items()}
            common = [name for name in next(iter(joins.values())).strategies if self._all_know(name)]
            self.strategy = common[0]
            names = sorted(joins, key=lambda id_: (joins[id_].instance_id or "", id_))
            subscriptions = {id_: self._topics_of(joins[id_]) for id_ in names}
            held = {id_: each.owned | before.get(id_, set()) for id_, each in self.members.items()}
            self.target = ASSIGNORS[self.strategy](subscriptions, self._all_places(), held)
        else:
            self.target = {}
        if self.target != before:
            self.generation += 1

    def _all_know(self, strategy: str) -> bool:
        return strategy in ASSIGNORS and all(strategy in each.join.strategies for each in self.members.values())

    def _topics_of(self, join: Join) -> frozenset[str]:
        if join.pattern is None:
            return frozenset(join.topics) & self.topics.keys()
        return frozenset(name for name in self.topics if re.match(join.pattern, name))

    def _all_places(self) -> list[Place]:
        return [
            Place(name, info.topic_id, number)
            for name, info in self.topics.items()
            for number in range(info.partitions)
        ]

    def _settle(self, now_ms: int) -> None:
        """Give what is free to those who shall have it (K1), and tell everybody for whom something has changed."""
        taken = {place for each in self.members.values() for place in each.owned}
        for id_, member in self.members.items():
            target = self.target.get(id_, set())
            fresh = sorted(target - taken)
            self._effects += [Raise(place) for place in fresh]
            member.owned |= set(fresh)
            member.owing_since_ms = (
                None if member.owned <= target else now_ms if member.owing_since_ms is None else member.owing_since_ms
            )
            may = frozenset(member.owned & target)
            if member.gone or (member.told == (self.generation, may) and not fresh):
                continue
            member.number += 1
            member.told = (self.generation, may)
            self._effects.append(Assign(id_, member.number, self.generation, tuple(sorted(may))))


def _places(stored: Iterable[Any]) -> set[Place]:
    return {Place(str(topic), int(topic_id), int(number)) for topic, topic_id, number in stored}
