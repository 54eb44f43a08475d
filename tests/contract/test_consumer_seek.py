"""Positions: seek and the two ends, offsets that are asked for, and auto_offset_reset where an offset is not there."""

from __future__ import annotations

import logging
import math
import re

import numpy as np
import pytest

from shmq import TopicPartition, errors

SEGMENT_BYTES = 65536


@pytest.fixture
def place(broker):
    """A partition of 300 records of about 1 KB, with their own offset as value, in five segments or more; all stay."""
    place = broker.create(segment_bytes=SEGMENT_BYTES)
    producer = broker.producer()
    for first in range(0, 300, 10):
        producer.send_many("t", [b"%d" % number + b" " * 1000 for number in range(first, first + 7)])
        for number in range(first + 7, first + 10):
            producer.send("t", b"%d" % number + b" " * 1000)
    assert broker.admin.describe_topics(["t"])[0]["partitions"][0]["segments"] >= 5
    return place


def numbers(records) -> list[int]:
    return [int(record.value) for record in records]


def overrun(broker, topic: str = "t", below: int = 1) -> int:
    """Append until retention has dropped every offset below `below`; return the first one that is left."""
    producer, asking = broker.producer(), broker.consumer()
    for _ in range(2000):
        begin = asking.beginning_offsets([(topic, 0)])[topic, 0]
        if begin >= below:
            return begin
        producer.send(topic, b"0" * 1000)
    raise AssertionError(f"retention has dropped nothing below {begin} yet")


@pytest.fixture
def short(broker):
    """A partition that keeps two segments only, of which ten records are written."""
    place = broker.create(segment_bytes=SEGMENT_BYTES, retention_bytes=2 * SEGMENT_BYTES)
    broker.producer().send_many("t", [b"%d" % number for number in range(10)])
    return place


# -- seeking ---------------------------------------------------------------------------------------------------------


def test_every_offset_can_be_sought_and_read_from(broker, place):
    consumer = broker.consumer("t")

    for offset in [*range(299, -1, -1), *range(0, 300, 7)]:
        consumer.seek(place, offset)
        assert consumer.position(place) == offset
        assert numbers(consumer.poll(max_records=1)[place]) == [offset]
        assert consumer.position(place) == offset + 1


def test_reading_goes_on_from_a_sought_offset_to_the_end(broker, place):
    consumer = broker.consumer("t", consumer_timeout_ms=0)

    consumer.seek(place, 123)

    assert numbers(consumer) == list(range(123, 300))


def test_both_ends_can_be_sought(broker, place):
    consumer = broker.consumer("t")

    consumer.seek_to_end(place)
    at_end = consumer.position(place), consumer.poll()
    broker.producer().send("t", b"300")
    new = numbers(consumer.poll()[place])
    consumer.seek_to_beginning(place)

    assert (at_end, new) == ((300, {}), [300])
    assert (consumer.position(place), numbers(consumer.poll(max_records=2)[place])) == (0, [0, 1])


def test_without_arguments_all_partitions_are_sought(broker):
    broker.create(partitions=3)
    places = [TopicPartition("t", partition) for partition in range(3)]
    for partition in range(3):
        broker.producer().send_many("t", [b"v"] * (partition + 1), partition=partition)
    consumer = broker.consumer("t")

    consumer.seek_to_end()
    ends = [consumer.position(place) for place in places]
    consumer.seek_to_beginning(places[1])
    mixed = [consumer.position(place) for place in places]
    consumer.seek_to_beginning()

    assert (ends, mixed) == ([1, 2, 3], [1, 0, 3])
    assert [consumer.position(place) for place in places] == [0, 0, 0]


def test_an_offset_may_be_any_kind_of_int(broker, place):
    consumer = broker.consumer("t")

    consumer.seek(place, np.int64(7))

    assert consumer.position(place) == 7
    assert type(consumer.position(place)) is int


def test_an_offset_that_cannot_be_is_refused_and_the_position_stays(broker, place):
    consumer = broker.consumer("t")
    consumer.seek(place, 5)

    for offset in (-1, -(1 << 70), 1 << 63, 1.0, math.nan, "1", None, True, b"1"):
        with pytest.raises(
            errors.IllegalArgumentError, match=re.escape(f"offset is an int of 0 to 2**63 - 1, not {offset!r}")
        ):
            consumer.seek(place, offset)

    assert consumer.position(place) == 5


