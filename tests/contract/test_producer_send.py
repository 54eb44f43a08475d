"""Producer.send: what it takes, where it puts it, and what comes out at the other end."""

from __future__ import annotations

import array
import threading
import time
from typing import Any

import numpy as np
import pytest

from shmq import RecordMetadata, TopicPartition, errors
from shmq.partitioner import partition_of_key


@pytest.mark.parametrize("options", [{}, {"linger_ms": 5}, {"value_serializer": lambda value: value}])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("t", b"v", b"k", [("h", b"x")], 1, 1234), {}),
        (("t",), {"value": b"v", "key": b"k", "headers": [("h", b"x")], "partition": 1, "timestamp_ms": 1234}),
        (("t", b"v"), {"timestamp_ms": 1234, "partition": 1, "headers": (("h", b"x"),), "key": b"k"}),
        (
            (),
            {
                "topic": "t",
                "value": b"v",
                "key": b"k",
                "headers": iter([("h", b"x")]),
                "partition": 1,
                "timestamp_ms": 1234,
            },
        ),
        (("t", b"v", b"k", [("h", b"x")], np.int64(1), np.int64(1234)), {}),
    ],
)
def test_every_form_of_call_appends_the_same_record(broker, options, args, kwargs):
    broker.create(partitions=3)
    if hasattr(kwargs.get("headers"), "__next__"):
        kwargs = {**kwargs, "headers": iter([("h", b"x")])}

    sent = broker.producer(**options).send(*args, **kwargs).get(10)

    place = TopicPartition("t", 1)
    assert sent == RecordMetadata("t", 1, place, 0, 1234, None, 1, 1, 2)
    (record,) = broker.read()
    assert record == ("t", 1, 0, 0, 1234, 0, b"k", b"v", [("h", b"x")], None, 1, 1, 2)


@pytest.mark.parametrize("linger_ms", [0, 5])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", b""),
        (b"bytes", b"bytes"),
        (bytearray(b"array"), b"array"),
        (memoryview(b"view"), b"view"),
        (memoryview(b"a view")[2:], b"view"),
        (np.arange(3, dtype="<u2"), b"\0\0\1\0\2\0"),
        (np.float32(0), b"\0\0\0\0"),
        (np.array(7, dtype="<i4"), b"\7\0\0\0"),
        (array.array("i", [1]), b"\1\0\0\0"),
        (b"x" * 200_000, b"x" * 200_000),
    ],
)
def test_anything_bytes_like_is_a_value_and_a_key(broker, linger_ms, value, expected):
    broker.create()
    producer = broker.producer(linger_ms=linger_ms)

    producer.send("t", value)
    producer.send("t", b"v", key=value).get(10)
    producer.send_many("t", [value, b"second"])

    records = broker.read()
    assert [record.value for record in records] == [expected, b"v", expected, b"second"]
    assert [record.key for record in records] == [None, expected, None, None]


def test_a_buffer_that_is_changed_after_send_was_copied(broker):
    broker.create()
    buffer = bytearray(b"before")
    lingering = broker.producer(linger_ms=10_000)

    broker.producer().send("t", buffer)
    lingering.send("t", buffer)
    buffer[:] = b"after!"
    lingering.flush()

    assert broker.values() == [b"before", b"before"]


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_a_record_may_have_no_value_or_no_key_but_not_neither(broker, linger_ms):
    broker.create()
    producer = broker.producer(linger_ms=linger_ms)

    tombstone = producer.send("t", None, key=b"k").get(10)
    bare = producer.send("t", b"v").get(10)
    with pytest.raises(ValueError, match="needs a value or a key"):
        producer.send("t")

    assert (tombstone.serialized_key_size, tombstone.serialized_value_size, tombstone.serialized_header_size) == (
        1,
        -1,
        -1,
    )
    assert (bare.serialized_key_size, bare.serialized_value_size) == (-1, 1)
    first, second = broker.read()
    assert (first.key, first.value, first.serialized_value_size, first.headers) == (b"k", None, -1, [])
    assert (second.key, second.value, second.serialized_key_size) == (None, b"v", -1)


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_headers_keep_order_doubles_unicode_and_none(broker, linger_ms):
    broker.create()
    headers = [("a", b"1"), ("ä€", b""), ("a", b"2"), ("none", None)]

    sent = broker.producer(linger_ms=linger_ms).send("t", b"v", headers=headers).get(10)

    (record,) = broker.read()
    assert record.headers == headers
    assert record.serialized_header_size == sent.serialized_header_size == len("aaä€none".encode()) + 2


