"""Topics that are deleted and made anew while they are read, and consumers that are closed or dropped."""

from __future__ import annotations

import pickle
import threading

import pytest
from three_partitions import assigned, numbers

from shmq import Consumer, TopicPartition, errors

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
