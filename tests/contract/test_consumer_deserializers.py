"""key_deserializer and value_deserializer: what they get, and what becomes of the records when they fail."""

from __future__ import annotations

import json

import pytest

from shmq import Deserializer, errors


@pytest.fixture
def place(broker):
    """Ten records, the numbers 0 to 9; the sixth is no number."""
    place = broker.create()
    broker.producer().send_many("t", [b"five" if number == 5 else b"%d" % number for number in range(10)])
    return place


class Doubler(Deserializer):
    def __init__(self) -> None:
        self.got: list[object] = []
        self.closed = 0

    def deserialize(self, topic, headers, data):
        self.got.append((topic, list(headers), data))
        return data * 2

    def close(self) -> None:
        self.closed += 1


def test_functions_and_objects_deserialize(broker):
    broker.create()
    broker.producer().send("t", b'{"a": 1}', key=b"k")
    doubler = Doubler()

    (record,) = broker.read(value_deserializer=json.loads, key_deserializer=doubler)

    assert (record.key, record.value) == (b"kk", {"a": 1})


def test_a_deserializer_gets_topic_headers_and_data_and_is_closed_once(broker):
    broker.create()
    broker.producer().send("t", b"v", key=b"k", headers=[("h", b"x")])
    doubler = Doubler()
    consumer = broker.consumer("t", value_deserializer=doubler)

    consumer.poll()
    consumer.close()
    consumer.close()

    assert doubler.got == [("t", [("h", b"x")], b"v")]
    assert doubler.closed == 1


def test_what_is_not_there_is_not_deserialized(broker):
    broker.create()
    broker.producer().send("t", None, key=b"k")
    broker.producer().send("t", b"v")

    records = broker.read(value_deserializer=bytes.decode, key_deserializer=bytes.decode)

    assert [(record.key, record.value) for record in records] == [("k", None), (None, "v")]


def test_what_a_deserializer_raises_comes_behind_the_records_before_it(broker, place):
    consumer = broker.consumer("t", value_deserializer=int)

    before = consumer.poll()[place]
    for _ in range(3):
        with pytest.raises(ValueError, match="'five'") as raised:
            consumer.poll()

    assert [record.value for record in before] == [0, 1, 2, 3, 4]
    assert raised.value.__notes__ == ["raised by value_deserializer for topic 't'"]
    assert consumer.position(place) == 5
    consumer.seek(place, 6)
    assert [record.value for record in consumer.poll()[place]] == [6, 7, 8, 9]


def test_iteration_raises_it_in_its_place_and_can_go_on_behind_it(broker, place):
    consumer = broker.consumer("t", value_deserializer=int, consumer_timeout_ms=0)
    got = []

    for _ in range(2):
        try:
            for record in consumer:
                got.append(record.value)
        except ValueError:
            got.append("bad")
            consumer.seek(place, consumer.position(place) + 1)

    assert got == [0, 1, 2, 3, 4, "bad", 6, 7, 8, 9]


def test_a_deserializer_that_fails_in_one_partition_does_not_keep_the_others_back(broker):
    broker.create(partitions=3)
    producer = broker.producer()
    for partition in range(3):
        producer.send_many("t", [b"bad" if partition == 1 else b"1"] * 5, partition=partition)
    consumer = broker.consumer("t", value_deserializer=int)
    got, failures = [], 0

    for _ in range(8):
        try:
            got += [record.partition for records in consumer.poll().values() for record in records]
        except ValueError:
            failures += 1

    assert failures > 1
    assert sorted(got) == [0] * 5 + [2] * 5


def test_a_deserializer_that_fails_once_loses_and_doubles_nothing(broker, place):
    failed = set()

    def moody(data):
        if data not in failed:
            failed.add(data)
            raise RuntimeError(data)
        return data

    consumer = broker.consumer("t", value_deserializer=moody, consumer_timeout_ms=0)
    got = []
    for _ in range(11):
        try:
            for record in consumer:
                got.append(record.offset)
        except RuntimeError:
            continue

    assert got == list(range(10))
    assert len(failed) == 10


def test_an_interrupt_in_a_deserializer_keeps_what_was_read_before_it(broker, place):
    asked = []

    def interrupted(data):
        asked.append(data)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return data

    consumer = broker.consumer("t", value_deserializer=interrupted)

    with pytest.raises(KeyboardInterrupt):
        consumer.poll()
    got = [record.offset for _ in range(2) for record in consumer.poll()[place]]

    assert got == list(range(10))


@pytest.mark.parametrize(
    "use",
    [
        lambda consumer: consumer.poll(),
        lambda consumer: consumer.seek_to_end(),
        lambda consumer: consumer.close(),
        lambda consumer: consumer.assign([]),
        next,
    ],
)
def test_a_deserializer_may_not_use_its_consumer(broker, place, use):
    consumer = broker.consumer("t", value_deserializer=lambda data: use(consumer))

    with pytest.raises(errors.ConcurrentUseError, match="do not call it from a signal handler or a callback"):
        consumer.poll()

    assert consumer.position(place) == 0


@pytest.mark.parametrize("option", ["key_deserializer", "value_deserializer"])
def test_what_cannot_deserialize_is_refused(broker, option):
    with pytest.raises(errors.KafkaConfigurationError, match=option):
        broker.consumer(**{option: "json"})