def test_a_partition_that_is_not_assigned_is_named(broker, place):
    consumer = broker.consumer("t")

    for call in (
        lambda place: consumer.seek(place, 0),
        consumer.seek_to_beginning,
        consumer.seek_to_end,
        consumer.position,
        consumer.highwater,
        consumer.pause,
        consumer.resume,
    ):
        with pytest.raises(errors.IllegalStateError, match=r"other-5 is not assigned; assign\(\) it first"):
            call(TopicPartition("other", 5))
        with pytest.raises(TypeError, match="a partition is a TopicPartition"):
            call("t-0")


# -- asking for offsets ----------------------------------------------------------------------------------------------


def test_the_ends_of_partitions_are_told_whether_assigned_or_not(broker, place):
    broker.create("empty")
    empty = TopicPartition("empty", 0)
    reading, other = broker.consumer("t"), broker.consumer()

    for consumer in (reading, other):
        assert consumer.beginning_offsets([place, empty]) == {place: 0, empty: 0}
        assert consumer.end_offsets([place, ("empty", 0)], timeout_ms=1000) == {place: 300, empty: 0}
    assert reading.highwater(place) == 300
    assert reading.position(place) == 0


def test_the_ends_follow_retention_and_appends(broker, short):
    consumer = broker.consumer("t", auto_offset_reset="latest")

    begin = overrun(broker, below=20)
    end = consumer.end_offsets([short])[short]
    broker.producer().send("t", b"1")

    assert consumer.beginning_offsets([short]) == {short: begin}
    assert consumer.end_offsets([short]) == {short: end + 1}
    assert consumer.highwater(short) == end + 1


@pytest.mark.parametrize("method", ["beginning_offsets", "end_offsets"])
def test_what_cannot_be_asked_for_is_refused_and_makes_nothing(broker, place, method):
    ask = getattr(broker.consumer(), method)

    for partitions, timeout_ms, error in [
        ([("missing", 0)], None, errors.UnknownTopicOrPartitionError),
        ([("t", 1)], None, errors.UnknownTopicOrPartitionError),
        ([("a/b", 0)], None, errors.InvalidTopicError),
        (["t"], None, TypeError),
        (TopicPartition("t", 0), None, TypeError),
        ([("t", 0)], -1, ValueError),
        ([("t", 0)], math.nan, ValueError),
        ([("t", 0)], "1", TypeError),
    ]:
        with pytest.raises(error):
            ask(partitions, timeout_ms)

    assert broker.admin.list_topics() == ["t"]


def test_a_timeout_of_position_that_cannot_be_is_refused(broker, place):
    consumer = broker.consumer("t")

    for timeout_ms in (-1, math.nan):
        with pytest.raises(ValueError, match="0 or more milliseconds"):
            consumer.position(place, timeout_ms)


# -- auto_offset_reset -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reset", "expected"), [("earliest", [0, 1]), ("latest", [2])])
def test_a_consumer_begins_where_auto_offset_reset_says(broker, reset, expected):
    place = broker.create()
    broker.producer().send_many("t", [b"0", b"1"])

    consumer = broker.consumer("t", auto_offset_reset=reset)
    if reset == "latest":
        broker.producer().send("t", b"2")

    assert numbers(consumer.poll()[place]) == expected


def test_without_a_reset_nothing_is_read_until_a_position_is_sought(broker, place):
    consumer = broker.consumer("t", auto_offset_reset="none")

    for call in (consumer.poll, lambda: next(consumer), lambda: consumer.position(place)):
        with pytest.raises(errors.NoOffsetForPartitionError, match="t-0 has no position"):
            call()
    consumer.seek(place, 298)

    assert numbers(consumer.poll()[place]) == [298, 299]


@pytest.mark.parametrize("seek", ["seek_to_beginning", "seek_to_end"])
def test_without_a_reset_either_end_is_a_position(broker, place, seek):
    consumer = broker.consumer("t", auto_offset_reset="none")

    getattr(consumer, seek)()

    assert consumer.position(place) == (0 if seek == "seek_to_beginning" else 300)


@pytest.mark.parametrize(("reset", "position"), [("earliest", 0), ("latest", 300)])
def test_an_offset_beyond_the_end_is_reset_by_the_next_poll(broker, place, reset, position, caplog):
    consumer = broker.consumer("t", auto_offset_reset=reset)

    consumer.seek(place, 1000)
    asked = consumer.position(place)
    with caplog.at_level(logging.WARNING, "shmq"):
        got = consumer.poll(max_records=1, update_offsets=False)

    assert (asked, consumer.position(place)) == (1000, position)
    assert [record.offset for records in got.values() for record in records] == ([0] if reset == "earliest" else [])
    assert "t-0: offset 1000 is outside 0..300; going on at the " + reset in caplog.text


