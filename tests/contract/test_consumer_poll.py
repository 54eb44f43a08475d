"""Consumer.poll: what it gives, in which order, when it waits, where that leaves the positions; and pausing."""

from __future__ import annotations

import math
import threading
import time

import pytest

from shmq import TopicPartition


@pytest.fixture
def place(broker):
    return broker.create()


@pytest.fixture
def consumer(broker, place):
    return broker.consumer("t")


def send(broker, first: int, count: int, partition: int = 0) -> None:
    """Append the numbers `first`, `first` + 1, ... as text."""
    broker.producer().send_many("t", [b"%d" % number for number in range(first, first + count)], partition=partition)


def numbers(records) -> list[int]:
    return [int(record.value) for record in records]


# -- poll ------------------------------------------------------------------------------------------------------------


def test_poll_gives_each_partitions_records_in_order(broker):
    broker.create(partitions=3)
    for partition in range(3):
        send(broker, 100 * partition, 50, partition)

    batches = broker.consumer("t").poll(timeout_ms=1000)

    assert {place: numbers(records) for place, records in batches.items()} == {
        TopicPartition("t", partition): list(range(100 * partition, 100 * partition + 50)) for partition in range(3)
    }
    assert [record.offset for record in batches["t", 2]] == list(range(50))


def test_a_partition_without_news_is_absent(broker):
    broker.create(partitions=3)
    send(broker, 0, 1, partition=1)

    batches = broker.consumer("t").poll()

    assert list(batches) == [TopicPartition("t", 1)]


def test_max_records_bounds_one_poll_over_all_partitions(broker):
    broker.create(partitions=2)
    send(broker, 0, 50, partition=0)
    send(broker, 1000, 50, partition=1)
    consumer = broker.consumer("t")
    got, sizes = {}, []

    while batches := consumer.poll(max_records=7):
        sizes.append(sum(map(len, batches.values())))
        for place, records in batches.items():
            got.setdefault(place.partition, []).extend(numbers(records))

    assert sizes == [7] * 14 + [2]
    assert got == {0: list(range(50)), 1: list(range(1000, 1050))}


def test_max_poll_records_is_the_default_of_max_records(broker, place):
    send(broker, 0, 1200)
    consumer, small = broker.consumer("t"), broker.consumer("t", max_poll_records=3)

    assert [len(consumer.poll()[place]) for _ in range(3)] == [500, 500, 200]
    assert [len(small.poll()[place]) for _ in range(2)] == [3, 3]
    assert len(small.poll(max_records=1100)[place]) == 1100


def test_no_partition_starves_another(broker):
    broker.create(partitions=4)
    for partition in range(4):
        send(broker, 0, 100, partition)
    consumer = broker.consumer("t", max_poll_records=10)

    first = [place.partition for _ in range(4) for place in consumer.poll()]

    assert sorted(first) == [0, 1, 2, 3]


def test_poll_without_a_timeout_does_not_wait(consumer):
    assert [consumer.poll(), consumer.poll(0), consumer.poll(timeout_ms=0.0)] == [{}, {}, {}]
    assert consumer.metrics()["consumer-metrics"]["sleep-total"] == 0


@pytest.mark.parametrize("topics", [["t"], []], ids=["an empty partition", "no partition"])
def test_a_wait_for_nothing_lasts_its_timeout_and_gives_an_empty_dict(broker, place, topics):
    consumer = broker.consumer(*topics)
    began = time.monotonic()

    assert consumer.poll(timeout_ms=60.5) == {}

    assert 0.0605 <= time.monotonic() - began < 10


@pytest.mark.parametrize("spin_us", [0, 20, 1_000_000])
@pytest.mark.parametrize("timeout_ms", [60_000, 1 << 70, math.inf])
def test_a_wait_ends_with_the_first_record(broker, place, spin_us, timeout_ms, wait_until):
    consumer = broker.consumer("t", spin_us=spin_us)
    producer = broker.producer()
    inside = threading.Thread(target=lambda: (wait_until(lambda: consumer._is_inside), producer.send("t", b"7")))
    inside.start()

    batches = consumer.poll(timeout_ms)

    inside.join(20)
    assert numbers(batches[place]) == [7]


def test_poll_takes_its_arguments_by_name_and_by_place(broker, place):
    send(broker, 0, 5)
    consumer = broker.consumer("t")

    assert numbers(consumer.poll(0, 2, False)[place]) == [0, 1]
    assert numbers(consumer.poll(max_records=1, update_offsets=True, timeout_ms=0)[place]) == [0]
    assert numbers(consumer.poll(0, max_records=None)[place]) == [1]
    assert numbers(consumer.poll(60_000, 3)[place]) == [2, 3, 4]


