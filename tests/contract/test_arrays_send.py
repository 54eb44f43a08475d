"""Typed topics: what is sent, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from shmq import TopicPartition
from shmq.errors import (
    BufferFullError,
    IllegalArgumentError,
    InvalidConfigurationError,
    MessageSizeTooLargeError,
    TopicTypeError,
    UnknownTopicOrPartitionError,
)
from shmq.partitioner import partition_of_key

SEGMENT_BYTES = 65536
VECTORS = {"dtype": "float32", "shape": "256"}  # 1 KiB an item


def vectors(count, first=0):
    return np.arange(first * 256, (first + count) * 256, dtype=np.float32).reshape(count, 256)


def read_all(broker, topic="t"):
    """Items of a topic, partition by partition, as one array."""
    consumer = broker.consumer(topic)
    found = {place: [] for place in sorted(consumer.assignment())}
    while batches := consumer.poll_arrays(max_items=1_000_000):
        for place, batch in batches.items():
            found[place].append(np.array(batch.items))
    return {place.partition: np.concatenate(arrays) for place, arrays in found.items() if arrays}


@pytest.mark.parametrize("storage", ["disk", "memory"])
@pytest.mark.parametrize(
    ("dtype", "shape", "array"),
    [
        ("float32", "256", vectors(10)),
        ("int64", "", np.arange(1000)),
        ("bool", "3", np.ones((5, 3), bool)),
        ("x:f4,y:i8", "2", np.ones((5, 2), [("x", "f4"), ("y", "i8")])),
        ("datetime64[ns]", "", np.arange(5).astype("M8[ns]")),
        ("S5", "", np.array([b"one", b"two"], "S5")),
        ("complex64", "2,3,4", np.full((3, 2, 3, 4), 1 + 2j, np.complex64)),
    ],
)
def test_what_is_read_is_what_was_sent(broker, storage, dtype, shape, array):
    broker.create(storage=storage, dtype=dtype, shape=shape)

    [placed] = broker.producer().send_array("t", array, timestamp_ms=1234)

    [batch] = broker.consumer("t").poll_arrays(max_items=10_000).values()
    assert placed == ("t", 0, 0, len(array), 1234)
    assert batch.items.dtype == array.dtype
    np.testing.assert_array_equal(batch.items, array)
    assert batch.offsets.tolist() == list(range(len(array)))
    assert batch.timestamps.tolist() == [1234] * len(array)
    assert (batch.keys, batch.in_place, len(batch)) == (None, True, len(array))


def test_items_of_varying_length_are_sent_one_by_one(broker):
    broker.create(dtype="float32", shape="*,3")
    producer = broker.producer()

    placed = [producer.send_array("t", np.full((n, 3), n, np.float32), [b"%d" % n]) for n in (1, 5, 2, 2)]

    [batch] = broker.consumer("t").poll_arrays().values()
    assert [each[0].base_offset for each in placed] == [0, 1, 2, 3]
    assert [item.shape for item in batch.items] == [(1, 3), (5, 3), (2, 3), (2, 3)]
    assert all((item == len(item)).all() and not item.flags.writeable for item in batch.items)
    assert batch.offsets.tolist() == [0, 1, 2, 3]
    assert batch.keys == [b"1", b"5", b"2", b"2"]
    assert (batch.in_place, len(batch)) == (True, 4)


def test_keys_place_items_as_send_places_records(broker):
    broker.create(partitions=3, **VECTORS)
    keys = [b"%d" % number for number in range(50)]

    placed = broker.producer().send_array("t", vectors(50), keys)

    assert sum(each.count for each in placed) == 50
    batches = broker.consumer("t").poll_arrays()
    for place, batch in batches.items():
        mine = [number for number in range(50) if partition_of_key(keys[number], 3) == place.partition]
        assert batch.keys == [keys[number] for number in mine]
        np.testing.assert_array_equal(batch.items, vectors(50)[mine])
    assert len(batches) == 3


def test_keys_go_through_the_serializer_and_none_is_no_key(broker):
    broker.create(**VECTORS)

    broker.producer(key_serializer=lambda key: key and key.encode()).send_array("t", vectors(2), ["anna", None])

    [batch] = broker.consumer("t", key_deserializer=bytes.decode).poll_arrays().values()
    assert batch.keys == ["anna", None]


def test_a_partitioner_is_asked_for_each_item(broker):
    broker.create(partitions=2, dtype="int64")

    def by_value(topic, key, key_bytes, value, value_bytes, cluster):
        assert int.from_bytes(value_bytes, "little") == value
        return int(value) % 2

    class Partitioner:
        partition = staticmethod(by_value)

    broker.producer(partitioner=Partitioner()).send_array("t", np.arange(10))

    assert {number: items.tolist() for number, items in read_all(broker).items()} == {
        0: [0, 2, 4, 6, 8],
        1: [1, 3, 5, 7, 9],
    }


def test_no_items_are_no_batch(broker):
    broker.create(**VECTORS)

    assert broker.producer().send_array("t", vectors(0)) == []
    assert broker.producer().send_array("t", vectors(0), keys=[]) == []

    assert broker.consumer("t").poll_arrays() == {}


def test_keys_that_are_not_as_many_are_refused_before_anything_is_appended(broker):
    broker.create(**VECTORS)

    with pytest.raises(ValueError, match="3 items but 2 keys"):
        broker.producer().send_array("t", vectors(3), [b"a", b"b"])
    with pytest.raises(IllegalArgumentError, match="no partition 7"):
        broker.producer().send_array("t", vectors(3), partition=7)

    assert broker.values() == []


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (vectors(2).astype(np.float64), "convert it"),
        (vectors(2)[:, :255], "shape must be"),
        (vectors(2).astype(">f4"), "byte order"),
        (vectors(4)[::2], "one after the other"),
        (np.asfortranarray(vectors(2)), "one after the other"),
        (vectors(2).astype(object), "Python objects"),
        (vectors(1)[0], r"array\[None\]"),
        ([1.0], "object of type list"),
    ],
)
def test_an_array_that_is_not_what_the_topic_has_is_refused(broker, array, words):
    broker.create(**VECTORS)

    with pytest.raises(TopicTypeError, match=words) as refused:
        broker.producer().send_array("t", array)

    assert pickle.loads(pickle.dumps(refused.value)) == refused.value
    assert broker.values() == []


def test_a_topic_without_a_dtype_takes_no_arrays(broker):
    broker.create()
    producer = broker.producer()

    with pytest.raises(TopicTypeError, match=r"topic 't' has records of plain bytes, not typed items; use send\(\)"):
        producer.send_array("t", vectors(1))
    with pytest.raises(TopicTypeError, match="give nbytes"):
        producer.reserve("t", 3)

    assert broker.values() == []


# -- send and send_many ------------------------------------------------------------------------------------------------


def test_send_takes_one_item_as_an_array_or_as_bytes(broker):
    broker.create(**VECTORS)
    producer = broker.producer()

    first = producer.send("t", vectors(1)[0], key=b"k", timestamp_ms=5).get()
    second = producer.send("t", vectors(1, first=1).tobytes()).get()

    assert (first.offset, first.timestamp, first.serialized_key_size, first.serialized_value_size) == (0, 5, 1, 1024)
    assert (second.offset, second.serialized_key_size) == (1, -1)
    np.testing.assert_array_equal(read_all(broker)[0], vectors(2))
    assert [record.key for record in broker.read()] == [b"k", None]
    assert producer.metrics()["producer-metrics"]["record-send-total"] == 2


@pytest.mark.parametrize("options", [{}, {"linger_ms": 60_000}, {"value_serializer": lambda array: array}])
def test_what_is_no_item_is_refused_by_send(broker, options):
    broker.create(**VECTORS)
    producer = broker.producer(**options)

    for value in (b"short", vectors(1), vectors(1)[0].astype(np.int32)):
        with pytest.raises(TopicTypeError, match="nothing was appended"):
            producer.send("t", value)
    with pytest.raises(TypeError, match="nothing was appended"):
        producer.send("t", None, key=b"tombstone")
    with pytest.raises(TopicTypeError, match="items have no headers"):
        producer.send("t", vectors(1)[0], headers=[("a", b"b")])

    assert broker.values() == []


def test_nothing_lingers_on_a_typed_topic(broker):
    broker.create(**VECTORS)

    broker.producer(linger_ms=60_000).send("t", vectors(1)[0])

    np.testing.assert_array_equal(read_all(broker)[0], vectors(1))


def test_send_many_appends_items_as_one_batch(broker):
    broker.create(**VECTORS)

    [placed] = broker.producer().send_many("t", list(vectors(5)))

    assert placed[:4] == ("t", 0, 0, 5)
    [batch] = broker.consumer("t").poll_arrays().values()
    np.testing.assert_array_equal(batch.items, vectors(5))


def test_send_many_refuses_all_if_one_is_no_item(broker):
    broker.create(**VECTORS)

    with pytest.raises(TopicTypeError, match="not 3 bytes"):
        broker.producer().send_many("t", [*vectors(5), b"bad"])
    with pytest.raises(ValueError, match="5 values but 1 keys"):
        broker.producer().send_many("t", list(vectors(5)), [b"k"])

    assert broker.producer().send_many("t", []) == []
    assert broker.values() == []


def test_send_many_takes_items_of_varying_length(broker):
    broker.create(dtype="uint8", shape="*")

    placed = broker.producer().send_many("t", [b"a", b"bcd", b"ef"])

    assert [each.base_offset for each in placed] == [0, 1, 2]
    assert broker.values() == [b"a", b"bcd", b"ef"]


def test_a_consumer_that_knows_nothing_of_types_reads_bytes(broker):
    broker.create(**VECTORS)
    broker.producer().send_array("t", vectors(3), [b"a", None, b"c"])

    records = broker.read()

    assert [record.value for record in records] == [each.tobytes() for each in vectors(3)]
    assert [record.key for record in records] == [b"a", None, b"c"]
    assert [record.headers for record in records] == [[], [], []]


# -- sizes -------------------------------------------------------------------------------------------------------------


def test_an_array_larger_than_a_segment_is_split(broker):
    broker.create(segment_bytes=SEGMENT_BYTES, retention_bytes=16 * SEGMENT_BYTES, **VECTORS)

    placed = broker.producer().send_array("t", vectors(300), [b"k"] * 300)

    assert len(placed) > 1
    assert sum(each.count for each in placed) == 300
    np.testing.assert_array_equal(read_all(broker)[0], vectors(300))


def test_of_an_array_larger_than_the_ring_the_newest_items_stay(broker):
    broker.create(segment_bytes=SEGMENT_BYTES, retention_bytes=2 * SEGMENT_BYTES, storage="memory", **VECTORS)

    broker.producer().send_array("t", vectors(300))

    items = read_all(broker)[0]
    assert 30 < len(items) < 128
    np.testing.assert_array_equal(items, vectors(300)[-len(items) :])


def test_an_array_larger_than_a_ring_that_waits_says_how_much_of_it_was_appended(broker):
    place = broker.create(
        segment_bytes=SEGMENT_BYTES, retention_bytes=2 * SEGMENT_BYTES, retention="consumed", **VECTORS
    )
    consumer = broker.consumer()
    consumer.assign([place])

    with pytest.raises(BufferFullError) as full:
        broker.producer(max_block_ms=0).send_array("t", vectors(300))

    [note] = full.value.__notes__
    appended = int(note.split()[0])
    assert 0 < appended < 128
    assert f"{appended} of 300 items were appended" in note
    assert consumer.end_offsets([place])[place] == appended


def test_an_item_of_a_topic_whose_items_vary_has_the_limits_of_a_record(broker):
    broker.create(dtype="uint8", shape="*", max_message_bytes=1000)

    with pytest.raises(MessageSizeTooLargeError, match="max_message_bytes allows 1000"):
        broker.producer().send_array("t", np.zeros(1001, np.uint8))
    with pytest.raises(MessageSizeTooLargeError, match="max_request_size allows 500"):
        broker.producer(max_request_size=500).send("t", np.zeros(501, np.uint8))

    assert broker.values() == []


def test_an_item_whose_size_the_topic_says_may_be_larger_than_max_request_size(broker):
    broker.create(dtype="float64", shape="500,500")
    array = np.random.default_rng(0).random((2, 500, 500))

    broker.producer().send_array("t", array)

    np.testing.assert_array_equal(read_all(broker)[0], array)


# -- change, forks, pickles --------------------------------------------------------------------------------------------


def test_a_dtype_cannot_be_altered(broker):
    broker.create(**VECTORS)

    with pytest.raises(InvalidConfigurationError, match="'float32' for the life of the topic"):
        broker.admin.alter_configs([_resource({"shmq.dtype": "float64"})])
    with pytest.raises(InvalidConfigurationError, match="'256' for the life of the topic"):
        broker.admin.alter_configs([_resource({"shape": "128"})])


def _resource(configs):
    from shmq import ConfigResource

    return ConfigResource("topic", "t", configs)


def test_a_topic_that_was_made_again_with_another_dtype_is_noticed(broker):
    place = broker.create(**VECTORS)
    producer, consumer = broker.producer(), broker.consumer("t")
    producer.send_array("t", vectors(1))
    [before] = consumer.poll_arrays().values()

    broker.admin.delete_topics(["t"])
    broker.create(dtype="int16", shape="2")

    with pytest.raises(UnknownTopicOrPartitionError):
        producer.send_array("t", vectors(1))
    with pytest.raises(TopicTypeError, match=r"items of int16 \(2,\)"):
        producer.send_array("t", vectors(1))
    producer.send_array("t", np.ones((3, 2), np.int16))
    with pytest.raises(UnknownTopicOrPartitionError):
        consumer.poll_arrays()
    consumer.unsubscribe()
    consumer.assign([place])
    [after] = consumer.poll_arrays().values()
    assert (before.items.dtype, after.items.dtype, after.items.shape) == (np.float32, np.int16, (3, 2))
    np.testing.assert_array_equal(before.items, vectors(1))


def test_options_are_described_with_their_dtype_and_shape(broker):
    broker.create(dtype=np.dtype("f4"), shape=(2, 3))

    described = broker.admin.describe_configs([_resource(None)], config_filter="all")["topic"]["t"]

    assert (described["shmq.dtype"]["value"], described["shmq.shape"]["value"]) == ("float32", "2,3")
    assert described["shmq.dtype"]["read_only"]


def test_a_forked_child_and_a_pickled_producer_send_arrays(broker):
    broker.create(**VECTORS)
    producer = broker.producer()
    producer.send_array("t", vectors(1))

    broker.fork(lambda: producer.send_array("t", vectors(1, first=1)) and None).result()
    copy = pickle.loads(pickle.dumps(producer))
    copy.send_array("t", vectors(1, first=2))
    copy.close()

    np.testing.assert_array_equal(read_all(broker)[0], vectors(3))
    assert TopicPartition("t", 0) in broker.consumer("t").assignment()