def test_an_offset_beyond_the_end_without_a_reset_is_an_error_until_the_log_has_it(broker, place):
    consumer = broker.consumer("t", auto_offset_reset="none")
    consumer.seek(place, 301)

    for _ in range(2):
        with pytest.raises(errors.OffsetOutOfRangeError, match=r"offset 301 is outside 0\.\.300") as raised:
            consumer.poll()
    broker.producer().send_many("t", [b"300", b"301"])

    assert (raised.value.offset, raised.value.begin, raised.value.end) == (301, 0, 300)
    assert consumer.position(place) == 301
    assert numbers(consumer.poll()[place]) == [301]


def test_the_end_itself_is_a_position(broker, place):
    consumer = broker.consumer("t", auto_offset_reset="none")
    consumer.seek(place, 300)

    assert consumer.poll() == {}
    broker.producer().send("t", b"300")
    assert numbers(consumer.poll()[place]) == [300]


def test_an_offset_of_an_empty_partition_is_beyond_its_end(broker):
    place = broker.create()
    consumer = broker.consumer("t", auto_offset_reset="none")
    consumer.seek(place, 0)

    assert consumer.poll() == {}
    consumer.seek(place, 1)
    with pytest.raises(errors.OffsetOutOfRangeError, match=r"offset 1 is outside 0\.\.0"):
        consumer.poll()


# A reader has the file of its segment open, and reads it to its end although retention has dropped it.


def test_a_reader_that_retention_passes_by_goes_on_at_the_earliest(broker, short, caplog):
    consumer = broker.consumer("t", consumer_timeout_ms=0)
    before = numbers(consumer.poll(max_records=3)[short])

    begin = overrun(broker, below=200)
    with caplog.at_level(logging.WARNING, "shmq"):
        offsets = [record.offset for record in consumer]

    (gone,) = [first for first, second in zip(offsets, offsets[1:], strict=False) if second != first + 1]
    assert before == [0, 1, 2]
    assert (offsets[0], offsets[-1]) == (3, consumer.highwater(short) - 1)
    assert offsets == [*range(3, gone + 1), *range(begin, offsets[-1] + 1)]
    assert 10 <= gone < begin - 1
    assert f"t-0: offset {gone + 1} is outside {begin}.." in caplog.text


def test_a_reader_that_retention_passes_by_goes_on_at_the_latest(broker, short):
    consumer = broker.consumer("t", auto_offset_reset="latest", consumer_timeout_ms=0)
    consumer.seek_to_beginning()

    begin = overrun(broker, below=200)
    offsets = [record.offset for record in consumer]
    broker.producer().send("t", b"7")

    assert offsets == list(range(len(offsets)))
    assert 10 <= len(offsets) < begin
    assert numbers(consumer) == [7]
    assert consumer.position(short) == consumer.highwater(short)


def test_a_reader_that_retention_passes_by_without_a_reset_is_told_until_it_seeks(broker, short):
    consumer = broker.consumer("t", auto_offset_reset="none")
    consumer.seek(short, 3)

    begin = overrun(broker, below=200)
    kept = [record.offset for record in consumer.poll()[short]]
    for call in (consumer.poll, lambda: next(consumer), lambda: consumer.poll(timeout_ms=600_000)):
        with pytest.raises(errors.OffsetOutOfRangeError, match=f"offset {kept[-1] + 1} is outside {begin}") as raised:
            call()
    position = consumer.position(short)
    consumer.seek(short, raised.value.begin)

    assert kept == list(range(3, position))
    assert next(consumer).offset == begin


def test_an_offset_that_retention_dropped_is_out_of_range_when_it_is_sought(broker, short):
    begin = overrun(broker)
    told = broker.consumer("t", auto_offset_reset="none")
    moved = broker.consumer("t", auto_offset_reset="earliest")

    told.seek(short, begin - 1)
    moved.seek(short, begin - 1)

    with pytest.raises(errors.OffsetOutOfRangeError, match=f"offset {begin - 1} is outside {begin}"):
        told.poll()
    assert moved.poll(max_records=1)[short][0].offset == begin


def test_retention_of_other_segments_does_not_disturb_a_reader(broker, short):
    consumer = broker.consumer("t", auto_offset_reset="none")
    overrun(broker)
    middle = consumer.end_offsets([short])[short] - 1
    consumer.seek(short, middle)

    overrun(broker, below=consumer.beginning_offsets([short])[short] + 1)

    assert consumer.beginning_offsets([short])[short] <= middle
    assert consumer.poll(max_records=1)[short][0].offset == middle


def test_the_words_of_old_kafka_are_read_with_a_warning(broker, place):
    with pytest.warns(DeprecationWarning, match="now called 'earliest'"):
        consumer = broker.consumer("t", auto_offset_reset="smallest")

    assert consumer.position(place) == 0