@pytest.mark.parametrize("linger_ms", [0, 5])
@pytest.mark.parametrize(
    "headers", [5, "ab", ["ab"], [("a", "b")], [(b"a", b"b")], [("a",)], {"a": b"b"}, [("a", b"b", 1)]]
)
def test_headers_of_a_wrong_type_are_refused_and_nothing_is_appended(broker, linger_ms, headers):
    place = broker.create()
    producer = broker.producer(linger_ms=linger_ms)

    with pytest.raises(TypeError):
        producer.send("t", b"v", headers=headers)

    producer.flush()
    assert broker.consumer().end_offsets([place]) == {place: 0}


@pytest.mark.parametrize("linger_ms", [0, 5])
@pytest.mark.parametrize("value", ["text", 7, 1.5, [b"a"], {"a": 1}, object()])
def test_a_value_or_key_that_is_not_bytes_names_the_serializer_option(broker, linger_ms, value):
    place = broker.create()
    producer = broker.producer(linger_ms=linger_ms)

    with pytest.raises(TypeError, match="serializer"):
        producer.send("t", value)
    with pytest.raises(TypeError, match="serializer"):
        producer.send("t", b"v", key=value)
    with pytest.raises(TypeError, match="serializer"):
        producer.send_many("t", [b"v", value])

    producer.flush()
    assert broker.consumer().end_offsets([place]) == {place: 0}


@pytest.mark.parametrize("linger_ms", [0, 5])
@pytest.mark.parametrize("timestamp_ms", [-1, 1.5, "now", True, 1 << 63, float("nan")])
def test_a_timestamp_that_cannot_be_is_refused(broker, linger_ms, timestamp_ms):
    broker.create()
    producer = broker.producer(linger_ms=linger_ms)

    with pytest.raises(ValueError, match="timestamp_ms"):
        producer.send("t", b"v", timestamp_ms=timestamp_ms)
    with pytest.raises(ValueError, match="timestamp_ms"):
        producer.send_many("t", [b"v"], timestamp_ms=timestamp_ms)

    producer.flush()
    assert broker.values() == []


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_create_time_is_the_senders(broker, linger_ms):
    broker.create()
    producer = broker.producer(linger_ms=linger_ms)
    before = time.time_ns() // 1_000_000

    futures = [
        producer.send("t", b"a", timestamp_ms=5),
        producer.send("t", b"b"),
        producer.send("t", b"c", timestamp_ms=0),
    ]

    stamps = [future.get(10).timestamp for future in futures]
    after = time.time_ns() // 1_000_000
    assert (stamps[0], stamps[2]) == (5, 0)
    assert before - 20 <= stamps[1] <= after + 20
    assert [(record.timestamp, record.timestamp_type) for record in broker.read()] == [(stamp, 0) for stamp in stamps]


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_log_append_time_is_the_appends(broker, linger_ms):
    broker.create(message_timestamp_type="LogAppendTime")
    producer = broker.producer(linger_ms=linger_ms)
    before = time.time_ns() // 1_000_000

    futures = [producer.send("t", b"a", timestamp_ms=5), producer.send("t", b"b")]

    stamps = [future.get(10).timestamp for future in futures]
    assert min(stamps) >= before - 20
    assert [(record.timestamp, record.timestamp_type) for record in broker.read()] == [(stamp, 1) for stamp in stamps]


# -- which partition -------------------------------------------------------------------------------------------------

KEYS = [b"", b"a", b"ab", b"abc", b"abcd", b"21", b"foobar", "ключ".encode(), b"a-little-bit-long-string", b"\xff" * 33]
# org.apache.kafka.common.utils.UtilsTest: murmur2 of these keys
JAVA = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}


@pytest.mark.parametrize("options", [{}, {"linger_ms": 5}, {"value_serializer": lambda value: value}])
def test_keys_go_where_kafkas_java_client_puts_them(broker, options):
    broker.create(partitions=7)
    producer = broker.producer(**options)

    placed = {key: producer.send("t", b"v", key=key) for key in KEYS}

    for key, future in placed.items():
        assert future.get(10).partition == partition_of_key(key, 7)
    for key, murmur2 in JAVA.items():
        assert placed[key].get(10).partition == (murmur2 & 0x7FFFFFFF) % 7


