"""Which partitions a consumer reads, what it can ask of the broker, and topics that go while they are read."""

from __future__ import annotations

import pickle
import threading

import pytest

from shmq import Consumer, TopicPartition, errors


def numbers(batches) -> dict[int, list[int]]:
    return {place.partition: [int(record.value) for record in records] for place, records in batches.items()}


@pytest.fixture
def places(broker):
    """Topic "t" of three partitions, with 0, 1, 2 in the first, 10, 11, 12 in the second, and so on."""
    broker.create(partitions=3)
    producer = broker.producer()
    for partition in range(3):
        producer.send_many("t", [b"%d" % (10 * partition + number) for number in range(3)], partition=partition)
    return [TopicPartition("t", partition) for partition in range(3)]


def assigned(broker, places, **configs) -> Consumer:
    consumer = broker.consumer(**configs)
    consumer.assign(places)
    return consumer


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


@pytest.mark.parametrize(
    ("partitions", "error", "said"),
    [
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
    ],
)
def test_what_cannot_be_assigned_is_refused_and_changes_nothing(broker, places, partitions, error, said):
    consumer = broker.consumer()
    consumer.assign(places[:1])
    if isinstance(partitions, list):
        partitions = [places[1], *partitions]

    with pytest.raises(error, match=said):
        consumer.assign(partitions)

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


@pytest.mark.parametrize("topic", [5, ["t"], None, b"t"])
def test_a_topic_of_a_wrong_type_is_refused_by_the_constructor(broker, topic):
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
    }
    assert broker.consumer("t", metrics_enabled=False).metrics() == {}


def test_its_text_names_client_and_broker(broker):
    assert repr(broker.consumer(client_id="me")) == f"<Consumer me {broker.directory}>"
    assert "shmq-consumer-" in repr(broker.consumer())


# -- topics that go --------------------------------------------------------------------------------------------------


def test_a_topic_that_is_deleted_while_it_is_read_is_an_error_in_every_call(broker, places):
    consumer = assigned(broker, places, allow_auto_create_topics=False)
    consumer.poll(max_records=1)

    broker.admin.delete_topics(["t"])

    for call in (
        consumer.poll,
        lambda: consumer.poll(timeout_ms=60_000),
        lambda: next(consumer),
        lambda: consumer.highwater(places[0]),
        lambda: consumer.seek(places[0], 0),
        consumer.seek_to_beginning,
        consumer.seek_to_end,
        lambda: consumer.end_offsets(places),
        lambda: consumer.beginning_offsets(places),
        lambda: consumer.offsets_for_times({places[0]: 0}),
        lambda: consumer.assign(places),
    ):
        with pytest.raises(errors.UnknownTopicOrPartitionError) as raised:
            call()
        assert raised.value.retriable
    assert consumer.assignment() == set(places)
    consumer.unsubscribe()
    assert consumer.poll() == {}


def test_deleting_a_topic_ends_a_wait_for_it(broker, places, wait_until):
    consumer = broker.consumer("t")
    consumer.poll()
    deleter = threading.Thread(target=lambda: (wait_until(lambda: consumer._slept), broker.admin.delete_topics(["t"])))
    deleter.start()

    with pytest.raises(errors.UnknownTopicOrPartitionError, match="the topic was deleted"):
        consumer.poll(timeout_ms=600_000)

    deleter.join(20)


def test_what_was_read_of_a_topic_that_is_gone_is_given_before_the_error(broker, places):
    consumer = broker.consumer("t", consumer_timeout_ms=0)
    got = [next(consumer)]

    broker.admin.delete_topics(["t"])
    with pytest.raises(errors.UnknownTopicOrPartitionError):
        for record in consumer:
            got.append(record)

    assert len(got) == 9


def test_one_topic_that_is_gone_does_not_keep_the_others_back_for_ever(broker, places):
    broker.create("other")
    broker.producer().send("other", b"1")
    consumer = broker.consumer("t", "other")

    broker.admin.delete_topics(["t"])
    got = []
    for _ in range(8):
        try:
            got += consumer.poll()
        except errors.UnknownTopicOrPartitionError as error:
            assert error.topic == "t"

    assert got == [TopicPartition("other", 0)]


