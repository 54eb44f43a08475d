"""A broker around a group's state machine: committed offsets, consumers that obey or lag, and wires between them.

Owns: what consumers do with what they are told, and what a coordinator does with effects, also when it dies meanwhile.
Must never: decide who may have what; that is the machine's, which it judges.
Sits: under `test_group_machine`.

A consumer has one connection. What it sends and what it is sent waits there until somebody reads it, and is lost when
the connection breaks. It reads what it was told, later carries it out, and says what it let go of after it did.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from shmq.groups.events import (
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
    TopicInfo,
    TopicsChanged,
)
from shmq.groups.machine import Group

SESSION_MS, POLL_MS = 1000, 3000


@dataclass(frozen=True)
class Told:
    """An `Assign` as it comes over the wire: with the epochs of that moment."""

    number: int
    epochs: dict[Place, int]


@dataclass
class Consumer:
    """A process with one consumer in it."""

    member_id: str
    instance_id: str | None
    topics: tuple[str, ...]
    pattern: str | None
    strategies: tuple[str, ...]
    is_alive: bool = True
    is_in: bool = True  # it wants to be a member; not after it left, was refused, or lost its static identity
    is_known: bool = False  # the coordinator knows who is on this connection
    lives: int = 1
    holds: dict[Place, int] = field(default_factory=dict)
    positions: dict[Place, int] = field(default_factory=dict)
    # of `holds`, what it has against the state: claimed when it came back, or told over an earlier connection
    denied: set[Place] = field(default_factory=set)
    sends: deque[Event] = field(default_factory=deque)
    gets: deque[Told | Expel | Refuse] = field(default_factory=deque)
    in_hand: Told | Expel | Refuse | None = None
    connections: int = 0
    read_over: int = 0  # the connection over which it was told what it has in hand

    def join(self, *, is_new: bool) -> None:
        """Say `join`, as the first thing on a connection or to subscribe to something else."""
        owned = tuple(sorted(self.holds)) if is_new else None
        who = (SESSION_MS, POLL_MS, "client", 1, "python")
        self.sends.append(
            Join(self.member_id, self.instance_id, self.topics, self.pattern, self.strategies, owned, *who)
        )

    def drop(self, places: Iterable[Place]) -> None:
        for place in list(places):
            self.holds.pop(place, None)
            self.positions.pop(place, None)
            self.denied.discard(place)

    def stop(self) -> None:
        """Read nothing any more."""
        self.drop(self.holds)
        self.is_in = False


class World:
    """Everything but the machine."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.topics: dict[str, TopicInfo] = {}
        self.topic_ids = 0
        self.epochs: dict[Place, int] = {}
        self.offsets: dict[Place, int] = {}
        self.consumers: list[Consumer] = []
        self.group = Group()
        self.saved = json.dumps(self.group.to_json())

    # -- the coordinator -----------------------------------------------------------------------------------------------

    def feed(self, event: Event, sender: Consumer | None = None, *, dies_after: int | None = None) -> bool:
        """Let the coordinator take in an event. It may die: -1 before it saved, n after n effects. Whether it lived."""
        if isinstance(event, Join) and sender is not None:
            sender.is_known = True
            before = self.group.members.get(event.member_id)
            if event.owned is not None:
                sender.denied -= set(event.owned)
                sender.denied |= set(event.owned) - (before.owned if before else set())
        members = set(self.group.members)
        effects = self.group.apply(event, self.now_ms)
        self.check_owners()
        if dies_after == -1:
            self.restart()
            return False
        self.saved = json.dumps(self.group.to_json())
        for effect in effects[:dies_after]:
            self.carry_out(effect)
        if dies_after is not None:
            self.restart()
            return False
        self.check_expelled(members - self.group.members.keys())
        return True

    def restart(self) -> None:
        """A new coordinator, from the files; whoever lives connects to it."""
        self.group = Group.from_json(json.loads(self.saved))
        self.now_ms = 5_000  # another boot, perhaps
        assert json.loads(self.saved) == self.group.to_json() == json.loads(json.dumps(self.group.to_json()))
        for consumer in self.consumers:
            self.disconnect(consumer)

    def carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Raise):
            self.check_fencing(effect.place)
            self.epochs[effect.place] = self.epochs.get(effect.place, 1) + 1
            return
        told: Told | Expel | Refuse
        if isinstance(effect, Assign):
            told = Told(effect.number, {place: self.epochs.get(place, 1) for place in effect.places})
        else:
            told = effect
        for consumer in self.consumers:
            if consumer.member_id == effect.member_id and consumer.is_known:
                consumer.gets.append(told)

    def hear(self, consumer: Consumer, *, dies_after: int | None = None) -> None:
        """Read one message of a consumer's."""
        self.feed(consumer.sends.popleft(), consumer, dies_after=dies_after)

    def reap(self, consumer: Consumer, *, dies_after: int | None = None) -> None:
        """Notice that a process is dead."""
        self.disconnect(consumer)
        self.feed(Died(consumer.member_id), dies_after=dies_after)

    # -- topics --------------------------------------------------------------------------------------------------------

    def set_topic(self, name: str, partitions: int, *, anew: bool) -> None:
        """Make a topic, make it anew, add partitions to it, or (0) delete it."""
        if not partitions:
            self.topics.pop(name, None)
        elif anew or name not in self.topics:
            self.topic_ids += 1
            self.topics[name] = TopicInfo(self.topic_ids, partitions)
        else:
            info = self.topics[name]
            self.topics[name] = TopicInfo(info.topic_id, max(partitions, info.partitions))

    def tell_topics(self) -> None:
        self.feed(TopicsChanged(dict(self.topics)))

    # -- consumers -----------------------------------------------------------------------------------------------------

    def start(
        self, instance_id: str | None, topics: tuple[str, ...], pattern: str | None, strategies: tuple[str, ...]
    ) -> Consumer:
        consumer = Consumer(f"m{len(self.consumers)}", instance_id, topics, pattern, strategies)
        self.consumers.append(consumer)
        consumer.join(is_new=True)
        return consumer

    def disconnect(self, consumer: Consumer) -> None:
        """Lose the connection with all that is in it; a living consumer makes a new one."""
        consumer.sends.clear()
        consumer.gets.clear()
        consumer.is_known = False
        consumer.connections += 1
        if consumer.is_alive and consumer.is_in:
            consumer.join(is_new=True)

    def read(self, consumer: Consumer, *, newest: bool) -> None:
        """Take what was told: the next, or the newest of all."""
        consumer.in_hand = consumer.gets.pop() if newest else consumer.gets.popleft()
        consumer.read_over = consumer.connections
        if newest:
            consumer.gets.clear()

    def obey(self, consumer: Consumer, *, same_id: bool) -> None:
        """Carry out what was told, and say so."""
        told, consumer.in_hand = consumer.in_hand, None
        if isinstance(told, Told):
            lost = {place for place, epoch in consumer.holds.items() if told.epochs.get(place, epoch) != epoch}
            gone = consumer.holds.keys() - told.epochs.keys()
            consumer.drop(lost | gone)
            new = told.epochs.keys() - consumer.holds.keys()
            consumer.denied = consumer.denied | new if consumer.read_over < consumer.connections else set()
            for place in new:
                consumer.holds[place] = told.epochs[place]
                consumer.positions[place] = self.offsets.get(place, 0)
            consumer.sends.append(Done(consumer.member_id, told.number))
        elif isinstance(told, Expel) and told.reason != "instance":
            consumer.drop(consumer.holds)
            if not same_id:
                # it may be back under this id by now, over a new connection
                consumer.sends.append(Leave(consumer.member_id))
                consumer.lives += 1
                consumer.member_id = f"{consumer.member_id.partition('/')[0]}/{consumer.lives}"
                consumer.gets.clear()
            consumer.join(is_new=True)
        else:
            consumer.stop()
            self.disconnect(consumer)

    def commit(self, consumer: Consumer, place: Place, records: int) -> bool:
        """Read on and commit. Whether that counted."""
        consumer.positions[place] += records
        if consumer.holds[place] != self.epochs.get(place, 1):
            return False
        assert consumer.positions[place] >= self.offsets.get(place, 0), f"{place} goes back"
        self.offsets[place] = consumer.positions[place]
        return True

    def beat(self, consumer: Consumer, poll_age_ms: int) -> None:
        consumer.sends.append(Beat(consumer.member_id, poll_age_ms))

    def leave(self, consumer: Consumer, *, for_good: bool) -> None:
        consumer.sends.append(Leave(consumer.member_id, for_good))
        consumer.stop()

    def kill(self, consumer: Consumer) -> None:
        """SIGKILL. What it has sent may still be read."""
        consumer.is_alive = False
        consumer.drop(consumer.holds)
        consumer.gets.clear()
        consumer.in_hand = None

    # -- what must hold all the time -----------------------------------------------------------------------------------

    def check_owners(self) -> None:
        """Two members never own the same place."""
        owned = [place for member in self.group.members.values() for place in member.owned]
        assert len(owned) == len(set(owned))

    def check_commits(self) -> None:
        """No two processes could both commit the same place."""
        able = [
            place
            for consumer in self.consumers
            for place, epoch in consumer.holds.items()
            if epoch == self.epochs.get(place, 1)
        ]
        assert len(able) == len(set(able))

    def check_expelled(self, member_ids: set[str]) -> None:
        """Who is a member no longer can not commit from then on, even if nobody has his places yet."""
        for consumer in self.consumers:
            if consumer.member_id in member_ids:
                # a denied place is nobody's; a `Raise` that was lost is made good when somebody gets it
                owned = {place: consumer.holds[place] for place in consumer.holds.keys() - consumer.denied}
                able = [place for place, epoch in owned.items() if epoch == self.epochs.get(place, 1)]
                assert not [place for place in able if self.is_there(place)], f"{consumer.member_id} can commit"

    def is_there(self, place: Place) -> bool:
        info = self.topics.get(place.topic)
        return info is not None and info.topic_id == place.topic_id

    def check_fencing(self, place: Place) -> None:
        """Nobody loses the right to commit who is a member and did as he was told."""
        for consumer in self.consumers:
            if consumer.holds.get(place) == self.epochs.get(place, 1) and place not in consumer.denied:
                assert consumer.member_id not in self.group.members, f"{place} was taken from {consumer.member_id}"
