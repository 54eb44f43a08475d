"""ConsumerRecord: its fields, that they are the reader's own, and that it behaves as kafka-python's named tuple."""

from __future__ import annotations

import copy
import os
import pickle
import time

import pytest

from shmq import TopicPartition

FIELDS = (
    "topic",
    "partition",
    "leader_epoch",
    "offset",
    "timestamp",
    "timestamp_type",
    "key",
    "value",
    "headers",
    "checksum",
    "serialized_key_size",
    "serialized_value_size",
    "serialized_header_size",
)


@pytest.fixture
def record(broker):
    broker.create(partitions=2)
    broker.producer().send("t", b"value", key=b"k", headers=[("h", b"xy"), ("none", None)], partition=1, timestamp_ms=9)
    return broker.read()[0]


def test_a_record_has_kafka_pythons_fields(record):
    assert record._fields == FIELDS
    assert record._asdict() == {
        "topic": "t",
        "partition": 1,
        "leader_epoch": 0,
        "offset": 0,
        "timestamp": 9,
        "timestamp_type": 0,
        "key": b"k",
        "value": b"value",
        "headers": [("h", b"xy"), ("none", None)],
        "checksum": None,
        "serialized_key_size": 1,
        "serialized_value_size": 5,
        "serialized_header_size": 7,
    }
    assert [getattr(record, name) for name in FIELDS] == list(record)


def test_a_record_without_parts_says_so_in_its_sizes(broker):
    broker.create()
    producer = broker.producer()
    producer.send("t", b"")
    producer.send("t", None, key=b"")

    empty, tombstone = broker.read()

    assert (empty.key, empty.value, empty.headers) == (None, b"", [])
    assert (empty.serialized_key_size, empty.serialized_value_size, empty.serialized_header_size) == (-1, 0, -1)
    assert (tombstone.key, tombstone.value, tombstone.headers) == (b"", None, [])
    assert (tombstone.serialized_key_size, tombstone.serialized_value_size) == (0, -1)


def test_sizes_are_those_of_the_bytes_and_not_of_what_a_deserializer_made(broker):
    broker.create()
    broker.producer().send("t", b"12345", key=b"67")

    (record,) = broker.read(value_deserializer=int, key_deserializer=lambda key: "a longer key")

    assert (record.value, record.key) == (12345, "a longer key")
    assert (record.serialized_value_size, record.serialized_key_size) == (5, 2)


@pytest.mark.parametrize(("kind", "number"), [("CreateTime", 0), ("LogAppendTime", 1)])
def test_the_timestamp_type_is_the_topics(broker, kind, number):
    broker.create(message_timestamp_type=kind)
    before_ms = int(time.time() * 1000)
    broker.producer().send("t", b"v", timestamp_ms=5)

    (record,) = broker.read()

    assert record.timestamp_type == number
    assert record.timestamp == 5 if number == 0 else before_ms - 1 <= record.timestamp <= time.time() * 1000 + 1


def test_no_field_can_be_set_or_deleted_and_none_be_added(record):
    before = tuple(record)

    for index, name in enumerate(FIELDS):
        with pytest.raises((AttributeError, TypeError)):
            setattr(record, name, 1)
        with pytest.raises((AttributeError, TypeError)):
            delattr(record, name)
        with pytest.raises(TypeError):
            record[index] = 1
    with pytest.raises(AttributeError):
        record.another = 1

    assert tuple(record) == before


def test_it_unpacks_compares_hashes_and_pickles_as_a_tuple(record):
    topic, partition, _, offset, *_ = record

    assert (topic, partition, offset, len(record), record[-1], record[6:8]) == ("t", 1, 0, 13, 7, (b"k", b"value"))
    assert record == tuple(record) == copy.copy(record) == copy.deepcopy(record) == pickle.loads(pickle.dumps(record))
    assert type(pickle.loads(pickle.dumps(record))) is type(record)
    assert record != record._replace(offset=1)
    assert record._replace(offset=1).offset == 1
    assert hash(record._replace(headers=())) == hash(tuple(record._replace(headers=())))
    assert repr(record).startswith("ConsumerRecord(topic='t', partition=1, leader_epoch=0, offset=0, timestamp=9,")
    with pytest.raises(IndexError):
        record[13]


def test_the_bytes_are_a_copy_that_the_log_cannot_change(broker):
    place = broker.create(segment_bytes=65536, retention_bytes=131072, storage="memory")
    value, key, header = os.urandom(5000), os.urandom(100), os.urandom(50)
    producer = broker.producer()
    producer.send("t", value, key=key, headers=[("h", header)])
    (record,) = broker.read()

    for _ in range(50):
        producer.send("t", b"x" * 10_000)
    assert broker.consumer().beginning_offsets([place])[place] > 0
    broker.admin.delete_topics(["t"])

    assert (record.value, record.key, record.headers) == (value, key, [("h", header)])


def test_the_headers_of_one_record_are_not_those_of_another(broker):
    broker.create()
    producer = broker.producer()
    for _ in range(2):
        producer.send("t", b"v")

    first, second = broker.read()
    first.headers.append(("mine", b""))

    assert (first.headers, second.headers) == ([("mine", b"")], [])


def test_a_large_record_comes_whole(broker):
    place = broker.create(segment_bytes="16MiB", max_message_bytes="8MiB")
    value = os.urandom(1 << 20) * 7
    broker.producer(max_request_size=8 << 20).send("t", value)
    consumer = broker.consumer("t", fetch_max_bytes=1, max_partition_fetch_bytes=1)

    (record,) = consumer.poll(timeout_ms=10_000)[place]

    assert record.value == value


def test_offsets_go_on_over_segments_and_batches(broker):
    place = broker.create(segment_bytes=65536)
    producer = broker.producer()
    for number in range(0, 300, 3):
        producer.send_many("t", [b"%d" % each + b"x" * 1000 for each in range(number, number + 2)])
        producer.send("t", b"%d" % (number + 2) + b"x" * 1000)

    records = broker.read()

    assert [record.offset for record in records] == list(range(300))
    assert [int(record.value.rstrip(b"x")) for record in records] == list(range(300))
    assert {TopicPartition(record.topic, record.partition) for record in records} == {place}