def test_a_topic_made_anew_is_read_from_its_beginning_once_it_is_assigned_again(broker, places):
    consumer = assigned(broker, places)
    consumer.poll()
    consumer.pause(*places)
    broker.admin.delete_topics(["t"])
    broker.create()
    broker.producer().send("t", b"7")

    with pytest.raises(
        errors.UnknownTopicOrPartitionError, match=r"t-\d: the topic was deleted; make it again \(readers: assign\(\)"
    ):
        consumer.resume(*places), consumer.poll()
    consumer.assign(places[:1])

    assert consumer.beginning_offsets(places[:1]) == {places[0]: 0}
    assert consumer.end_offsets(places[:1]) == {places[0]: 1}
    assert numbers(consumer.poll()) == {0: [7]}


def test_a_topic_made_anew_is_read_once_it_is_subscribed_to_again(broker, places):
    consumer = broker.consumer("t")
    consumer.poll()
    broker.admin.delete_topics(["t"])
    broker.create()
    broker.producer().send("t", b"7")

    consumer.subscribe(["t"])

    assert numbers(consumer.poll()) == {0: [7]}


def test_the_offsets_of_a_topic_made_anew_are_told_before_it_is_assigned_again(broker, places):
    consumer = broker.consumer("t")
    broker.admin.delete_topics(["t"])
    broker.create()
    broker.producer().send("t", b"7")

    assert consumer.end_offsets(places[:1]) == {places[0]: 1}
    assert consumer.beginning_offsets(places[:1]) == {places[0]: 0}
    assert consumer.offsets_for_times({places[0]: 0})[places[0]].offset == 0


# -- closing ---------------------------------------------------------------------------------------------------------


def test_closing_twice_is_closing_once(broker, places):
    consumer = broker.consumer("t")

    consumer.close()
    consumer.close(autocommit=False, timeout_ms=5)

    assert not consumer.bootstrap_connected()


def test_a_consumer_is_closed_by_its_with_block(broker, places):
    with pytest.raises(RuntimeError, match="mine"), broker.consumer("t") as consumer:
        assert consumer.bootstrap_connected()
        raise RuntimeError("mine")

    assert not consumer.bootstrap_connected()


def test_every_use_of_a_closed_consumer_says_that_it_is_closed(broker, places):
    consumer = broker.consumer("t")
    consumer.close()

    for call in (
        consumer.poll,
        lambda: next(consumer),
        lambda: consumer.assign(places),
        consumer.assignment,
        consumer.unsubscribe,
        lambda: consumer.seek(places[0], 0),
        consumer.seek_to_beginning,
        consumer.seek_to_end,
        lambda: consumer.position(places[0]),
        lambda: consumer.beginning_offsets(places),
        lambda: consumer.end_offsets(places),
        lambda: consumer.offsets_for_times({places[0]: 0}),
        lambda: consumer.highwater(places[0]),
        lambda: consumer.pause(places[0]),
        lambda: consumer.resume(places[0]),
        consumer.paused,
        consumer.topics,
        lambda: consumer.partitions_for_topic("t"),
    ):
        with pytest.raises(errors.ClosedError, match="consumer is closed; make a new one"):
            call()
    assert consumer.metrics() == {}
    consumer.wakeup()


def test_a_consumer_that_nobody_closed_leaves_nothing(broker):
    broker.create()
    consumer = Consumer("t", bootstrap_servers=broker.address)
    consumer.poll(timeout_ms=30)  # long enough for a doorbell
    assert len(broker.doorbells()) == 1

    del consumer

    assert broker.doorbells() == []


def test_a_consumer_cannot_be_pickled(broker):
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(broker.consumer())


def test_a_constructor_that_fails_leaves_nothing(broker, places):
    with pytest.raises(errors.InvalidTopicError):
        broker.consumer("t", "a/b")

    assert broker.admin.describe_topics(["t"])[0]["name"] == "t"
    assert broker.doorbells() == []
