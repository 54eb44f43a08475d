"""Latest: the newest record and not a backlog; the newest one of a given time."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from shmq import Latest
from shmq.errors import ClosedError, IllegalArgumentError, UnknownTopicOrPartitionError

TYPED = {"dtype": "float32", "shape": "4", "storage": "memory"}


def vectors(count: int) -> np.ndarray:
    return np.arange(4 * count, dtype=np.float32).reshape(count, 4)


@pytest.fixture
def latest(broker):
    opened = []

    def make(topic="t", **configs):
        opened.append(Latest(topic, bootstrap_servers=broker.address, **configs))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_there_is_nothing_newest_in_an_empty_partition(broker, latest):
    broker.create("t")

    assert latest().get() is None
    assert latest().wait(0) is None
    assert latest().as_of(1) is None


def test_the_newest_record_comes_and_not_the_backlog(broker, latest):
    broker.create("t")
    newest = latest()
    producer = broker.producer()
    producer.send_many("t", [b"%d" % number for number in range(1000)])

    found = newest.get()
    again = newest.get()

    assert (found.value, found.offset, found.key) == (b"999", 999, None)
    assert again.offset == 999
    assert found.age_ms >= 0


def test_items_of_a_typed_topic_come_in_place(broker, latest):
    broker.create("t", **TYPED)
    broker.producer().send_array("t", vectors(5), keys=[b"a", b"b", b"c", b"d", b"e"])

    found = latest().get()

    np.testing.assert_array_equal(found.value, vectors(5)[4])
    assert (found.offset, found.key) == (4, b"e")
    assert not found.value.flags.writeable


def test_what_is_too_old_is_not_given(broker, latest):
    broker.create("t")
    broker.producer().send("t", b"old", timestamp_ms=1000)
    newest = latest()

    assert newest.get(max_age_ms=60_000) is None
    assert newest.get().value == b"old"


def test_wait_gives_each_newest_record_once_and_skips_what_came_between(broker, latest):
    broker.create("t")
    newest, producer = latest(), broker.producer()
    producer.send("t", b"first")
    assert newest.wait(0).value == b"first"
    assert newest.wait(0) is None

    producer.send_many("t", [b"second", b"third"])

    assert newest.wait(0).value == b"third"
    assert newest.wait(0) is None


def test_wait_wakes_up_when_a_record_comes(broker, latest):
    broker.create("t")
    newest, producer = latest(), broker.producer()
    found = []
    waiting = threading.Thread(target=lambda: found.append(newest.wait(30_000)))
    waiting.start()

    producer.send("t", b"news")
    waiting.join(30)

    assert [each.value for each in found] == [b"news"]


def test_as_of_gives_the_last_record_before_a_newer_one(broker, latest):
    broker.create("t")
    producer = broker.producer()
    for timestamp_ms in (1000, 2000, 3000):
        producer.send("t", b"%d" % timestamp_ms, timestamp_ms=timestamp_ms)
    newest = latest()

    assert newest.as_of(999) is None
    assert newest.as_of(1000).value == b"1000"
    assert newest.as_of(2500)._replace(key=None) == (b"2000", None, 1, 2000, 500)
    assert newest.as_of(99_000).value == b"3000"
    assert newest.as_of(2500, max_age_ms=499) is None


def test_the_newest_is_found_while_a_small_ring_goes_round(broker, latest):
    broker.create("t", storage="memory", segment_bytes=65536, retention_bytes=131072)
    newest, producer = latest(), broker.producer()
    stop = threading.Event()
    sent = []

    def send():
        while not stop.is_set():
            sent.append(producer.send("t", b"%020d" % len(sent) * 100).get().offset)

    sending = threading.Thread(target=send)
    sending.start()
    offsets = []
    while len(offsets) < 200 or len(sent) < 2000:
        found = newest.get()
        if found is not None:
            assert found.value == b"%020d" % found.offset * 100
            offsets.append(found.offset)
    stop.set()
    sending.join()

    assert offsets == sorted(offsets)
    assert newest.get().offset == sent[-1]


def test_options_that_it_sets_itself_are_refused(broker):
    with pytest.raises(IllegalArgumentError, match="group_id"):
        Latest("t", bootstrap_servers=broker.address, group_id="g")


def test_an_unknown_topic_and_a_closed_one_are_errors(broker, latest):
    with pytest.raises(UnknownTopicOrPartitionError):
        latest("nowhere", allow_auto_create_topics=False)
    broker.create("t")
    with latest() as newest:
        pass
    with pytest.raises(ClosedError):
        newest.get()