def test_arguments_that_cannot_be_are_refused_and_nothing_is_read(broker, place):
    send(broker, 0, 1)
    consumer = broker.consumer("t")

    for args, kwargs, error, said in [
        ((-1,), {}, ValueError, "0 or more milliseconds"),
        ((-0.001,), {}, ValueError, "0 or more milliseconds"),
        ((math.nan,), {}, ValueError, "0 or more milliseconds"),
        ((-(1 << 70),), {}, ValueError, "0 or more milliseconds"),
        (("1",), {}, TypeError, "a number of milliseconds, not str"),
        ((None,), {}, TypeError, "a number of milliseconds, not NoneType"),
        ((True,), {}, TypeError, "a number of milliseconds, not bool"),
        ((0, 0), {}, ValueError, "at least 1, not 0"),
        ((0, -5), {}, ValueError, "at least 1, not -5"),
        ((0, -(1 << 70)), {}, ValueError, "at least 1, not -1180591620717411303424"),
        ((0, 1.5), {}, TypeError, "max_records is an int, not float"),
        ((0, "1"), {}, TypeError, "max_records is an int, not str"),
        ((0, True), {}, TypeError, "max_records is an int, not bool"),
        ((0, 1, True, 1), {}, TypeError, "at most 3 arguments"),
        ((0,), {"timeout_ms": 0}, TypeError, "multiple values for argument 'timeout_ms'"),
        ((), {"timeout": 0}, TypeError, "unexpected keyword argument 'timeout'"),
    ]:
        with pytest.raises(error, match=said):
            consumer.poll(*args, **kwargs)

    assert numbers(consumer.poll()[place]) == [0]


# -- update_offsets --------------------------------------------------------------------------------------------------


def test_a_poll_that_does_not_update_offsets_gives_the_same_records_again(broker, place):
    send(broker, 0, 10)
    consumer = broker.consumer("t")

    shown = [numbers(consumer.poll(0, 4, update_offsets=False)[place]) for _ in range(3)]
    position = consumer.position(place)
    taken = [numbers(consumer.poll(0, 4)[place]) for _ in range(3)]

    assert shown == [[0, 1, 2, 3]] * 3
    assert position == 0
    assert taken == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert (consumer.position(place), consumer.poll()) == (10, {})


def test_what_was_shown_is_given_although_the_log_has_dropped_it_since(broker):
    place = broker.create(segment_bytes=65536, retention_bytes=131072)
    producer = broker.producer()
    producer.send("t", b"first")
    consumer = broker.consumer("t")
    assert consumer.poll(update_offsets=False)[place][0].value == b"first"
    for _ in range(50):
        producer.send("t", b"x" * 10_000)
    assert consumer.beginning_offsets([place])[place] > 0

    (record,) = consumer.poll(max_records=1)[place]

    assert (record.offset, record.value) == (0, b"first")


def test_a_seek_forgets_what_was_shown(broker, place):
    send(broker, 0, 10)
    consumer = broker.consumer("t")
    consumer.poll(0, 4, update_offsets=False)

    consumer.seek(place, 7)

    assert consumer.position(place) == 7
    assert numbers(consumer.poll()[place]) == [7, 8, 9]


# -- pause -----------------------------------------------------------------------------------------------------------


def test_a_paused_partition_is_passed_by_until_it_is_resumed(broker):
    broker.create(partitions=2)
    zero, one = TopicPartition("t", 0), TopicPartition("t", 1)
    send(broker, 0, 3, partition=0)
    send(broker, 10, 3, partition=1)
    consumer = broker.consumer("t")

    consumer.pause(zero)
    while_paused = consumer.poll()
    nothing = consumer.poll(timeout_ms=20)
    paused = consumer.paused()
    consumer.resume(zero)

    assert {place: numbers(records) for place, records in while_paused.items()} == {one: [10, 11, 12]}
    assert (nothing, paused, consumer.paused()) == ({}, {zero}, set())
    assert {place: numbers(records) for place, records in consumer.poll().items()} == {zero: [0, 1, 2]}


def test_news_of_a_paused_partition_does_not_end_a_wait_or_keep_it_awake(broker, place, wait_until):
    consumer = broker.consumer("t")
    consumer.pause(place)
    producer = broker.producer()
    slept = []

    def work():
        wait_until(lambda: consumer._slept)
        producer.send("t", b"1")
        slept.append(consumer._slept)
        wait_until(lambda: not consumer._is_inside)
        slept.append(consumer._slept)

    sender = threading.Thread(target=work)
    sender.start()
    began = time.monotonic()

    batches = consumer.poll(timeout_ms=400)

    sender.join(20)
    assert batches == {}
    assert time.monotonic() - began >= 0.4
    assert slept[0] < slept[1] < slept[0] + 10, "it sleeps on"


def test_pausing_twice_and_seeking_while_paused(broker, place):
    send(broker, 0, 5)
    consumer = broker.consumer("t")

    consumer.pause(place)
    consumer.pause(place)
    consumer.seek(place, 3)

    assert (consumer.paused(), consumer.position(place), consumer.poll()) == ({place}, 3, {})
    consumer.resume(place)
    consumer.resume(place)
    assert numbers(consumer.poll()[place]) == [3, 4]
