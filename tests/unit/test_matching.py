"""Which items belong together, by key and by time, with as few waiting as one likes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmq.pipelines.matching import ByKey, ByTime, Item


def item(key=None, time=0, offset=0, partition=0):
    return Item(None, key, partition, offset, time)


def at(*times):
    return [item(time=time, offset=offset) for offset, time in enumerate(times)]


def shown(rows, field="timestamp_ms"):
    """A field of each item of each row."""
    return [tuple(None if each is None else getattr(each, field) for each in row) for row in rows]


# -- by key ----------------------------------------------------------------------------------------------------------


def test_a_row_is_complete_when_each_topic_has_the_key():
    matcher = ByKey(3)

    assert matcher.add(0, [item("a", 1), item("b", 2)]) == []
    assert matcher.add(2, [item("b", 3)]) == []
    assert shown(matcher.add(1, [item("b", 4), item("a", 5)])) == [(2, 4, 3)]
    assert [matcher.waiting(topic) for topic in range(3)] == [1, 1, 0]


def test_a_key_that_comes_several_times_is_joined_in_order():
    matcher = ByKey(2)
    matcher.add(0, [item("a", 1), item("a", 2), item("a", 3)])

    assert shown(matcher.add(1, [item("a", 11), item("a", 12)])) == [(1, 11), (2, 12)]
    assert shown(matcher.flush()) == [(3, None)]


def test_an_item_without_a_key_is_alone_at_once():
    assert shown(ByKey(2).add(1, [item(None, 7)])) == [(None, 7)]


def test_of_too_many_that_wait_the_oldest_go_with_what_they_have():
    matcher = ByKey(3)
    matcher.add(0, [item("a", 1), item("b", 2), item("c", 3)])
    matcher.add(1, [item("a", 11)])

    assert shown(matcher.shorten(0, 1)) == [(1, 11, None), (2, None, None)]
    assert [matcher.waiting(topic) for topic in range(3)] == [1, 0, 0]
    assert shown(matcher.flush()) == [(3, None, None)]
    assert matcher.flush() == []


# -- by time ---------------------------------------------------------------------------------------------------------


def by_time(tolerance, partitions=((0,), (0,))):
    return ByTime(partitions, tolerance)


def test_the_nearest_is_taken_and_of_two_as_near_the_older_one():
    matcher = by_time(10)
    matcher.add(0, at(100, 104, 105, 106))
    matcher.add(1, at(99, 110))

    assert shown(matcher.settle()) == [(100, 99), (104, 99), (105, 110), (106, 110)]

    matcher = by_time(10)
    matcher.add(0, at(105))
    matcher.add(1, at(100, 110))
    assert shown(matcher.settle()) == [(105, 100)]


def test_what_is_further_away_than_the_tolerance_is_not_taken():
    matcher = by_time(5)
    matcher.add(0, at(100))
    matcher.add(1, at(94, 106))

    assert shown(matcher.settle()) == [(100, None), (None, 94)]
    assert shown(matcher.flush()) == [(None, 106)]


def test_an_item_waits_until_each_partition_of_the_others_has_come_as_far():
    matcher = by_time(10, ((0,), (0, 1)))
    matcher.add(0, at(100))
    matcher.add(1, [item(time=98, partition=0), item(time=103, partition=0)])

    assert matcher.settle() == []

    matcher.add(1, [item(time=101, partition=1)])
    assert shown(matcher.settle()) == [(100, 101)]


def test_what_could_still_be_wanted_is_kept_and_nothing_else():
    matcher = by_time(1000)
    matcher.add(1, at(*range(0, 100, 10)))
    matcher.add(0, at(41))

    assert shown(matcher.settle()) == [(41, 40), (None, 0), (None, 10), (None, 20), (None, 30)]
    assert matcher.waiting(1) == 6


def test_who_may_want_what_goes_for_want_of_room_is_decided_first():
    matcher = by_time(100, ((0,), (0,), (0,)))
    matcher.add(0, at(10, 35))
    matcher.add(1, at(9, 30, 40))
    assert matcher.settle() == [], "the third has nothing yet"

    assert shown(matcher.shorten(1, 2)) == [(10, 9, None)]
    assert shown(matcher.flush()) == [(35, 30, None), (None, 40, None)]


# -- both ------------------------------------------------------------------------------------------------------------

STEPS = st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 30), max_size=5)), max_size=20)


def run(matcher, steps, most):
    """What was put in, and the rows that came out."""
    put, rows = [], []
    for topic, numbers in steps:
        items = [
            item(f"k{number % 4}" if number % 5 else None, number, len(put) + i) for i, number in enumerate(numbers)
        ]
        put += [(topic, each) for each in items]
        rows += matcher.add(topic, items) + matcher.settle()
        for each in range(3):
            rows += matcher.shorten(each, most)
            assert matcher.waiting(each) <= most
    rows += matcher.flush()
    assert [matcher.waiting(topic) for topic in range(3)] == [0, 0, 0]
    return put, rows


def given_out(rows, topics):
    return Counter((topic, row[topic]) for row in rows for topic in topics if row[topic] is not None)


@given(STEPS, st.integers(1, 5))
def test_by_key_each_item_is_in_exactly_one_row_of_its_key(steps, most):
    put, rows = run(ByKey(3), steps, most)

    assert given_out(rows, range(3)) == Counter(put)
    assert all(len({each.key for each in row if each is not None}) == 1 for row in rows)


@given(STEPS, st.integers(1, 5))
def test_by_time_no_item_is_lost_and_the_first_topics_are_in_one_row_each(steps, most):
    put, rows = run(ByTime([[0]] * 3, 4), steps, most)

    assert given_out(rows, [0]) == Counter(each for each in put if each[0] == 0)
    assert set(given_out(rows, [1, 2])) == {each for each in put if each[0] > 0}
    alone = Counter((topic, row[topic]) for row in rows if row[0] is None for topic in (1, 2) if row[topic] is not None)
    assert max(alone.values(), default=1) == 1
    assert not {each for row in rows if row[0] for each in enumerate(row[1:], 1)} & set(alone), "used, and alone too"


@pytest.mark.parametrize("tolerance", [0, 3, 100])
@given(st.data())
def test_by_time_in_order_every_row_has_the_nearest_whatever_came_first(tolerance, data):
    times = [sorted(data.draw(st.lists(st.integers(0, 50), max_size=15))) for _ in range(3)]
    items = [at(*each) for each in times]
    order = data.draw(st.permutations([topic for topic in range(3) for _ in items[topic]]))
    matcher, rows = ByTime([[0]] * 3, tolerance), []
    rest = [list(each) for each in items]

    for topic in order:
        rows += matcher.add(topic, [rest[topic].pop(0)]) + matcher.settle()
    rows += matcher.flush()

    for row in rows:
        for topic in (1, 2) if row[0] is not None else ():
            far = [abs(time - row[0].timestamp_ms) for time in times[topic]]
            nearest = min(far, default=tolerance + 1)
            got = None if row[topic] is None else abs(row[topic].timestamp_ms - row[0].timestamp_ms)
            assert got == (nearest if nearest <= tolerance else None)
