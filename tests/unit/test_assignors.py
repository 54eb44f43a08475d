"""Assignors: Kafka's own examples, the best balance that there is, and as few moves as that takes."""

from __future__ import annotations

import itertools
import random
import time

import pytest

from shmq.groups.assignors import ASSIGNORS, Subscriber, assign, choose_strategy
from shmq.groups.events import Place, TopicInfo

SEED = 20261126
STICKY = ["sticky", "cooperative-sticky"]


def subscriber(member_id, topics, instance_id=None):
    return Subscriber(member_id, instance_id, frozenset(topics.split()))


def infos(**partitions):
    return {name: TopicInfo(number, count) for number, (name, count) in enumerate(partitions.items(), 7)}


def shown(shares):
    """Shares as Kafka's documentation writes them: `t0p0 t0p2`."""
    return {
        member: " ".join(f"{place.topic}p{place.partition}" for place in sorted(places))
        for member, places in shares.items()
    }


def owners(shares):
    return {place: member for member, places in shares.items() for place in places}


def moved(shares, last):
    """Places that are at another member than before, not counting those that were nobody's."""
    return [place for place, member in owners(shares).items() if last.get(place, member) != member]


def squares(counts):
    return sum(count * count for count in counts)


# -- as in Kafka -------------------------------------------------------------------------------------------------------


def test_range_gives_neighbours_topic_by_topic_as_in_kafka():
    members = [subscriber("C0", "t0 t1"), subscriber("C1", "t0 t1")]

    shares = assign("range", members, infos(t0=3, t1=3), {})

    assert shown(shares) == {"C0": "t0p0 t0p1 t1p0 t1p1", "C1": "t0p2 t1p2"}


def test_range_considers_only_members_that_subscribe_to_the_topic():
    members = [subscriber("C0", "t0"), subscriber("C1", "t0 t1"), subscriber("C2", "t1")]

    shares = assign("range", members, infos(t0=3, t1=3), {})

    assert shown(shares) == {"C0": "t0p0 t0p1", "C1": "t0p2 t1p0 t1p1", "C2": "t1p2"}


def test_roundrobin_deals_all_partitions_in_turn_as_in_kafka():
    members = [subscriber("C0", "t0 t1"), subscriber("C1", "t0 t1")]

    shares = assign("roundrobin", members, infos(t0=3, t1=3), {})

    assert shown(shares) == {"C0": "t0p0 t0p2 t1p1", "C1": "t0p1 t1p0 t1p2"}


def test_roundrobin_passes_over_members_without_the_topic_as_in_kafka():
    members = [subscriber("C0", "t0"), subscriber("C1", "t0 t1"), subscriber("C2", "t0 t1 t2")]

    shares = assign("roundrobin", members, infos(t0=1, t1=2, t2=3), {})

    assert shown(shares) == {"C0": "t0p0", "C1": "t1p0", "C2": "t1p1 t2p0 t2p1 t2p2"}


def test_sticky_deals_in_turn_at_first_as_in_kafka():
    members = [subscriber(name, "t0 t1 t2 t3") for name in ("C0", "C1", "C2")]

    shares = assign("sticky", members, infos(t0=2, t1=2, t2=2, t3=2), {})

    assert shown(shares) == {"C0": "t0p0 t1p1 t3p0", "C1": "t0p1 t2p0 t3p1", "C2": "t1p0 t2p1"}


def test_sticky_moves_only_what_a_leaver_had_as_in_kafka():
    members = [subscriber(name, "t0 t1 t2 t3") for name in ("C0", "C1", "C2")]
    topics = infos(t0=2, t1=2, t2=2, t3=2)
    first = assign("sticky", members, topics, {})

    shares = assign("sticky", members[:1] + members[2:], topics, owners(first))

    assert shares["C0"] > first["C0"]
    assert shares["C2"] > first["C2"]
    assert {len(places) for places in shares.values()} == {4}


def test_sticky_with_other_topics_for_each_is_balanced_as_in_kafka():
    members = [subscriber("C0", "t0"), subscriber("C1", "t0 t1"), subscriber("C2", "t0 t1 t2")]

    shares = assign("sticky", members, infos(t0=1, t1=2, t2=3), {})

    assert shown(shares) == {"C0": "t0p0", "C1": "t1p0 t1p1", "C2": "t2p0 t2p1 t2p2"}


@pytest.mark.parametrize("strategy", ["range", "roundrobin"])
def test_static_members_come_first_and_by_their_identity(strategy):
    members = [subscriber("a", "t"), subscriber("z", "t", "i0"), subscriber("b", "t", "i1")]

    shares = assign(strategy, members, infos(t=3), {})

    assert shown(shares) == {"z": "tp0", "b": "tp1", "a": "tp2"}


# -- every strategy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ASSIGNORS)
def test_members_without_partitions_have_an_empty_share(strategy):
    members = [subscriber("a", "t gone"), subscriber("b", "t"), subscriber("c", "")]

    shares = assign(strategy, members, infos(t=1, other=5), {})

    assert shown(shares) == {"a": "tp0", "b": "", "c": ""}


@pytest.mark.parametrize("strategy", ASSIGNORS)
def test_the_order_of_members_and_topics_makes_no_difference(strategy):
    rng = random.Random(SEED)
    members = [subscriber(f"m{n}", rng.choice(["t0 t1 t2", "t0", "t1 t2"])) for n in range(9)]
    topics = infos(t0=7, t1=5, t2=6)
    last = owners(assign("roundrobin", members[:4], topics, {}))
    expected = assign(strategy, members, topics, last)

    for _ in range(20):
        rng.shuffle(members)
        shuffled = dict(rng.sample(list(topics.items()), len(topics)))
        assert assign(strategy, members, shuffled, dict(rng.sample(list(last.items()), len(last)))) == expected


