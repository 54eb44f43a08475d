"""Iterating over a consumer: record after record, mixed with poll, seek and pause, and when it ends."""

from __future__ import annotations

import threading
import time

import pytest

from shmq import TopicPartition


@pytest.fixture
def place(broker):
    return broker.create()


def send(broker, first: int, count: int, partition: int = 0) -> None:
    """Append the numbers `first`, `first` + 1, ... as text."""
    broker.producer().send_many("t", [b"%d" % number for number in range(first, first + count)], partition=partition)


def numbers(records) -> list[int]:
    return [int(record.value) for record in records]


def test_iteration_gives_record_after_record_and_ends_when_none_came_for_consumer_timeout_ms(broker, place):
    send(broker, 0, 1000)
    consumer = broker.consumer("t", consumer_timeout_ms=30)

    got = numbers(consumer)
    began = time.monotonic()
    nothing = list(consumer)
    waited_s = time.monotonic() - began
    send(broker, 1000, 3)

    assert got == list(range(1000))
    assert nothing == []
    assert 0.03 <= waited_s < 10
    assert numbers(consumer) == [1000, 1001, 1002]


def test_iteration_with_a_timeout_of_0_gives_what_is_there(broker, place):
    send(broker, 0, 3)
    consumer = broker.consumer("t", consumer_timeout_ms=0)

    assert numbers(consumer) == [0, 1, 2]
    assert consumer.metrics()["consumer-metrics"]["sleep-total"] == 0


def test_iteration_waits_for_ever_unless_told_otherwise(broker, place, wait_until):
    consumer = broker.consumer("t")
    producer = broker.producer()
    sender = threading.Thread(target=lambda: (wait_until(lambda: consumer._slept >= 2), producer.send("t", b"7")))
    sender.start()

    record = next(consumer)

    sender.join(20)
    assert record.value == b"7"


def test_the_position_is_behind_the_record_that_iteration_gave_last(broker, place):
    send(broker, 0, 10)
    consumer = broker.consumer("t")

    positions = [(next(consumer).offset, consumer.position(place)) for _ in range(10)]

    assert positions == [(offset, offset + 1) for offset in range(10)]


def test_iteration_and_poll_can_be_mixed(broker, place):
    send(broker, 0, 100)
    consumer = broker.consumer("t", consumer_timeout_ms=0)

    got = numbers([next(consumer), next(consumer)])
    got += numbers(consumer.poll(0, 5)[place])
    got += numbers([next(consumer)])
    got += numbers(consumer.poll(0, 3, update_offsets=False)[place])[:1]
    got += numbers(consumer)[1:]

    assert got == list(range(100))


def test_seeking_in_the_middle_of_an_iteration_goes_on_from_there(broker, place):
    send(broker, 0, 10)
    consumer = broker.consumer("t", consumer_timeout_ms=0)
    got = []

    for record in consumer:
        got.append(int(record.value))
        if len(got) == 3:
            consumer.seek(place, 8)
        if len(got) == 5:
            consumer.seek_to_beginning()
        if len(got) == 7:
            consumer.seek_to_end(place)

    assert got == [0, 1, 2, 8, 9, 0, 1]


def test_a_loop_that_is_left_loses_nothing(broker, place):
    send(broker, 0, 10)
    consumer = broker.consumer("t", consumer_timeout_ms=0)
    got = []

    for _ in range(5):
        for record in consumer:
            got.append(int(record.value))
            break
    for batch in consumer.poll().values():
        got += numbers(batch)

    assert got == list(range(10))


def test_pausing_in_the_middle_of_an_iteration_keeps_what_was_read_for_later(broker):
    broker.create(partitions=2)
    zero, one = TopicPartition("t", 0), TopicPartition("t", 1)
    send(broker, 0, 5, partition=0)
    send(broker, 10, 5, partition=1)
    consumer = broker.consumer("t", consumer_timeout_ms=0)
    first = next(consumer)
    mine, other = (zero, one) if first.partition == 0 else (one, zero)

    consumer.pause(mine)
    others = list(consumer)
    position = consumer.position(mine)
    consumer.resume(mine)
    rest = list(consumer)

    assert [(record.partition, record.offset) for record in others] == [(other.partition, each) for each in range(5)]
    assert position == 1
    assert [(record.partition, record.offset) for record in rest] == [(mine.partition, each) for each in range(1, 5)]
