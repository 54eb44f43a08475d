"""Who gets which partition: Kafka's four strategies, as pure functions.

Owns: the strategies and their names.
Must never: know who holds what at the moment beyond what it is told, or in which order partitions change hands.
Sits: under `machine`. Source: the assignors of Kafka's Java client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import cycle

from .events import Place

Subscriptions = Mapping[str, frozenset[str]]
"""Topics by member, in the order in which members are considered."""

Assignment = dict[str, set[Place]]
Assignor = Callable[[Subscriptions, "list[Place]", "Mapping[str, Iterable[Place]]"], Assignment]


def assign_range(members: Subscriptions, places: list[Place], _: Mapping[str, Iterable[Place]]) -> Assignment:
    """Topic by topic, neighbouring partitions to each member; so equal partitions of several topics come together."""
    assignment: Assignment = {member: set() for member in members}
    for topic in sorted({place.topic for place in places}):
        mine = sorted(place for place in places if place.topic == topic)
        interested = [member for member, topics in members.items() if topic in topics]
        at = 0
        for index, member in enumerate(interested):
            count = len(mine) // len(interested) + (index < len(mine) % len(interested))
            assignment[member].update(mine[at : at + count])
            at += count
    return assignment


def assign_roundrobin(members: Subscriptions, places: list[Place], _: Mapping[str, Iterable[Place]]) -> Assignment:
    """All partitions of all topics in turn."""
    assignment: Assignment = {member: set() for member in members}
    turn = cycle(members)
    for place in sorted(places):
        if any(place.topic in topics for topics in members.values()):
            member = next(each for each in turn if place.topic in members[each])
            assignment[member].add(place)
    return assignment


def assign_sticky(members: Subscriptions, places: list[Place], owned: Mapping[str, Iterable[Place]]) -> Assignment:
    """As even as subscriptions allow, and among these assignments one that moves few partitions.

    At the end no partition could go to a member that would then still have fewer than the one that it came from.
    """
    assignment: Assignment = {member: set() for member in members}
    there, owners = set(places), dict[Place, str]()
    for member, held in owned.items():
        for place in held:
            if member in members and place in there and place not in owners and place.topic in members[member]:
                owners[place] = member
                assignment[member].add(place)
    eligible = {
        topic: [each for each in members if topic in members[each]] for topic in {each.topic for each in places}
    }
    for place in sorted(there - owners.keys()):
        if eligible[place.topic]:
            member = min(eligible[place.topic], key=lambda each: len(assignment[each]))
            owners[place] = member
            assignment[member].add(place)
    while moves := _unfair(assignment, eligible):
        place, giver, taker = moves
        assignment[giver].remove(place)
        assignment[taker].add(place)
    return assignment


def _unfair(assignment: Assignment, eligible: Mapping[str, list[str]]) -> tuple[Place, str, str] | None:
    """A partition whose move makes the assignment more even: from the fullest member that has one."""
    poorest = {topic: min(each, key=lambda m: len(assignment[m])) for topic, each in eligible.items() if each}
    for giver in sorted(assignment, key=lambda each: -len(assignment[each])):
        for topic in sorted({place.topic for place in assignment[giver]}):
            taker = poorest[topic]
            if len(assignment[taker]) + 1 < len(assignment[giver]):
                return max(place for place in assignment[giver] if place.topic == topic), giver, taker
    return None


ASSIGNORS: dict[str, Assignor] = {
    "range": assign_range,
    "roundrobin": assign_roundrobin,
    "sticky": assign_sticky,
    "cooperative-sticky": assign_sticky,  # here every strategy moves only what must move
}
