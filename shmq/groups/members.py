"""A member of a group as its coordinator knows it, and how it is saved.

Owns: what a member holds, what it is to hold, what it was asked to let go of, when it was last heard of, and who
cannot be a member at all.
Must never: decide who holds what; the state machine does.
Sits: under `machine`. Not saved are times, since the clock begins anew with each boot, and revocations, since members
that come back are told anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .assignors import ASSIGNORS, Subscriber, choose_strategy
from .events import Join, Place, TopicInfo

_SAVED = [each.name for each in fields(Join) if each.name != "owned"]


@dataclass(slots=True)
class Member:
    """One member.

    Attributes:
        join: Who it is and what it wants, as it said last; without what it owned then.
        owned: All places that nobody else may have yet: what it was told it may hold, less what it has let go of.
        target: What it is to have when the group is at rest.
        revoked: Of `owned`, what it was told to let go of, each with the number of the `Assign` that said so.
        gone: A static member that is away; its place is kept until its session is over.
        replaced: Member ids from which it took over its static identity, the newest last.
        seen_ms: When it was last heard of. None: not yet by this coordinator.
        asked_ms: Since when it owes an answer to a revocation, None if it does not.
    """

    join: Join
    owned: set[Place] = field(default_factory=set)
    target: set[Place] = field(default_factory=set)
    revoked: dict[Place, int] = field(default_factory=dict)
    gone: bool = False
    replaced: tuple[str, ...] = ()
    seen_ms: int | None = None
    asked_ms: int | None = None

    @property
    def held(self) -> set[Place]:
        """What it may hold, as it was told last."""
        return self.owned - self.revoked.keys()

    def let_go(self, places: Iterable[Place]) -> None:
        """Note that it does not hold these any more."""
        for place in places:
            self.owned.discard(place)
            self.revoked.pop(place, None)

    def subscriber(self, topics: dict[str, TopicInfo]) -> Subscriber:
        """Return it as the assignors see it, with the topics there are."""
        wanted = set(self.join.topics)
        if self.join.pattern is not None:
            pattern = re.compile(self.join.pattern)
            wanted.update(filter(pattern.match, topics))
        return Subscriber(self.join.member_id, self.join.instance_id, frozenset(wanted & topics.keys()))

    def to_json(self) -> dict[str, Any]:
        """Return what is to be saved of it, as plain values."""
        saved = {name: getattr(self.join, name) for name in _SAVED}
        return saved | {
            "topics": list(self.join.topics),
            "strategies": list(self.join.strategies),
            "owned": _packed(self.owned),
            "target": _packed(self.target),
            "gone": self.gone,
            "replaced": list(self.replaced),
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Member:
        """Return a member as it was saved. Raises: KeyError, TypeError, ValueError: it was not saved like this."""
        join = Join(owned=None, **{name: saved[name] for name in _SAVED})
        return cls(
            replace(join, topics=tuple(join.topics), strategies=tuple(join.strategies)),
            owned=_unpacked(saved["owned"]),
            target=_unpacked(saved["target"]),
            gone=bool(saved["gone"]),
            replaced=tuple(saved["replaced"]),
        )

    def describe(self) -> dict[str, Any]:
        """Return what people want to know of it; places as [topic, topic_id, partition]."""
        join = self.join
        return {
            "member_id": join.member_id,
            "group_instance_id": join.instance_id,
            "client_id": join.client_id,
            "pid": join.pid,
            "process": join.process,
            "topics": list(join.topics),
            "pattern": join.pattern,
            "assignment": [list(place) for place in sorted(self.held)],
            "revoked": [list(place) for place in sorted(self.revoked)],
            "gone": self.gone,
        }


def exists(place: Place, topics: dict[str, TopicInfo]) -> bool:
    """Return whether this very place is there: the topic was not made anew."""
    info = topics.get(place.topic)
    return info is not None and info.topic_id == place.topic_id and place.partition < info.partitions


def objection(event: Join, others: list[Member]) -> str | None:
    """Return why a consumer cannot be a member together with these, and what to do; None if it can."""
    if event.pattern is not None:
        try:
            re.compile(event.pattern)
        except re.error as error:
            return f"{event.pattern!r} is no regular expression: {error}; correct the pattern"
    choices = [each.join.strategies for each in others]
    if choose_strategy([*choices, event.strategies], None) is None:
        usable = [name for name in ASSIGNORS if all(name in names for names in choices)]
        return (
            f"its members use one of {', '.join(usable)}, and this one knows {', '.join(event.strategies) or 'none'}; "
            "name one of theirs in partition_assignment_strategy"
        )
    return None


def _packed(places: Iterable[Place]) -> list[Any]:
    """Places as [topic, topic_id, [partition, ...]], which is short."""
    topics: dict[tuple[str, int], list[int]] = {}
    for topic, topic_id, partition in sorted(places):
        topics.setdefault((topic, topic_id), []).append(partition)
    return [[topic, topic_id, partitions] for (topic, topic_id), partitions in topics.items()]


def _unpacked(packed: list[Any]) -> set[Place]:
    return {
        Place(str(topic), int(topic_id), int(partition))
        for topic, topic_id, partitions in packed
        for partition in partitions
    }
