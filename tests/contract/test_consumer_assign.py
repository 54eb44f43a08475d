"""Which partitions a consumer reads, and what it can ask of the broker."""

from __future__ import annotations

import pytest
from three_partitions import assigned, numbers

from shmq import TopicPartition, errors

# -- assignment ------------------------------------------------------------------------------------------------------


def test_a_consumer_reads_what_it_was_assigned_and_nothing_else(broker, places):
    consumer = broker.consumer()

    consumer.assign([places[0], ("t", 2)])

    assert consumer.assignment() == {places[0], places[2]}
    assert numbers(consumer.poll()) == {0: [0, 1, 2], 2: [20, 21, 22]}


def test_topics_given_at_the_start_are_assigned_whole(broker, places):
    broker.create("other")

    consumer = broker.consumer("other", "t")

    assert consumer.assignment() == {TopicPartition("other", 0), *places}


def test_assigning_anew_keeps_the_positions_of_what_stays(broker, places):
    consumer = assigned(broker, places)
    consumer.seek(places[0], 2)
    consumer.seek(places[1], 1)
    consumer.pause(places[0])

    consumer.assign([places[1], places[0]])

    assert [consumer.position(place) for place in places[:2]] == [2, 1]
    assert consumer.paused() == {places[0]}
    with pytest.raises(errors.IllegalStateError, match="t-2 is not assigned"):
        consumer.position(places[2])


def test_what_comes_back_begins_anew(broker, places):
    consumer = assigned(broker, places)
    consumer.poll()
    consumer.pause(places[0])

    consumer.assign(places[1:])
    consumer.assign(places)

    assert [consumer.position(place) for place in places] == [0, 3, 3]
    assert consumer.paused() == set()


def test_what_was_read_of_a_partition_that_was_taken_away_does_not_come_any_more(broker, places):
    consumer = assigned(broker, places, consumer_timeout_ms=0)
    first = TopicPartition("t", next(consumer).partition)

    consumer.assign([place for place in places if place != first])

    assert {record.partition for record in consumer} == {0, 1, 2} - {first.partition}


def test_the_same_partition_twice_is_read_once(broker, places):
    consumer = broker.consumer()

    consumer.assign([places[0], places[0], tuple(places[0])])

    assert numbers(consumer.poll()) == {0: [0, 1, 2]}


@pytest.mark.parametrize("leave", [lambda consumer: consumer.unsubscribe(), lambda consumer: consumer.assign([])])
def test_a_consumer_that_reads_nothing_any_more_can_be_assigned_again(broker, places, leave):
    consumer = assigned(broker, places)
    next(consumer)

    leave(consumer)
    nothing = consumer.poll(timeout_ms=5)
    left = consumer.assignment()
    with pytest.raises(errors.IllegalStateError, match="t-0 is not assigned"):
        consumer.seek(places[0], 0)
    consumer.assign(places[:1])

    assert (nothing, left) == ({}, set())
    assert numbers(consumer.poll()) == {0: [0, 1, 2]}


def test_what_cannot_be_assigned_is_refused_and_changes_nothing(broker, places):
    consumer = broker.consumer()
    consumer.assign(places[:1])

    for partitions, error, said in [
        ([("t", 3)], errors.UnknownTopicOrPartitionError, "t-3 does not exist: the topic has 3 partitions"),
        ([("t", -1)], errors.UnknownTopicOrPartitionError, "t--1 does not exist: the topic has 3 partitions"),
        ([("t", 1 << 40)], errors.UnknownTopicOrPartitionError, "the topic has 3 partitions"),
        ([("a/b", 0)], errors.InvalidTopicError, "it has '/'"),
        ([("..", 0)], errors.InvalidTopicError, "'..'"),
        ([("", 0)], errors.InvalidTopicError, "it is empty"),
        ([("x" * 250, 0)], errors.InvalidTopicError, "250 characters"),
        (["t"], TypeError, "not 't'"),
        ([("t", "0")], TypeError, "not .'t', '0'."),
        ([("t", True)], TypeError, "not .'t', True."),
        ([(b"t", 0)], TypeError, "not .b't', 0."),
        ([("t", 0, 0)], TypeError, "a partition is a TopicPartition"),
        (TopicPartition("t", 0), TypeError, "a partition is a TopicPartition"),
        (None, TypeError, "not iterable"),
    ]:
        with pytest.raises(error, match=said):
            consumer.assign([places[1], *partitions] if isinstance(partitions, list) else partitions)

    assert consumer.assignment() == {places[0]}
    assert numbers(consumer.poll()) == {0: [0, 1, 2]}


def test_an_unknown_topic_is_made_by_assigning_it_or_refused_with_what_to_do(broker):
    made = broker.consumer("made")
    asking = broker.consumer(allow_auto_create_topics=False)

    with pytest.raises(errors.UnknownTopicOrPartitionError, match="shmq topics create missing") as refused:
        asking.assign([("missing", 0)])

    assert refused.value.retriable
    assert made.assignment() == {TopicPartition("made", 0)}
    assert broker.admin.list_topics() == ["made"]


def test_a_topic_of_a_wrong_type_is_refused_by_the_constructor(broker):
    for topic in (5, ["t"], None, b"t"):
        with pytest.raises(TypeError, match="topics must be a list of names, not of"):
            broker.consumer(topic)


# -- the broker ------------------------------------------------------------------------------------------------------


def test_topics_and_partitions_are_those_of_the_broker_now(broker, places):
    consumer = broker.consumer()
    before = consumer.topics()

    broker.create("later", partitions=2)
    broker.admin.create_partitions({"t": 5})

    assert before == {"t"}
    assert consumer.topics() == {"t", "later"}
    assert consumer.partitions_for_topic("t") == {0, 1, 2, 3, 4}
    assert consumer.partitions_for_topic("later") == {0, 1}
    assert consumer.partitions_for_topic("missing") is None
    assert consumer.topics() == {"t", "later"}, "asking made a topic"


def test_partitions_that_were_added_can_be_assigned(broker, places):
    consumer = assigned(broker, places)
    broker.admin.create_partitions({"t": 4})
    broker.producer().send("t", b"30", partition=3)

    consumer.assign([*places, ("t", 3)])

    assert numbers(consumer.poll()) == {0: [0, 1, 2], 1: [10, 11, 12], 2: [20, 21, 22], 3: [30]}


def test_metrics_count_what_was_read(broker, places):
    consumer = broker.consumer("t")
    consumer.poll(0, 4, update_offsets=False)
    consumer.poll(0, 4)
    consumer.poll(timeout_ms=1000)

    metrics = consumer.metrics()["consumer-metrics"]

    assert metrics == {
        "records-consumed-total": 9,
        "bytes-consumed-total": 3 * 1 + 6 * 2,
        "sleep-total": 0,
        "sleep-rescued-total": 0,
        "claims-healed-total": 0,
        "kept-segments": 0,
        "kept-bytes": 0,
    }
    assert broker.consumer("t", metrics_enabled=False).metrics() == {}


def test_its_text_names_client_and_broker(broker):
    assert repr(broker.consumer(client_id="me")) == f"<Consumer me {broker.directory}>"
    assert "shmq-consumer-" in repr(broker.consumer())
