"""ShareConsumer: records that are rejected or delivered too often, and where they go."""

from __future__ import annotations

import json
import logging

import pytest
from share_workers import LONG_MS, counts, fill, flat, numbers, place, send, some

from shmq import AcknowledgeType, errors

ACCEPT, RELEASE, REJECT, RENEW = AcknowledgeType
EXPLICIT = {"share_acknowledgement_mode": "explicit"}
LETTERS = EXPLICIT | {"dead_letter_topic": "dead"}


def reject(consumer, records, **how) -> None:
    for record in records:
        consumer.acknowledge(record, REJECT, **how)


def test_a_rejected_record_goes_there_whole_and_says_where_it_came_from_and_why(broker):
    broker.create(partitions=2)
    broker.create("dead", partitions=3)
    broker.producer().send("t", b"\xff", key=b"k", headers=[("h", b"1"), ("n", None)], partition=1, timestamp_ms=1234)
    consumer = broker.share_consumer("t", **LETTERS)

    reject(consumer, flat(consumer.poll()), reason="no such customer ☃")
    assert broker.values("dead") == []
    consumer.commit_sync()

    [letter] = broker.read("dead")
    assert (letter.value, letter.key) == (b"\xff", b"k")
    assert letter.headers == [
        ("h", b"1"),
        ("n", None),
        ("shmq.dead.topic", b"t"),
        ("shmq.dead.partition", b"1"),
        ("shmq.dead.offset", b"0"),
        ("shmq.dead.timestamp", b"1234"),
        ("shmq.dead.delivery_count", b"1"),
        ("shmq.dead.reason", "no such customer ☃".encode()),
        ("shmq.dead.group_id", b"g"),
    ]
    assert counts(broker) == some(rejected=1)
    assert consumer.metrics()["share-consumer-metrics"]["records-given-up-total"] == 1


def test_a_record_released_too_often_is_given_up_with_the_last_reason(broker):
    broker.create()
    send(broker, 1)
    consumer = broker.share_consumer("t", **LETTERS, delivery_count_limit=3)

    for delivery in (1, 2, 3):
        [record] = flat(consumer.poll(LONG_MS))
        assert record.delivery_count == delivery
        consumer.acknowledge(record, RELEASE, reason=f"try {delivery}")
    assert consumer.poll(timeout_ms=50) == {}

    [letter] = broker.read("dead")
    headers = dict(letter.headers)
    assert headers["shmq.dead.reason"] == b"try 3; released after delivery 3, the last that delivery_count_limit allows"
    assert headers["shmq.dead.delivery_count"] == b"3"
    assert counts(broker) == some(rejected=1)


def test_without_a_place_for_them_they_are_counted_and_the_log_says_so(broker, caplog):
    broker.create()
    send(broker, 2)
    consumer = broker.share_consumer("t", **EXPLICIT, delivery_count_limit=1)
    first, second = flat(consumer.poll())
    consumer.acknowledge(first, REJECT, reason="bad")
    consumer.acknowledge(second, RELEASE)

    with caplog.at_level(logging.INFO):
        consumer.commit_sync()

    assert counts(broker) == some(rejected=2)
    told = {each.levelname: each.getMessage() for each in caplog.records}
    assert told["INFO"] == "share group 'g' gave up t-0 offset 0: bad (there is no dead_letter_topic)"
    assert "offset 1: released after delivery 1" in told["WARNING"]


def test_a_late_rejection_leaves_no_dead_letter(broker, wait_until):
    broker.create()
    broker.create("dead")
    send(broker, 1)
    hung = broker.share_consumer("t", **LETTERS, acquisition_lock_duration_ms=30)
    late = flat(hung.poll())
    other = broker.share_consumer("t")
    wait_until(lambda: numbers(other.poll()))

    reject(hung, late)

    assert isinstance(hung.commit_sync()[place()], errors.InvalidRecordStateError)
    assert broker.values("dead") == []


