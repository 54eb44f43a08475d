"""Serializers and partitioners: a user's own code between send() and the log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shmq import DefaultPartitioner, Partitioner, Serializer, StickyPartitioner
from shmq.partitioner import partition_of_key

LINGER = pytest.mark.parametrize("linger_ms", [0, 5])


class Recorded(Serializer):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.closed = 0

    def serialize(self, topic, headers, data):
        self.asked.append((topic, list(headers), data))
        return None if data is None else str(data).encode()

    def close(self):
        self.closed += 1


class OldForm:
    def serialize(self, topic, data):
        return f"{topic}:{data}".encode()


@LINGER
def test_functions_and_both_kinds_of_objects_serialize(broker, linger_ms):
    broker.create()
    for serializer in (str.encode, Recorded(), OldForm()):
        broker.producer(value_serializer=serializer, key_serializer=serializer, linger_ms=linger_ms).send(
            "t", "v", key="k"
        ).get(10)

    assert [(record.key, record.value) for record in broker.read()] == [(b"k", b"v"), (b"k", b"v"), (b"t:k", b"t:v")]


@LINGER
def test_a_serializer_gets_topic_headers_and_data_and_is_closed_once(broker, linger_ms):
    broker.create()
    serializer = Recorded()
    producer = broker.producer(value_serializer=serializer, linger_ms=linger_ms)

    producer.send("t", 7, headers=[("h", b"x")])
    producer.send_many("t", [8])
    producer.close()
    producer.close()

    assert serializer.asked == [("t", [("h", b"x")], 7), ("t", [], 8)]
    assert serializer.closed == 1
    assert broker.values() == [b"7", b"8"]


@LINGER
def test_the_key_is_placed_by_its_serialized_form(broker, linger_ms):
    broker.create(partitions=7)
    producer = broker.producer(key_serializer=lambda key: b"foobar" if key == 1 else b"21", linger_ms=linger_ms)

    assert producer.send("t", b"v", key=1).get(10).partition == partition_of_key(b"foobar", 7)
    assert producer.send("t", b"v", key=2).get(10).partition == partition_of_key(b"21", 7)


@LINGER
@pytest.mark.parametrize("where", ["key", "value"])
def test_what_a_serializer_refuses_is_raised_by_send_and_nothing_is_appended(broker, linger_ms, where):
    broker.create()
    producer = broker.producer(**{f"{where}_serializer": lambda data: json.dumps(data).encode()}, linger_ms=linger_ms)
    good: dict[str, Any] = {"key": b"k", "value": b"v", where: 1}

    producer.send("t", **good)
    with pytest.raises(TypeError, match="not JSON serializable") as refused:
        producer.send("t", **{**good, where: object()})
    with pytest.raises(TypeError, match="not JSON serializable"):
        producer.send_many("t", **{f"{name}s": [data, object()] for name, data in good.items()})

    assert any(f"{where}_serializer" in note for note in refused.value.__notes__)
    producer.flush()
    assert len(broker.read()) == 1


@LINGER
def test_a_serializer_that_returns_no_bytes_is_named(broker, linger_ms):
    broker.create()
    producer = broker.producer(value_serializer=str, linger_ms=linger_ms)

    with pytest.raises(TypeError, match="what value_serializer returned for topic 't' is of type str"):
        producer.send("t", 5)

    producer.flush()
    assert broker.values() == []


@LINGER
def test_a_serializer_that_leaves_nothing_of_a_record_is_refused(broker, linger_ms):
    broker.create()
    producer = broker.producer(value_serializer=lambda _: None, linger_ms=linger_ms)

    with pytest.raises(ValueError, match="value"):
        producer.send("t", 5)
    with pytest.raises(ValueError, match="record 1 has neither"):
        producer.send_many("t", [5, 6], keys=[b"k", None])

    producer.flush()
    assert broker.values() == []


# -- partitioners ----------------------------------------------------------------------------------------------------


class Asked(Partitioner):
    def __init__(self, answer: Any = 1) -> None:
        self.asked: list[Any] = []
        self.answer = answer

    def partition(self, topic, key, serialized_key, value, serialized_value, cluster):
        self.asked.append((topic, key, serialized_key, value, serialized_value, cluster.partitions_for_topic(topic)))
        return self.answer


@LINGER
def test_a_partitioner_object_is_asked_with_what_was_given_and_what_became_of_it(broker, linger_ms):
    broker.create(partitions=3)
    partitioner = Asked()
    producer = broker.producer(
        partitioner=partitioner, key_serializer=str.encode, value_serializer=str.encode, linger_ms=linger_ms
    )

    assert producer.send("t", "v", key="k").get(10).partition == 1
    assert [batch.partition for batch in producer.send_many("t", ["w"], keys=["l"])] == [1]

    assert partitioner.asked == [
        ("t", "k", b"k", "v", b"v", {0, 1, 2}),
        ("t", "l", b"l", "w", b"w", {0, 1, 2}),
    ]


@LINGER
def test_a_partitioner_is_not_asked_when_send_says_where(broker, linger_ms):
    broker.create(partitions=3)
    partitioner = Asked()
    producer = broker.producer(partitioner=partitioner, linger_ms=linger_ms)

    assert producer.send("t", b"v", partition=2).get(10).partition == 2
    assert [batch.partition for batch in producer.send_many("t", [b"v"], partition=0)] == [0]
    assert partitioner.asked == []


@LINGER
def test_a_function_chooses_among_all_partitions(broker, linger_ms):
    broker.create(partitions=3)
    asked = []

    def choose(key, every, available):
        asked.append((key, every, available))
        return every[-1]

    producer = broker.producer(partitioner=choose, linger_ms=linger_ms)

    assert producer.send("t", b"v", key=b"k").get(10).partition == 2
    assert asked == [(b"k", [0, 1, 2], [0, 1, 2])]


@LINGER
@pytest.mark.parametrize("answer", [3, -1, "1", None, 1.0, True])
def test_a_choice_that_cannot_be_is_refused(broker, linger_ms, answer):
    broker.create(partitions=3)
    producer = broker.producer(partitioner=Asked(answer), linger_ms=linger_ms)

    with pytest.raises(ValueError, match="the partitioner chose"):
        producer.send("t", b"v")
    with pytest.raises(ValueError, match="the partitioner chose"):
        producer.send_many("t", [b"v"])

    producer.flush()
    assert broker.values() == []


@LINGER
def test_what_a_partitioner_raises_is_raised_by_send(broker, linger_ms):
    broker.create(partitions=3)

    def fail(*_):
        raise LookupError("no shard")

    producer = broker.producer(partitioner=fail, linger_ms=linger_ms)

    with pytest.raises(LookupError, match="no shard"):
        producer.send("t", b"v")

    producer.flush()
    assert broker.values() == []


def test_kafka_pythons_sticky_partitioner_moves_on_after_batch_size_bytes(broker):
    broker.create(partitions=4)
    producer = broker.producer(partitioner=StickyPartitioner(), batch_size=1000)

    placed = [producer.send("t", b"x" * 100).get().partition for _ in range(200)]

    runs = [placed[start : start + 10] for start in range(0, 200, 10)]
    assert all(len(set(run)) == 1 for run in runs)
    assert all(before[0] != after[0] for before, after in zip(runs, runs[1:], strict=False))


def test_kafka_pythons_default_partitioner_spreads_what_has_no_key(broker):
    broker.create(partitions=4)
    producer = broker.producer(partitioner=DefaultPartitioner())

    placed = {producer.send("t", b"x").get().partition for _ in range(200)}
    by_key = producer.send("t", b"x", key=b"foobar").get().partition

    assert placed == {0, 1, 2, 3}
    assert by_key == partition_of_key(b"foobar", 4)
