"""Consumer.poll_arrays: which items it returns, and from where it goes on."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from shmq import ShareConsumer, TopicPartition
from shmq.errors import (
    ClosedError,
    ConcurrentUseError,
    ForkedError,
    IllegalArgumentError,
    IllegalStateError,
    TopicTypeError,
    WakeupError,
)


@pytest.fixture
def ten(broker):
    """Topic "t" of int64, with the numbers 0 to 9 in one batch."""
    place = broker.create(dtype="int64")
    broker.producer().send_array("t", np.arange(10))
    return place


def numbers(batches):
    return [int(each) for batch in batches.values() for each in batch.items]


def drained(consumer):
    found = []
    while batches := consumer.poll_arrays():
        found += numbers(batches)
    return found


def test_no_more_than_max_items_come_at_once(broker, ten):
    consumer = broker.consumer("t", max_poll_records=4)

    assert numbers(consumer.poll_arrays(max_items=3)) == [0, 1, 2]
    [batch] = consumer.poll_arrays().values()
    assert (batch.items.tolist(), batch.offsets.tolist()) == ([3, 4, 5, 6], [3, 4, 5, 6])
    assert consumer.position(ten) == 7
    assert numbers(consumer.poll_arrays()) == [7, 8, 9]
    assert consumer.poll_arrays() == {}


@pytest.mark.parametrize("bad", [0, -1, 1.5, "3", True])
def test_max_items_that_cannot_be_is_refused(broker, ten, bad):
    with pytest.raises((TypeError, ValueError)):
        broker.consumer("t").poll_arrays(max_items=bad)


@pytest.mark.parametrize("bad", [-1, float("nan"), "3"])
def test_a_timeout_that_cannot_be_is_refused(broker, ten, bad):
    with pytest.raises((TypeError, IllegalArgumentError)):
        broker.consumer("t").poll_arrays(bad)


def test_items_that_were_sent_one_by_one_come_as_one_array(broker):
    broker.create(dtype="int64", shape="3")
    producer = broker.producer()
    for number in range(20):
        producer.send("t", np.full(3, number), timestamp_ms=number)

    consumer = broker.consumer("t")
    batches = [batch for _ in range(20) for batch in consumer.poll_arrays().values()]

    assert np.concatenate([batch.items for batch in batches])[:, 0].tolist() == list(range(20))
    assert np.concatenate([batch.offsets for batch in batches]).tolist() == list(range(20))
    assert np.concatenate([batch.timestamps for batch in batches]).tolist() == list(range(20))
    assert all(batch.in_place and not batch.items.flags.writeable for batch in batches)
    assert len(batches) < 20


def test_it_waits_for_a_first_item(broker, ten):
    consumer, producer = broker.consumer("t", auto_offset_reset="latest"), broker.producer()
    assert consumer.poll_arrays() == {}
    sender = threading.Thread(target=lambda: producer.send_array("t", np.arange(3)))

    sender.start()
    found = consumer.poll_arrays(20_000)

    sender.join()
    assert numbers(found) == [0, 1, 2]


def test_it_goes_on_where_the_group_committed(broker, ten):
    with broker.consumer(group_id="g", enable_auto_commit=False) as consumer:
        consumer.assign([ten])
        consumer.poll_arrays(max_items=6)
        consumer.commit()

    with broker.consumer(group_id="g") as later:
        later.assign([ten])
        assert numbers(later.poll_arrays()) == [6, 7, 8, 9]


def test_a_member_of_a_group_reads_arrays(broker, ten, wait_until):
    consumer = broker.consumer("t", group_id="g")

    found = wait_until(lambda: consumer.poll_arrays(100))

    assert numbers(found) == list(range(10))


def test_seeking_and_pausing_hold_for_arrays(broker, ten):
    consumer = broker.consumer("t")

    consumer.seek(ten, 8)
    assert numbers(consumer.poll_arrays()) == [8, 9]
    consumer.seek_to_beginning()
    consumer.pause(ten)
    assert consumer.poll_arrays() == {}
    consumer.resume(ten)
    assert numbers(consumer.poll_arrays(max_items=2)) == [0, 1]


def test_what_iteration_has_read_ahead_comes_first(broker, ten):
    consumer = broker.consumer("t")

    first = next(consumer)

    assert int.from_bytes(first.value, "little") == 0
    assert drained(consumer) == list(range(1, 10))


def test_polls_of_both_kinds_take_turns(broker, ten):
    consumer = broker.consumer("t")

    assert numbers(consumer.poll_arrays(max_items=2)) == [0, 1]
    assert [int.from_bytes(each.value, "little") for each in consumer.poll(max_records=2)[ten]] == [2, 3]
    assert numbers(consumer.poll_arrays(max_items=2)) == [4, 5]


def test_a_consumer_of_untyped_topics_has_no_arrays(broker, ten):
    broker.create("bytes")
    broker.producer().send("bytes", b"12345678")
    consumer = broker.consumer("bytes", "t")

    with pytest.raises(
        TopicTypeError, match=r"topic 'bytes' has records of plain bytes, not typed items; use poll\(\)"
    ):
        consumer.poll_arrays()

    assert sum(map(len, consumer.poll().values())) == 11
    consumer.unsubscribe()
    consumer.assign([ten])
    consumer.seek_to_beginning()
    assert numbers(consumer.poll_arrays()) == list(range(10))


def test_records_that_are_no_items_are_told_from_items(broker, ten):
    """What shares of the log others have written without knowing of types, an older shmq for one."""
    consumer = broker.consumer("t")
    topic = broker.producer()._topic("t")
    topic.appenders[0].append_rows([(None, b"three", None, -1)], 0)

    assert numbers(consumer.poll_arrays()) == list(range(10))
    with pytest.raises(TopicTypeError, match="t"):
        consumer.poll_arrays()
    consumer.seek(ten, 11)
    assert consumer.poll_arrays() == {}


def test_a_value_deserializer_and_arrays_exclude_each_other(broker, ten):
    with pytest.raises(IllegalStateError, match="without value_deserializer"):
        broker.consumer("t", value_deserializer=len).poll_arrays()


@pytest.mark.parametrize("shape", ["", "*"])
def test_no_item_is_skipped_if_a_deserializer_of_keys_raises(broker, shape):
    place = broker.create(dtype="int64", shape=shape)
    broker.producer().send_array("t", np.arange(1), [b"bad"])

    def fail(key):
        raise ZeroDivisionError

    consumer = broker.consumer("t", key_deserializer=fail)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            consumer.poll_arrays()

    assert consumer.position(place) == 0


def test_topics_of_fixed_and_of_varying_items_are_read_together(broker):
    broker.create("fixed", dtype="int16", shape="2")
    broker.create("varying", dtype="int16", shape="*")
    producer = broker.producer()
    producer.send_array("fixed", np.ones((3, 2), np.int16))
    producer.send_array("varying", np.arange(5, dtype=np.int16))

    found = broker.consumer("fixed", "varying").poll_arrays()

    fixed, varying = found[TopicPartition("fixed", 0)], found[TopicPartition("varying", 0)]
    assert (fixed.items.shape, fixed.in_place, fixed.items.flags.writeable) == ((3, 2), False, False)
    assert (varying.items[0].tolist(), varying.in_place) == ([0, 1, 2, 3, 4], True)


def test_single_values_are_read_beside_items_that_vary(broker):
    fixed = broker.create("fixed", dtype="int64")
    broker.create("varying", dtype="int16", shape="*")
    broker.producer().send_array("fixed", np.arange(3))

    found = broker.consumer("fixed", "varying").poll_arrays()

    np.testing.assert_array_equal(found[fixed].items, np.arange(3))
    assert not found[fixed].items.flags.writeable


def test_wakeup_ends_it_and_nothing_is_skipped(broker, ten):
    consumer = broker.consumer("t")

    consumer.wakeup()

    with pytest.raises(WakeupError):
        consumer.poll_arrays(20_000)
    assert numbers(consumer.poll_arrays()) == list(range(10))


def test_it_belongs_to_one_thread_and_one_process(broker, ten):
    consumer = broker.consumer("t", auto_offset_reset="latest")
    failed: list[Exception] = []

    def poll():
        try:
            consumer.poll_arrays(20_000)
        except WakeupError as error:
            failed.append(error)

    def is_refused():
        with pytest.raises(ForkedError):
            consumer.poll_arrays()

    broker.fork(is_refused).result()
    thread = threading.Thread(target=poll)
    thread.start()
    try:
        while not consumer._is_inside:
            pass
        with pytest.raises(ConcurrentUseError):
            consumer.poll_arrays()
    finally:
        consumer.wakeup()
        thread.join()
    assert len(failed) == 1


def test_it_is_over_when_the_consumer_is_closed(broker, ten):
    consumer = broker.consumer("t")
    consumer.poll_arrays()

    consumer.close()

    with pytest.raises(ClosedError):
        consumer.poll_arrays()


def test_a_share_group_gets_items_as_bytes(broker, ten):
    with ShareConsumer("t", group_id="g", bootstrap_servers=broker.address) as consumer:
        [records] = consumer.poll(20_000).values()

    assert [int.from_bytes(record.value, "little") for record in records] == list(range(10))
