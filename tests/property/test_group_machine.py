"""Any order of joins, answers, deaths, restarts and changes of topics: what the group logic promises always holds.

`pytest --hypothesis-profile=long tests/property/test_group_machine.py` takes up to three million steps, in a quarter of
an hour; CI's profile takes a few thousand, always the same ones.

After each step: a place is owned by one member; no two processes could commit the same place; committed offsets do not
go back; nobody lost a place who is a member and did as he was told. Whenever all have read and answered everything:
every place of a subscribed topic is held by a subscriber, in balance, with the right to commit; and if little has
changed since the last rest, little has moved.
"""

from __future__ import annotations

from group_world import POLL_MS, SESSION_MS, Consumer, World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shmq.groups.events import Place, Tick

TOPICS = ("apple", "avocado", "banana")
SUBSCRIPTIONS = [(("apple",), None), (("apple", "banana"), None), (TOPICS, None), ((), "a.*"), ((), ".*")]
STRATEGIES = ["range", "roundrobin", "sticky", "cooperative-sticky"]
STICKY = ("sticky", "cooperative-sticky")

pick = st.integers(0, 1 << 16)
dies_after = st.integers(-1, 6)


class GroupMachine(RuleBasedStateMachine):
    @initialize(
        partitions=st.lists(st.integers(0, 6), min_size=3, max_size=3),
        strategies=st.sampled_from([*([each] for each in STRATEGIES), ["range", "sticky"], ["roundrobin", "range"]]),
    )
    def begin(self, partitions, strategies):
        self.world = World()
        self.strategies = tuple(strategies)
        for name, count in zip(TOPICS, partitions, strict=True):
            self.world.set_topic(name, count, anew=True)
        self.world.tell_topics()

    # -- who there is --------------------------------------------------------------------------------------------------

    @property
    def running(self) -> list[Consumer]:
        return [each for each in self.world.consumers if each.is_alive and each.is_in]

    def one(self, pick: int, consumers: list[Consumer]) -> Consumer | None:
        return consumers[pick % len(consumers)] if consumers else None

    def start(self, pick: int, instance: str | None, *, odd: bool) -> Consumer:
        topics, pattern = SUBSCRIPTIONS[pick % len(SUBSCRIPTIONS)]
        strategies = (STRATEGIES[pick % len(STRATEGIES)],) if odd else self.strategies
        return self.world.start(instance, topics, pattern, strategies)

    # -- consumers -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.running) < 7)
    @rule(pick=pick, instance=st.sampled_from([None, None, None, "i1", "i2"]), odd=st.integers(0, 9))
    def a_consumer_starts(self, pick, instance, odd):
        self.start(pick, instance, odd=odd == 0)

    @rule(pick=pick, newest=st.booleans())
    def a_consumer_reads(self, pick, newest):
        consumer = self.one(pick, [each for each in self.running if each.gets])
        if consumer is not None:
            self.world.read(consumer, newest=newest)

    @rule(pick=pick, same_id=st.booleans())
    def a_consumer_obeys(self, pick, same_id):
        consumer = self.one(pick, [each for each in self.running if each.in_hand])
        if consumer is not None:
            self.world.obey(consumer, same_id=same_id)

    @rule(pick=pick, records=st.integers(0, 5))
    def a_consumer_commits(self, pick, records):
        consumer = self.one(pick, [each for each in self.running if each.holds])
        if consumer is not None:
            places = sorted(consumer.holds)
            self.world.commit(consumer, places[pick % len(places)], records)

    @rule(pick=pick, subscription=st.sampled_from(SUBSCRIPTIONS))
    def a_consumer_subscribes_to_something_else(self, pick, subscription):
        consumer = self.one(pick, self.running)
        if consumer is not None:
            consumer.topics, consumer.pattern = subscription
            consumer.join(is_new=False)

    @rule(pick=pick, dies_after=st.none() | dies_after)
    def a_consumer_hangs(self, pick, dies_after):
        """It does not poll any more, but its thread goes on beating."""
        consumer = self.one(pick, [each for each in self.running if each.holds and not each.sends])
        if consumer is not None:
            self.world.beat(consumer, POLL_MS + 1)
            self.world.hear(consumer, dies_after=dies_after)

    @rule(pick=pick, for_good=st.booleans())
    def a_consumer_leaves(self, pick, for_good):
        consumer = self.one(pick, self.running)
        if consumer is not None:
            self.world.leave(consumer, for_good=for_good)

    @rule(pick=pick)
    def a_consumer_is_killed(self, pick):
        consumer = self.one(pick, self.running)
        if consumer is not None:
            self.world.kill(consumer)

    @rule(pick=pick)
    def a_connection_breaks(self, pick):
        consumer = self.one(pick, self.running)
        if consumer is not None:
            self.world.disconnect(consumer)

    # -- the coordinator -----------------------------------------------------------------------------------------------

    @rule(pick=pick)
    def the_coordinator_reads(self, pick):
        consumer = self.one(pick, [each for each in self.world.consumers if each.sends])
        if consumer is not None:
            self.world.hear(consumer)

    @rule(pick=pick, dies_after=dies_after)
    def the_coordinator_dies_over_a_message(self, pick, dies_after):
        consumer = self.one(pick, [each for each in self.world.consumers if each.sends])
        if consumer is not None:
            self.world.hear(consumer, dies_after=dies_after)

    @rule()
    def the_coordinator_dies(self):
        self.world.restart()

    @rule(awake=pick, same_id=st.booleans())
    def those_who_are_awake_work(self, awake, same_id):
        """They, and the coordinator with them, read and obey what there is; the others lag."""
        for index, consumer in enumerate(self.running):
            if awake >> index & 1:
                while consumer.sends:
                    self.world.hear(consumer)
                if consumer.gets:
                    self.world.read(consumer, newest=True)
                if consumer.in_hand:
                    self.world.obey(consumer, same_id=same_id)

    @rule(pick=pick, dies_after=st.none() | dies_after)
    def a_death_is_noticed(self, pick, dies_after):
        consumer = self.one(pick, [each for each in self.world.consumers if not each.is_alive])
        if consumer is not None:
            self.world.reap(consumer, dies_after=dies_after)

    @rule(
        ms=st.sampled_from([1, SESSION_MS // 2, SESSION_MS, POLL_MS + 1]), awake=pick, dies_after=st.none() | dies_after
    )
    def time_goes_by(self, ms, awake, dies_after):
        world = self.world
        while ms > 0:  # those that are awake beat often enough
            step = min(ms, SESSION_MS // 2)
            ms -= step
            world.now_ms += step
            for index, consumer in enumerate(self.running):
                if awake >> index & 1:
                    world.beat(consumer, 0)
                    while consumer.sends:
                        world.hear(consumer)
            if not world.feed(Tick(), dies_after=dies_after if ms == 0 else None):
                return

    @rule(name=st.sampled_from(TOPICS), partitions=st.integers(0, 6), anew=st.booleans(), is_told=st.booleans())
    def a_topic_changes(self, name, partitions, anew, is_told):
        self.world.set_topic(name, partitions, anew=anew)
        if is_told:
            self.world.tell_topics()

    # -- at rest -------------------------------------------------------------------------------------------------------

    @rule()
    def all_is_quiet(self):
        self.settle()
        before = self.owners()

        self.settle()

        assert self.owners() == before

    @rule(pick=pick)
    def one_joins_when_all_is_quiet(self, pick):
        self.settle()
        before = self.owners()

        newcomer = self.start(pick, None, odd=False)
        self.settle()

        if self.is_even() and self.world.group.strategy in STICKY:
            moved = {place for place, owner in self.owners().items() if before.get(place, owner) != owner}
            assert all(self.owners()[place] == newcomer.member_id for place in moved)

    @rule(pick=pick)
    def one_dies_when_all_is_quiet(self, pick):
        self.settle()
        before = self.owners()
        victim = self.one(pick, [each for each in self.running if each.instance_id is None])
        if victim is None:
            return
        was_even = self.is_even()

        self.world.kill(victim)
        self.world.reap(victim)
        self.settle()

        if was_even and self.world.group.strategy in STICKY:
            moved = {place for place, owner in self.owners().items() if before[place] != owner}
            assert all(before[place] == victim.member_id for place in moved)

    @rule(pick=pick)
    def a_static_member_is_replaced_when_all_is_quiet(self, pick):
        self.settle()
        old = self.one(pick, [each for each in self.running if each.instance_id is not None])
        if old is None:
            return
        before, generation = self.owners(), self.world.group.generation

        if pick & 1:
            self.world.kill(old)
            self.world.reap(old)
        new = self.world.start(old.instance_id, old.topics, old.pattern, old.strategies)
        self.settle()

        assert self.world.group.generation == generation
        renamed = {place: new.member_id if owner == old.member_id else owner for place, owner in before.items()}
        assert self.owners() == renamed
        assert not old.is_alive or not old.is_in

    def settle(self) -> None:
        """All read and answer everything; whoever is dead is found to be."""
        world = self.world
        world.tell_topics()
        for _ in range(100):
            for consumer in world.consumers:
                while consumer.sends:
                    world.hear(consumer)
            for consumer in world.consumers:
                member = world.group.members.get(consumer.member_id)
                if not (consumer.is_alive and consumer.is_in) and member is not None and not member.gone:
                    world.reap(consumer)
            for consumer in self.running:
                if consumer.gets and consumer.in_hand is None:
                    world.read(consumer, newest=True)
                if consumer.in_hand is not None:
                    world.obey(consumer, same_id=False)
            if not any(consumer.sends or consumer.gets or consumer.in_hand for consumer in self.running):
                self.check_rest()
                return
        raise AssertionError("they never come to rest")

    def check_rest(self) -> None:
        world, group = self.world, self.world.group
        wanted = {place for topics in self.subscriptions().values() for place in self.places_of(topics)}
        owners = self.owners()
        assert owners.keys() == wanted
        assert all(place.topic in self.subscriptions()[owner] for place, owner in owners.items())
        assert group.state == ("Stable" if group.members else "Empty")
        for consumer in self.running:
            member = group.members[consumer.member_id]
            assert (member.join.topics, member.join.pattern) == (consumer.topics, consumer.pattern)
            assert consumer.holds.keys() == set(member.owned)
            assert all(world.commit(consumer, place, 1) for place in consumer.holds)
        self.check_balance()

    def check_balance(self) -> None:
        group, subscriptions = self.world.group, self.subscriptions()
        counts = {id_: len(member.owned) for id_, member in group.members.items()}
        if group.strategy in STICKY:
            for place, owner in self.owners().items():
                for other, topics in subscriptions.items():
                    assert place.topic not in topics or counts[owner] - counts[other] < 2
        elif group.strategy == "range":
            for topic in self.world.topics:
                shares = [
                    sum(place.topic == topic for place in member.owned)
                    for id_, member in group.members.items()
                    if topic in subscriptions[id_]
                ]
                assert max(shares, default=0) - min(shares, default=0) < 2
        elif self.is_even():
            assert max(counts.values(), default=0) - min(counts.values(), default=0) < 2

    def owners(self) -> dict[Place, str]:
        return {place: id_ for id_, member in self.world.group.members.items() for place in member.owned}

    def subscriptions(self) -> dict[str, set[str]]:
        """Topics that there are, by member."""
        found = {}
        for id_, member in self.world.group.members.items():
            names = {None: member.join.topics, "a.*": ("apple", "avocado"), ".*": TOPICS}[member.join.pattern]
            found[id_] = set(names) & self.world.topics.keys()
        return found

    def is_even(self) -> bool:
        """All members subscribe to the same."""
        return len({frozenset(topics) for topics in self.subscriptions().values()}) < 2

    def places_of(self, topics: set[str]) -> set[Place]:
        infos = self.world.topics
        return {Place(name, infos[name].topic_id, p) for name in topics for p in range(infos[name].partitions)}

    @invariant()
    def no_two_can_commit(self):
        self.world.check_commits()
        self.world.check_owners()


IS_QUICK = settings().derandomize


def machine(part: int):
    case = type(f"GroupMachine{part}", (GroupMachine,), {}).TestCase
    case.settings = settings(max_examples=200 if IS_QUICK else settings().max_examples // 2)
    return case


# several, since hypothesis keeps in memory all that a test has tried until the test ends
globals().update({f"TestGroupMachine{part}": machine(part) for part in range(1 if IS_QUICK else 20)})