def test_a_typed_topic_takes_no_dead_letters(broker):
    broker.create("typed", dtype="int64")

    with pytest.raises(errors.KafkaConfigurationError, match="dead_letter_topic='typed': has items of int64"):
        broker.share_consumer("t", dead_letter_topic="typed")


def test_a_missing_topic_is_made_at_once_or_refused(broker):
    broker.create()
    with pytest.raises(errors.KafkaConfigurationError, match="dead_letter_topic='dead': topic 'dead' does not exist"):
        broker.share_consumer("t", dead_letter_topic="dead", allow_auto_create_topics=False)
    with pytest.raises(errors.InvalidTopicError):
        broker.share_consumer("t", dead_letter_topic="no/name")

    broker.share_consumer("t", dead_letter_topic="dead")

    assert broker.admin.list_topics() == ["dead", "t"]


def test_it_cannot_be_a_topic_that_is_read(broker):
    broker.create()
    with pytest.raises(errors.IllegalArgumentError, match="'t' is this consumer's dead_letter_topic"):
        broker.share_consumer("t", dead_letter_topic="t")


@pytest.fixture
def full(broker):
    """Topic "dead" has no room, and a reader that makes none."""
    broker.create_queue("dead")
    reader = broker.consumer("dead")

    def fill_it():
        with broker.producer(max_block_ms=0) as producer:
            fill(producer, "dead")

    broker.fork(fill_it).result()
    return reader


def test_when_it_is_full_a_rejected_record_is_not_lost(broker, full):
    broker.create()
    send(broker, 2)
    broker.producer().send("t", b"x" * 20_000)
    consumer = broker.share_consumer("t", **LETTERS, acquisition_lock_duration_ms=300)
    first, second, large = flat(consumer.poll())
    consumer.acknowledge(first)
    consumer.acknowledge(second)
    consumer.acknowledge(large, REJECT)

    error = consumer.commit_sync()[place()]

    assert isinstance(error, errors.BufferFullError)
    assert "dead-letter topic of share group 'g'" in error.__notes__[0]
    assert counts(broker) == some(accepted=2, delayed=1)
    drain(full)
    [again] = flat(consumer.poll(LONG_MS))
    assert (again.offset, again.delivery_count) == (2, 2)
    reject(consumer, [again])
    assert consumer.commit_sync() == {place(): None}
    assert counts(broker) == some(accepted=2, rejected=1)


def test_when_it_is_full_a_record_delivered_too_often_is_not_lost_and_poll_says_so(broker, full, wait_until):
    broker.create()
    broker.producer().send("t", b"x" * 20_000)
    with broker.share_consumer("t", **EXPLICIT) as careless:
        for _ in range(2):
            [record] = flat(careless.poll(LONG_MS))
            careless.acknowledge(record, RELEASE)
    consumer = broker.share_consumer("t", **LETTERS, delivery_count_limit=2, acquisition_lock_duration_ms=300)

    with pytest.raises(errors.BufferFullError, match="dead-0 is full"):
        consumer.poll(LONG_MS)
    assert counts(broker) == some(delayed=1)
    drain(full)
    wait_until(lambda: consumer.poll(timeout_ms=50) == {} and counts(broker) == some(rejected=1))
    [letter] = [record for record in drain(full) if record.headers]
    assert dict(letter.headers)["shmq.dead.delivery_count"] == b"3"


def drain(reader) -> list:
    records = []
    while batch := flat(reader.poll(timeout_ms=100)):
        records += batch
    return records


def test_a_record_that_cannot_be_given_up_holds_no_other_up(broker, full):
    broker.create()
    broker.producer().send("t", b"x" * 20_000)
    with broker.share_consumer("t") as careless:
        careless.poll(LONG_MS)
    send(broker, 1)
    consumer = broker.share_consumer("t", **LETTERS, delivery_count_limit=1, acquisition_lock_duration_ms=300)

    with pytest.raises(errors.BufferFullError):
        consumer.poll(LONG_MS)
    [good] = flat(consumer.poll(LONG_MS))
    consumer.acknowledge(good)
    consumer.commit_sync()

    assert good.value == b"0"
    assert counts(broker) == some(accepted=1, delayed=1)