def test_the_partition_asked_for_wins_over_the_key(broker):
    broker.create(partitions=7)

    sent = broker.producer().send("t", b"v", key=b"foobar", partition=3).get()

    assert sent.partition == 3


@pytest.mark.parametrize("keys", [None, []])
def test_no_records_are_a_batch_of_none_with_and_without_keys(broker, keys):
    broker.create()

    assert broker.producer().send_many("t", [], keys=keys, timestamp_ms=1) == []
    assert broker.values() == []


@pytest.mark.parametrize("options", [{}, {"linger_ms": 5}, {"value_serializer": lambda value: value}])
@pytest.mark.parametrize("partition", [3, -1, "0", 1.0, 1 << 70, True])
def test_a_partition_that_is_not_there_is_refused(broker, options, partition):
    broker.create(partitions=3)
    producer = broker.producer(**options)

    with pytest.raises(errors.IllegalArgumentError, match="it has 3, numbered 0 to 2"):
        producer.send("t", b"v", partition=partition)
    with pytest.raises(errors.IllegalArgumentError, match="it has 3, numbered 0 to 2"):
        producer.send_many("t", [b"v"], partition=partition)

    producer.flush()
    assert broker.values() == []


@pytest.mark.parametrize("options", [{}, {"linger_ms": 5}])
def test_records_without_a_key_stick_to_a_partition_for_batch_size_bytes(broker, options):
    broker.create(partitions=4)
    producer = broker.producer(batch_size=1000, **options)

    placed = [future.get(10).partition for future in [producer.send("t", b"x" * 100) for _ in range(200)]]

    runs = [placed[start : start + 10] for start in range(0, 200, 10)]
    assert all(len(set(run)) == 1 for run in runs)
    assert all(before[0] != after[0] for before, after in zip(runs, runs[1:], strict=False))
    assert set(placed) == {0, 1, 2, 3}


# -- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_a_record_larger_than_max_request_size_is_refused_with_both_numbers(broker, linger_ms):
    broker.create(partitions=2)
    producer = broker.producer(max_request_size=100, linger_ms=linger_ms)

    producer.send("t", b"v" * 90, key=b"k" * 10).get(10)
    for send in (
        lambda: producer.send("t", b"v" * 91, key=b"k" * 10),
        lambda: producer.send_many("t", [b"v", b"v" * 101], partition=1),
    ):
        with pytest.raises(errors.MessageSizeTooLargeError) as refused:
            send()
        error = refused.value
        assert (error.topic, error.record_bytes, error.limit_bytes, error.limit) == ("t", 101, 100, "max_request_size")
        assert error.partition in (0, 1)
        assert not error.retriable

    producer.flush()
    assert [record.serialized_value_size for record in broker.read()] == [90]


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_a_record_larger_than_the_topics_limit_is_refused_and_its_neighbours_are_appended(broker, linger_ms):
    broker.create(max_message_bytes=100)
    producer = broker.producer(linger_ms=linger_ms)

    producer.send("t", b"before")
    with pytest.raises(errors.MessageSizeTooLargeError, match="max_message_bytes allows 100"):
        producer.send("t", b"x" * 101)
    with pytest.raises(errors.MessageSizeTooLargeError, match="max_message_bytes allows 100"):
        producer.send_many("t", [b"y", b"x" * 101])
    producer.send("t", b"after").get(10)

    assert broker.values() == [b"before", b"after"]


@pytest.mark.parametrize("linger_ms", [0, 1])
def test_eight_threads_share_a_producer_and_each_keeps_its_order(broker, linger_ms):
    broker.create(partitions=2)
    producer = broker.producer(linger_ms=linger_ms)
    failed: list[Any] = []

    def send(name: int) -> None:
        try:
            for number in range(5000):
                producer.send("t", b"%d %d" % (name, number), partition=number % 2)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=send, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    producer.flush()

    assert failed == []
    seen: dict[tuple[int, int], list[int]] = {}
    for record in broker.read(max_poll_records=5000):
        name, number = map(int, record.value.split())
        seen.setdefault((record.partition, name), []).append(number)
    assert seen == {(part, name): list(range(part, 5000, 2)) for part in range(2) for name in range(8)}
    assert producer.metrics()["producer-metrics"]["record-send-total"] == 40_000
