"""Join: items of several topics that belong together; nothing is dropped in silence."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from shmq import Join
from shmq.errors import ClosedError, IllegalArgumentError, TopicTypeError, UnknownTopicOrPartitionError

FRAMES, LABELS = {"dtype": "float32", "shape": "2", "storage": "memory"}, {"dtype": "int64", "storage": "memory"}


@pytest.fixture
def join(broker):
    opened = []

    def make(*topics, **configs):
        configs = {"auto_offset_reset": "earliest", **configs}
        opened.append(Join(*(topics or ("frames", "labels")), bootstrap_servers=broker.address, **configs))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def topics(broker):
    broker.create("frames", **FRAMES)
    broker.create("labels", **LABELS)


def frames(*numbers):
    return np.array([[number, 0] for number in numbers], np.float32)


def keys(*numbers):
    return [b"%d" % number for number in numbers]


def send(broker, topic, *numbers, partition=None):
    """Items that are their own keys."""
    array = frames(*numbers) if topic == "frames" else np.array(numbers, np.int64)
    broker.producer().send_array(topic, array, keys(*numbers), partition=partition)


def send_at(broker, topic, *times):
    """Items that are their own timestamps."""
    producer = broker.producer()
    for time in times:
        producer.send_array(topic, frames(time) if topic == "frames" else np.array([time]), timestamp_ms=time)


def numbers(rows):
    return [tuple(None if each is None else int(np.ravel(each.value)[0]) for each in row) for row in rows]


def polled(join, timeout_ms=0):
    """All that comes until nothing does."""
    rows = []
    while found := join.poll(timeout_ms):
        rows += found
    return rows


def test_items_of_the_same_key_come_together(broker, topics, join):
    joined = join()
    send(broker, "frames", 1, 2, 3)
    send(broker, "labels", 3, 1)

    rows = polled(joined)

    assert sorted(numbers(rows)) == [(1, 1), (3, 3)]
    frame, label = next(row for row in rows if row[0].key == b"3")
    np.testing.assert_array_equal(frame.value, [3, 0])
    assert not frame.value.flags.writeable
    assert (frame.offset, frame.partition, label.offset, label.key) == (2, 0, 0, b"3")


def test_what_found_nothing_is_given_out_and_counted(broker, topics, join):
    joined = join()
    send(broker, "frames", 1, 2, 3)
    send(broker, "labels", 3, 4)
    broker.producer().send_array("labels", np.array([5]))

    assert sorted(map(str, numbers(polled(joined)))) == ["(3, 3)", "(None, 5)"], "without a key it is alone at once"
    assert sorted(map(str, numbers(joined.flush()))) == ["(1, None)", "(2, None)", "(None, 4)"]
    assert (joined.joined, joined.missing) == (1, {"frames": 2, "labels": 2})
    assert joined.flush() == []


def test_iterating_gives_row_after_row_and_ends_when_none_comes(broker, topics, join):
    joined = join(consumer_timeout_ms=50)
    send(broker, "frames", 1, 2, 3)
    send(broker, "labels", 1, 2)

    assert numbers(joined) == [(1, 1), (2, 2)]
    send(broker, "labels", 3)
    assert numbers(joined) == [(3, 3)]
    assert joined.joined == 3


@pytest.mark.parametrize("go_on", ["poll", "flush", "__iter__"])
def test_who_stops_iterating_finds_the_other_rows_afterwards(broker, topics, join, go_on):
    joined = join(consumer_timeout_ms=50)
    send(broker, "frames", 1, 2, 3, 4)
    send(broker, "labels", 1, 2, 3, 4)

    first = next(iter(joined))
    others = list(getattr(joined, go_on)())

    assert numbers([first, *others]) == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert joined.joined == 4
    assert joined.flush() == []


def test_a_row_waits_for_its_last_item_and_poll_wakes_up_for_it(broker, topics, join):
    joined = join()
    send(broker, "frames", 1)
    assert joined.poll(0) == []

    child = broker.fork(lambda: send(broker, "labels", 1))

    assert numbers(joined.poll(20_000)) == [(1, 1)]
    child.result()


def test_a_topic_that_is_far_ahead_is_not_read_on_while_the_other_has_something(broker, topics, join):
    """3,000 items of each, 100 may wait; of one a poll could take hundreds, of the other batches of a few."""
    producer, bounds = broker.producer(), [0]
    producer.send_array("frames", frames(*range(3000)), keys(*range(3000)))
    while bounds[-1] < 3000:
        bounds.append(min(3000, bounds[-1] + len(bounds) % 3 + 1))
        numbers_now = range(*bounds[-2:])
        producer.send_array("labels", np.array(numbers_now), keys(*numbers_now))
    joined = join(max_waiting=100)

    assert sorted(numbers(polled(joined))) == [(number, number) for number in range(3000)]
    assert joined.missing == {"frames": 0, "labels": 0}


def test_of_what_waits_in_vain_the_oldest_is_given_out_when_there_is_no_room(broker, topics, join):
    joined = join(max_waiting=10)
    send(broker, "frames", *range(100))

    assert numbers(polled(joined)) == [(number, None) for number in range(90)]

    send(broker, "labels", 95, 3)
    assert numbers(polled(joined)) == [(95, 95)]
    assert sorted(map(str, numbers(joined.flush())))[-1] == "(None, 3)", "too late"
    assert joined.joined + joined.missing["labels"] == 100


def test_topics_of_which_all_wait_in_vain_go_on(broker, topics, join):
    joined = join(max_waiting=10)
    send(broker, "frames", *range(1000))
    send(broker, "labels", *range(1000, 2000))

    rows = polled(joined) + joined.flush()

    assert sorted(number for row in numbers(rows) for number in row if number is not None) == list(range(2000))
    assert (joined.joined, joined.missing) == (0, {"frames": 1000, "labels": 1000})


def test_the_nearest_in_time_come_together(broker, topics, join):
    joined = join(tolerance_ms=5)
    send_at(broker, "frames", 1000, 1010, 1020, 1100, 1200)
    send_at(broker, "labels", 1001, 1018, 1110)

    assert numbers(polled(joined)) == [(1000, 1001), (1010, None), (1020, 1018), (1100, None), (None, 1110)]
    assert numbers(joined.flush()) == [(1200, None)]
    assert (joined.joined, joined.missing) == (2, {"frames": 1, "labels": 3})


def test_three_topics_of_several_partitions_are_joined_by_time(broker, join):
    for topic in "abc":
        broker.create(topic, 2, **LABELS)
    for topic, late in zip("abc", (0, 2, -2), strict=True):
        for time in range(1000, 2000, 10):
            array = np.array([time // 10])
            broker.producer().send_array(topic, array, timestamp_ms=time + late, partition=time // 10 % 2)
    joined = join("a", "b", "c", tolerance_ms=4)

    rows = numbers(polled(joined) + joined.flush())

    assert sorted(rows) == [(number,) * 3 for number in range(100, 200)]


def test_joins_share_partitions_of_the_same_number(broker, join):
    broker.create("frames", 2, **FRAMES)
    broker.create("labels", 2, **LABELS)
    for topic in ("frames", "labels"):
        send(broker, topic, *range(100))

    halves = [numbers(polled(join(partitions=[number]))) for number in range(2)]

    assert all(halves)
    assert sorted(halves[0] + halves[1]) == [(number, number) for number in range(100)]


def test_items_of_varying_length_can_be_joined(broker, join):
    broker.create("texts", dtype="uint8", shape="*", storage="memory")
    broker.create("labels", **LABELS)
    broker.producer().send("texts", np.arange(3, dtype=np.uint8), key=b"1")
    send(broker, "labels", 1)

    [(text, label)] = polled(join("texts", "labels"))

    assert (text.value.tolist(), label.value) == ([0, 1, 2], 1)


def test_rows_outlive_the_join_and_can_be_pickled(broker, topics, join):
    for topic in ("frames", "labels"):
        send(broker, topic, 7)
    with join() as joined:
        rows = polled(joined)

    assert numbers(rows) == numbers(pickle.loads(pickle.dumps(rows))) == [(7, 7)]
    with pytest.raises(ClosedError):
        joined.poll(0)
    assert joined.flush() == []


@pytest.mark.parametrize(
    ("names", "configs", "message"),
    [
        (["frames"], {}, "two or more"),
        (["frames", "frames"], {}, "two or more"),
        (["frames", "labels"], {"tolerance_ms": -1}, "tolerance_ms"),
        (["frames", "labels"], {"tolerance_ms": float("nan")}, "tolerance_ms"),
        (["frames", "labels"], {"max_waiting": 0}, "max_waiting"),
        (["frames", "labels"], {"partitions": []}, "partitions"),
        (["frames", "labels"], {"group_id": "g"}, "group_id"),
        (["frames", "labels"], {"value_deserializer": bytes}, "value_deserializer"),
    ],
)
def test_what_has_no_meaning_is_refused(broker, topics, join, names, configs, message):
    with pytest.raises(IllegalArgumentError, match=message):
        join(*names, **configs)


def test_topics_that_are_not_there_or_have_no_dtype_are_errors(broker, topics, join):
    with pytest.raises(UnknownTopicOrPartitionError):
        join("frames", "nowhere", allow_auto_create_topics=False)
    with pytest.raises(UnknownTopicOrPartitionError):
        join(partitions=[0, 1])
    broker.create("bytes")
    with pytest.raises(TopicTypeError):
        join("frames", "bytes").poll(0)