def test_when_it_was_deleted_the_record_is_not_lost(broker):
    broker.create()
    send(broker, 1)
    consumer = broker.share_consumer("t", **LETTERS)
    broker.admin.delete_topics(["dead"])
    reject(consumer, flat(consumer.poll()))

    error = consumer.commit_sync()[place()]

    assert isinstance(error, errors.UnknownTopicOrPartitionError)
    assert counts(broker) == some(delayed=1)


def test_what_is_too_large_for_it_is_not_lost_and_a_long_reason_is_cut(broker):
    broker.create()
    broker.create("dead", max_message_bytes=2000)
    producer = broker.producer()
    producer.send("t", b"x" * 3000)
    producer.send("t", b"small")
    consumer = broker.share_consumer("t", **LETTERS)
    large, small = flat(consumer.poll())
    reject(consumer, [large])
    reject(consumer, [small], reason="y" * 100_000)

    error = consumer.commit_sync()[place()]

    assert isinstance(error, errors.MessageSizeTooLargeError)
    assert counts(broker) == some(delayed=1, rejected=1)
    [letter] = broker.read("dead")
    assert letter.value == b"small"
    assert dict(letter.headers)["shmq.dead.reason"] == b"y" * 1000


# -- deserializers ----------------------------------------------------------------------------------------------------


def test_keys_and_values_are_deserialized_and_none_is_left_alone(broker):
    broker.create()
    producer = broker.producer()
    producer.send("t", b'{"a": 1}', key=b"k")
    producer.send("t", None, key=b"gone")
    consumer = broker.share_consumer("t", value_deserializer=json.loads, key_deserializer=bytes.decode)

    first, second = flat(consumer.poll())

    assert (first.key, first.value, first.delivery_count) == ("k", {"a": 1}, 1)
    assert (second.key, second.value) == ("gone", None)
    assert consumer.commit_sync() == {place(): None}


def test_a_record_whose_deserializer_raises_is_released_and_told_after_the_good_ones(broker):
    broker.create()
    producer = broker.producer()
    for value in (b"1", b"{", b"3"):
        producer.send("t", value)
    consumer = broker.share_consumer("t", value_deserializer=json.loads, max_poll_records=3)

    assert [record.value for record in flat(consumer.poll())] == [1, 3]
    with pytest.raises(json.JSONDecodeError) as raised:
        consumer.poll()

    assert raised.value.__notes__ == [
        "raised by value_deserializer for topic 't'",
        "t-0 offset 1 was released after delivery 1 of 5",
    ]
    assert counts(broker) == some(accepted=2, ready=1)
    [plain] = flat(broker.share_consumer("t").poll())
    assert (plain.value, plain.delivery_count) == (b"{", 2)


def test_a_record_that_nobody_can_deserialize_ends_in_the_dead_letters_as_it_was(broker):
    broker.create()
    broker.producer().send("t", b"{", key=b"k")
    consumer = broker.share_consumer("t", **LETTERS, value_deserializer=json.loads, delivery_count_limit=3)

    for _ in range(3):
        with pytest.raises(json.JSONDecodeError):
            consumer.poll(LONG_MS)
    assert consumer.poll(timeout_ms=50) == {}

    [letter] = broker.read("dead")
    assert (letter.key, letter.value) == (b"k", b"{")
    assert b"a deserializer raised JSONDecodeError" in dict(letter.headers)["shmq.dead.reason"]
    assert counts(broker) == some(rejected=1)


def test_a_rejected_record_goes_to_the_dead_letters_as_bytes_not_as_it_was_deserialized(broker):
    broker.create()
    broker.producer().send("t", b" [1, 2] ", key=b"k")
    consumer = broker.share_consumer("t", **LETTERS, value_deserializer=json.loads, key_deserializer=bytes.decode)
    [record] = flat(consumer.poll())

    reject(consumer, [record])
    consumer.commit_sync()

    assert record.value == [1, 2]
    [letter] = broker.read("dead")
    assert (letter.key, letter.value) == (b"k", b" [1, 2] ")
