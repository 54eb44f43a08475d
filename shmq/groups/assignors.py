"""Who should have which place: Kafka's assignors, as functions of the members, the topics and the last answer.

Owns: the four strategies, and which of them a group uses.
Must never: depend on the order in which members came, or on anything but its arguments.
Sits: under `machine`.

The sticky ones find a balance that nobody can better: no member could be relieved of a place, directly or along a
chain of members that pass places on, while another would still have fewer. That is an optimal semi-matching, and a
chain that lowers the cost exists as long as it is not reached [Harvey, Ladner, Lovasz, Tamir: Semi-Matchings for
Bipartite Graphs and Load Balancing, 2003].
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

from .events import Place, TopicInfo


class Subscriber(NamedTuple):
    """A member as an assignor sees it."""

    member_id: str
    instance_id: str | None
    topics: frozenset[str]


Topics = Mapping[str, TopicInfo]
Assignment = dict[Place, str]
Assignor = Callable[[Sequence[Subscriber], Topics, Mapping[Place, str]], Assignment]


def _range(subscribers: Sequence[Subscriber], topics: Topics, _last: Mapping[Place, str]) -> Assignment:
    """Topic by topic, neighbouring partitions to each member; the first members have one more.

    Source: RangeAssignor of Kafka.
    """
    assignment = {}
    for topic, members in _by_topic(subscribers, topics).items():
        places = _places(topic, topics)
        share, extra = divmod(len(places), len(members))
        for index, member in enumerate(members):
            first = index * share + min(index, extra)
            for place in places[first : first + share + (index < extra)]:
                assignment[place] = member.member_id
    return assignment


def _roundrobin(subscribers: Sequence[Subscriber], topics: Topics, _last: Mapping[Place, str]) -> Assignment:
    """Partitions of all topics in a row, dealt to the members in turn; one without that topic is passed over.

    Source: RoundRobinAssignor of Kafka.
    """
    assignment = {}
    turn = cycle(sorted(subscribers, key=_rank))
    for topic in _by_topic(subscribers, topics):
        for place in _places(topic, topics):
            assignment[place] = next(member for member in turn if topic in member.topics).member_id
    return assignment


def _sticky(subscribers: Sequence[Subscriber], topics: Topics, last: Mapping[Place, str]) -> Assignment:
    """As balanced as it can be, and within that everything stays where it was.

    With equal subscriptions as few places move as possible; otherwise each one that moves shortens the way to balance.
    """
    by_topic = {
        topic: [member.member_id for member in members] for topic, members in _by_topic(subscribers, topics).items()
    }
    balance = _Balance([member.member_id for member in sorted(subscribers, key=_rank)], by_topic)
    free = []
    for topic, members in by_topic.items():
        allowed = set(members)
        for place in _places(topic, topics):
            if last.get(place) in allowed:
                balance.put(place, last[place])
            else:
                free.append(place)
    balance.fill(free)
    balance.level(last)
    return balance.assignment


ASSIGNORS: dict[str, Assignor] = {
    "range": _range,
    "roundrobin": _roundrobin,
    "sticky": _sticky,
    "cooperative-sticky": _sticky,  # every rebalance is a cooperative one here
}


def assign(
    strategy: str, subscribers: Sequence[Subscriber], topics: Topics, last: Mapping[Place, str]
) -> dict[str, set[Place]]:
    """Return what each member is to have: each place of a topic that anybody subscribes to, once.

    Args:
        strategy: One of `ASSIGNORS`.
        subscribers: All members.
        topics: All topics there are.
        last: Who was to have which place until now, for the strategies that care.
    """
    shares: dict[str, set[Place]] = {member.member_id: set() for member in subscribers}
    for place, member_id in ASSIGNORS[strategy](subscribers, topics, last).items():
        shares[member_id].add(place)
    return shares


def choose_strategy(choices: Collection[Sequence[str]], present: str | None) -> str | None:
    """Return the strategy for members that know these, each its best first; None if they have none in common.

    The one that most members like best of those that all know; among equals the present one, so that nothing moves.
    Source: GroupMetadata.selectProtocol of Kafka.
    """
    common = [name for name in ASSIGNORS if all(name in names for names in choices)]
    if not common:
        return None
    votes = Counter(next(name for name in names if name in common) for names in choices)
    return max(common, key=lambda name: (votes[name], name == present))  # the first of several


def _rank(member: Subscriber) -> tuple[bool, str]:
    """Static members first, by their identity: one that comes back has the same place in the row."""
    return (member.instance_id is None, member.instance_id or member.member_id)


def _by_topic(subscribers: Sequence[Subscriber], topics: Topics) -> dict[str, list[Subscriber]]:
    members: dict[str, list[Subscriber]] = {}
    for member in sorted(subscribers, key=_rank):
        for topic in member.topics & topics.keys():
            members.setdefault(topic, []).append(member)
    return dict(sorted(members.items()))


def _places(topic: str, topics: Topics) -> list[Place]:
    info = topics[topic]
    return [Place(topic, info.topic_id, partition) for partition in range(info.partitions)]


class _Balance:
    """An assignment on its way to balance: what each member has, by topic."""

    def __init__(self, members: list[str], by_topic: dict[str, list[str]]) -> None:
        self.assignment: Assignment = {}
        self._by_topic = by_topic
        self._rank = {member: rank for rank, member in enumerate(members)}
        self._count = dict.fromkeys(members, 0)
        self._has: dict[str, dict[str, set[Place]]] = {member: {} for member in members}

    def put(self, place: Place, member: str) -> None:
        """Give a member a place that nobody has."""
        self.assignment[place] = member
        self._count[member] += 1
        self._has[member].setdefault(place.topic, set()).add(place)

    def fill(self, free: Iterable[Place]) -> None:
        """Give each of these to whoever has least; those that few can have first."""
        heaps: dict[tuple[str, ...], list[tuple[int, int, str]]] = {}
        for place in sorted(free, key=lambda place: (len(self._by_topic[place.topic]), place)):
            members = tuple(self._by_topic[place.topic])
            if members not in heaps:
                heaps[members] = [(self._count[member], self._rank[member], member) for member in members]
                heapq.heapify(heaps[members])
            heap = heaps[members]
            while heap[0][0] != self._count[heap[0][2]]:  # it was given something through another heap
                heapq.heapreplace(heap, (self._count[heap[0][2]], *heap[0][1:]))
            count, rank, member = heap[0]
            self.put(place, member)
            heapq.heapreplace(heap, (count + 1, rank, member))

    def level(self, last: Mapping[Place, str]) -> None:
        """Move places until nobody can be relieved; each round makes the sum of squares smaller, so it ends."""
        while chain := self._chain():
            for giver, topic, taker in chain:
                # a new one rather than one that is read already; of those the last
                place = max(self._has[giver][topic], key=lambda place: (last.get(place) != giver, place))
                self._has[giver][topic].remove(place)
                self._count[giver] -= 1
                self.put(place, taker)

    def _chain(self) -> list[tuple[str, str, str]]:
        """Steps (giver, topic, taker) from a member to one with at least two places less; empty if there are none."""
        least = min(self._count.values(), default=0)
        for member in sorted(self._count, key=lambda member: (-self._count[member], self._rank[member])):
            if self._count[member] < least + 2:
                break
            if chain := self._chain_from(member):
                return chain
        return []

    def _chain_from(self, start: str) -> list[tuple[str, str, str]]:
        """The shortest such chain, to the taker that has least."""
        came: dict[str, tuple[str, str]] = {}
        seen_topics: set[str] = set()
        layer = [start]
        while layer:
            reached = []
            for giver in layer:
                for topic in sorted(topic for topic, places in self._has[giver].items() if places):
                    if topic in seen_topics:
                        continue
                    seen_topics.add(topic)
                    for taker in self._by_topic[topic]:
                        if taker != start and taker not in came:
                            came[taker] = (giver, topic)
                            reached.append(taker)
            taker = min(reached, key=lambda member: (self._count[member], self._rank[member]), default=start)
            if self._count[taker] <= self._count[start] - 2:
                return self._steps(came, start, taker)
            layer = reached
        return []

    @staticmethod
    def _steps(came: dict[str, tuple[str, str]], start: str, end: str) -> list[tuple[str, str, str]]:
        steps = []
        while end != start:
            giver, topic = came[end]
            steps.append((giver, topic, end))
            end = giver
        return steps
