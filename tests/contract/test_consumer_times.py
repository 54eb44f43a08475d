"""offsets_for_times: the first record that is not older than a time, over batches and segments."""

from __future__ import annotations

import math
import time

import pytest

from shmq import OffsetAndTimestamp, TopicPartition, errors

SEGMENT_BYTES = 65536


@pytest.fixture
def consumer(broker):
    return broker.consumer()


def send(broker, *timestamps: int, value: bytes = b"v", partition: int = 0) -> None:
    producer = broker.producer()
    for timestamp_ms in timestamps:
        producer.send("t", value, timestamp_ms=timestamp_ms, partition=partition)


def found(consumer, place, timestamp_ms) -> tuple[int, int] | None:
    hit = consumer.offsets_for_times({place: timestamp_ms})[place]
    return None if hit is None else (hit.offset, hit.timestamp)


def test_the_first_record_that_is_not_older_is_found(broker, consumer):
    place = broker.create()
    send(broker, 100, 200, 300)

    hits = {asked: found(consumer, place, asked) for asked in (0, 99, 100, 101, 200, 299, 300, 301)}

    assert hits == {
        0: (0, 100),
        99: (0, 100),
        100: (0, 100),
        101: (1, 200),
        200: (1, 200),
        299: (2, 300),
        300: (2, 300),
        301: None,
    }


def test_the_answer_is_kafka_pythons_tuple_by_partition(broker, consumer):
    broker.create(partitions=3)
    send(broker, 100, partition=0)
    send(broker, 50, 150, partition=1)

    found = consumer.offsets_for_times({("t", 0): 100, TopicPartition("t", 1): 100, TopicPartition("t", 2): 100})

    assert found == {
        TopicPartition("t", 0): OffsetAndTimestamp(0, 100, None),
        TopicPartition("t", 1): OffsetAndTimestamp(1, 150, None),
        TopicPartition("t", 2): None,
    }
    assert consumer.offsets_for_times({}) == {}


def test_of_records_of_one_time_the_first_is_found(broker, consumer):
    place = broker.create()
    send(broker, 100, 200, 200, 200, 300)

    assert found(consumer, place, 200) == (1, 200)
    assert found(consumer, place, 150) == (1, 200)


def test_times_need_not_rise(broker, consumer):
    place = broker.create()
    send(broker, 300, 100, 200, 400, 50)

    assert [found(consumer, place, asked) for asked in (0, 300, 301, 401)] == [(0, 300), (0, 300), (3, 400), None]


def test_a_record_inside_a_batch_is_found(broker, consumer):
    place = broker.create()
    lingering = broker.producer(linger_ms=600_000)
    for number in range(100):
        lingering.send("t", b"v", timestamp_ms=1000 + number // 2)
    lingering.flush()

    assert [found(consumer, place, 1000 + each) for each in (0, 1, 25, 49)] == [
        (0, 1000),
        (2, 1001),
        (50, 1025),
        (98, 1049),
    ]
    assert found(consumer, place, 1050) is None


def test_every_time_is_found_over_many_segments(broker, consumer):
    place = broker.create(segment_bytes=SEGMENT_BYTES)
    send(broker, *range(1000, 3000, 10), value=b"x" * 2000)
    assert broker.admin.describe_topics(["t"])[0]["partitions"][0]["segments"] >= 5

    hits = [found(consumer, place, asked) for asked in range(995, 2995, 10)]

    assert hits == [(number, 1000 + 10 * number) for number in range(200)]
    assert found(consumer, place, 2991) is None


def test_an_older_segment_with_a_later_record_is_not_passed_by(broker, consumer):
    place = broker.create(segment_bytes=SEGMENT_BYTES)
    send(broker, 10, 9000, value=b"x" * 2000)
    send(broker, *range(1000, 2000, 10), value=b"x" * 2000)

    assert found(consumer, place, 1500) == (1, 9000)
    assert found(consumer, place, 9000) == (1, 9000)
    assert found(consumer, place, 9001) is None


def test_what_retention_dropped_is_not_found(broker, consumer):
    place = broker.create(segment_bytes=SEGMENT_BYTES, retention_bytes=2 * SEGMENT_BYTES)
    send(broker, *range(1000, 2000, 10), value=b"x" * 2000)
    (begin,) = consumer.beginning_offsets([place]).values()

    assert begin > 0
    assert found(consumer, place, 0) == (begin, 1000 + 10 * begin)


def test_a_time_is_found_by_the_logs_own_clock_as_well(broker, consumer):
    place = broker.create(message_timestamp_type="LogAppendTime")
    first = broker.producer().send("t", b"v", timestamp_ms=5).get()

    assert found(consumer, place, 6) == (0, first.timestamp)
    assert found(consumer, place, first.timestamp + 1) is None


def test_asking_moves_no_position_and_makes_no_topic(broker):
    place = broker.create()
    send(broker, 100, 200)
    consumer = broker.consumer("t")

    assert found(consumer, place, 200) == (1, 200)
    with pytest.raises(errors.UnknownTopicOrPartitionError):
        consumer.offsets_for_times({("missing", 0): 0})

    assert consumer.position(place) == 0
    assert broker.admin.list_topics() == ["t"]


def test_a_fraction_of_a_millisecond_is_rounded_up(broker, consumer):
    place = broker.create()
    send(broker, 100, 101)

    assert [found(consumer, place, asked) for asked in (99.5, 100.0, 100.001)] == [(0, 100), (0, 100), (1, 101)]


def test_what_cannot_be_asked_for_is_refused(broker, consumer):
    place = broker.create()

    for timestamp_ms in (-1, -0.5, math.nan, math.inf, "now", None, True, 1 << 63):
        with pytest.raises(errors.IllegalArgumentError, match="a timestamp is a number of milliseconds of 0 or more"):
            consumer.offsets_for_times({place: timestamp_ms})
    for timestamps, timeout_ms, error in [
        ({("t", 1): 0}, None, errors.UnknownTopicOrPartitionError),
        ({"t": 0}, None, TypeError),
        ({place: 0}, -1, ValueError),
        ({place: 0}, math.nan, ValueError),
    ]:
        with pytest.raises(error):
            consumer.offsets_for_times(timestamps, timeout_ms)


def test_a_search_behind_a_large_batch_looks_through_it_once(broker):
    """It was looked through again for each of its records: minutes for what takes milliseconds."""
    place = broker.create("t", segment_bytes="8MiB")
    producer, consumer = broker.producer(), broker.consumer()
    sent = producer.send_many("t", [b"x"] * 100_000, timestamp_ms=1000)
    producer.send("t", b"last", timestamp_ms=2000)
    before = time.process_time()

    hit = consumer.offsets_for_times({place: 1001})[place]

    assert len(sent) == 1
    assert (hit.offset, hit.timestamp) == (100_000, 2000)
    assert time.process_time() - before < 5
