"""Latest: the newest record and not a backlog; the newest one of a given time."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest

from shmq import Latest, _native
from shmq.errors import ClosedError, IllegalArgumentError, UnknownTopicOrPartitionError

TYPED = {"dtype": "float32", "shape": "4", "storage": "memory"}


def vectors(count: int) -> np.ndarray:
    return np.arange(4 * count, dtype=np.float32).reshape(count, 4)


def leave_claim(broker, records: int = 1, topic: str = "t", by: int = signal.SIGKILL):
    """Let a producer die, or stop, in the middle of an append."""

    def stop():
        with broker.producer() as producer:
            producer.partitions_for(topic)
            _native.fault_arm("journal.claim.after", 1, by)
            producer.send_many(topic, [b"lost"] * records)

    child = broker.fork(stop)
    if by == signal.SIGKILL:
        child.reap()
    return child


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


def test_what_a_backlog_costs_does_not_grow_with_it(broker, latest):
    broker.create("t")
    broker.producer().send_many("t", [b"%d" % number for number in range(10_000)])
    newest = latest()

    assert newest.get().offset == 9999

    assert newest._consumer.metrics()["consumer-metrics"]["records-consumed-total"] == 1


@pytest.mark.parametrize("holes", [1, 2, 3, 5, 100])
def test_offsets_of_appends_that_died_are_stepped_over(broker, latest, holes):
    broker.create("t")
    producer = broker.producer()
    for number in range(10):
        producer.send("t", b"%d" % number, timestamp_ms=1000 + number)
    leave_claim(broker, holes)
    newest = latest()

    assert (newest.get().value, newest.get().offset) == (b"9", 9)
    assert newest.as_of(2000).offset == 9
    assert newest.as_of(1004).offset == 4


def test_what_lies_before_holes_is_the_last_of_it_though_one_poll_does_not_take_it_all(broker, latest):
    """Behind 3 holes it looks at 4 records at once: of arrays a poll gives one batch, of bytes max_partition_fetch_bytes."""
    broker.create("t", segment_bytes="8MiB", max_message_bytes="1MiB")
    producer = broker.producer()
    for number in range(8):
        producer.send("t", b"%d" % number * 500_000)
    leave_claim(broker, 3)

    assert latest().get().offset == 7


def test_items_before_holes_are_found_too(broker, latest):
    broker.create("t", **TYPED)
    producer = broker.producer()
    for count in (3, 1, 2, 1):
        producer.send_array("t", vectors(count))

    def die():
        with broker.producer() as producer:
            producer.partitions_for("t")
            _native.fault_arm("journal.claim.after", 1, signal.SIGKILL)
            producer.send_array("t", vectors(3))

    broker.fork(die).reap()

    found = latest().get()

    assert found.offset == 6
    np.testing.assert_array_equal(found.value, vectors(1)[0])


def test_there_is_nothing_where_every_append_died(broker, latest):
    broker.create("t")
    leave_claim(broker, 10)

    assert latest().get() is None
    assert latest().wait(0) is None


def test_an_append_under_way_hides_nothing_that_was_given_before(broker, latest, wait_until):
    """Offsets 0, then one of a producer that stands still, then 2, then three of another one."""
    place = broker.create("t", claim_timeout_ms=600_000)
    producer, newest = broker.producer(), latest()
    producer.send("t", b"first")
    stopped = [leave_claim(broker, 1, by=signal.SIGSTOP)]
    wait_until(lambda: newest._consumer.end_offsets([place])[place] == 2)
    assert newest.get().value == b"first"
    producer.send("t", b"second")
    assert newest.wait(0).value == b"second"

    stopped.append(leave_claim(broker, 3, by=signal.SIGSTOP))
    wait_until(lambda: newest._consumer.end_offsets([place])[place] == 6)

    assert newest.get().value == b"second"
    assert newest.wait(0) is None
    for child in stopped:
        child.kill()


def test_as_of_gives_nothing_newer_while_records_come(broker, latest):
    broker.create("t", storage="memory")
    newest = latest()

    def send():
        with broker.producer() as producer:
            for timestamp_ms in range(1000, 100_000_000):
                producer.send("t", b"tick", timestamp_ms=timestamp_ms)

    child = broker.fork(send)
    assert newest.wait(30_000) is not None
    found = 0
    for _ in range(2000):
        now = newest.get().timestamp_ms

        then = newest.as_of(now)

        assert then is None or then.timestamp_ms == now  # None: the ring went round in between
        found += then is not None
    assert found > 0
    child.kill()


def test_producers_do_not_wait_for_it(broker, latest):
    place = broker.create_queue("t")
    newest = latest()
    newest.get()
    producer, consumer = broker.producer(max_block_ms=0), broker.consumer()
    consumer.assign([place])

    for _ in range(400):  # three times what the ring holds
        producer.send("t", b"x" * 1000)
        while consumer.poll(0):
            pass

    assert newest.get().offset == 399