@pytest.mark.parametrize("strategy", ASSIGNORS)
def test_64_members_share_256_partitions_in_a_few_milliseconds(strategy):
    members = [subscriber(f"m{n}", "t0 t1 t2 t3") for n in range(64)]
    topics = infos(t0=64, t1=64, t2=64, t3=64)
    last = owners(assign(strategy, members, topics, {}))
    times = []

    for _ in range(5):
        begun = time.process_time()
        shares = assign(strategy, members[1:], topics, last)
        times.append(time.process_time() - begun)

    assert {len(places) for places in shares.values()} <= {4, 5, 6, 7, 8}
    assert min(times) < 0.01


# -- sticky ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STICKY)
def test_a_place_that_was_made_anew_or_is_nobodys_any_more_is_dealt_anew(strategy):
    members = [subscriber("a", "t"), subscriber("b", "t")]
    last = {Place("t", 99, 0): "a", Place("t", 7, 1): "gone"}

    shares = assign(strategy, members, infos(t=2), last)

    assert shown(shares) == {"a": "tp0", "b": "tp1"}


def test_sticky_keeps_all_where_it_is_once_it_is_balanced():
    rng = random.Random(SEED)
    for _ in range(200):
        members, topics = some_members(rng)
        shares = assign("sticky", members, topics, {})

        assert assign("sticky", members, topics, owners(shares)) == shares


def test_sticky_with_equal_subscriptions_moves_as_little_as_balance_allows():
    rng = random.Random(SEED)
    for _ in range(300):
        count = rng.randint(1, 6)
        members = [subscriber(f"m{n}", "t0 t1") for n in range(count)]
        topics = infos(t0=rng.randint(0, 8), t1=rng.randint(0, 8))
        places = [Place(name, info.topic_id, p) for name, info in topics.items() for p in range(info.partitions)]
        last = {place: f"m{int(rng.triangular(0, count, 0))}" for place in places if rng.random() < 0.8}

        shares = assign("sticky", members, topics, last)

        share, extra = divmod(len(places), count)
        had = sorted((sum(owner == f"m{n}" for owner in last.values()) for n in range(count)), reverse=True)
        needed = sum(max(0, before - share - (rank < extra)) for rank, before in enumerate(had))
        assert {len(mine) for mine in shares.values()} <= {share, share + 1}
        assert len(moved(shares, last)) == needed


def test_sticky_is_as_balanced_as_any_assignment_can_be():
    rng = random.Random(SEED)
    for _ in range(150):
        members, topics = some_members(rng, partitions=3)
        places = [Place(name, info.topic_id, p) for name, info in topics.items() for p in range(info.partitions)]
        takers = [[each.member_id for each in members if place.topic in each.topics] for place in places]
        last = {
            place: rng.choice(able) for place, able in zip(places, takers, strict=True) if able and rng.random() < 0.7
        }

        shares = assign("sticky", members, topics, last)

        choices = [able for able in takers if able]
        best = min(squares(choice.count(each.member_id) for each in members) for choice in itertools.product(*choices))
        assert squares(len(mine) for mine in shares.values()) == best


def test_sticky_passes_places_along_a_chain_where_no_single_move_helps():
    members = [subscriber("a", "t0"), subscriber("b", "t0 t1"), subscriber("c", "t1")]
    topics = infos(t0=3, t1=3)
    last = {Place("t0", 7, p): "a" for p in range(3)} | {Place("t1", 8, p): "b" for p in range(2)}
    last[Place("t1", 8, 2)] = "c"

    shares = assign("sticky", members, topics, last)

    assert [len(shares[name]) for name in "abc"] == [2, 2, 2]
    assert len(moved(shares, last)) == 2


def test_sticky_moves_places_that_nobody_reads_yet_rather_than_others():
    members = [subscriber("a", "t0 t1 t2"), subscriber("b", ""), subscriber("c", "t0 t1 t2"), subscriber("d", "t0")]
    had = {"a": "t0p2 t1p2 t1p3 t2p0 t2p2", "c": "t0p0 t0p1 t2p1 t2p3 t2p4", "d": "t0p3"}
    numbers = {"t0": 7, "t1": 8, "t2": 9}
    last = {
        Place(text[:2], numbers[text[:2]], int(text[3])): member for member, row in had.items() for text in row.split()
    }

    shares = assign("sticky", members, infos(t0=4, t1=4, t2=5), last)

    assert sorted(len(mine) for mine in shares.values()) == [0, 4, 4, 5]
    assert len(moved(shares, last)) == 3


def some_members(rng, partitions=6):
    names = ["t0", "t1", "t2"]
    topics = infos(**{name: rng.randint(0, partitions) for name in names})
    count = rng.randint(1, 4)
    return [subscriber(f"m{n}", " ".join(rng.sample(names, rng.randint(0, 3)))) for n in range(count)], topics


# -- which strategy ----------------------------------------------------------------------------------------------------


def test_the_strategy_is_one_that_all_know_and_most_like_best():
    assert choose_strategy([("range", "sticky"), ("sticky", "range"), ("sticky", "range")], None) == "sticky"
    assert choose_strategy([("range", "sticky"), ("roundrobin", "sticky")], None) == "sticky"
    assert choose_strategy([("mine", "range"), ("range", "mine")], None) == "range"


def test_the_strategy_stays_when_others_have_as_many_votes():
    choices = [("range", "sticky"), ("sticky", "range")]

    assert choose_strategy(choices, "sticky") == "sticky"
    assert choose_strategy(choices, "range") == "range"


def test_there_is_no_strategy_without_one_in_common():
    assert choose_strategy([("range",), ("sticky",)], "range") is None
    assert choose_strategy([("mine",)], None) is None
    assert choose_strategy([()], None) is None
