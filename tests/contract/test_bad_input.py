"""What users get wrong, where no other file has a test for it: an error that says so, and nothing is changed.

Elsewhere: names of topics (tests/unit/test_store_names), options (tests/unit/test_*_config), broker directories
(test_broker_directory, test_bad_brokers, tests/storage), records and serializers (test_producer_*), assignments,
offsets and timeouts (test_consumer_*), interrupted calls (test_signals), damaged files (tests/storage, tests/fuzz).
"""

from __future__ import annotations

import math
import signal
import threading

import pytest

from shmq import TopicPartition, errors


@pytest.fixture
def place(broker):
    return broker.create(segment_bytes=65536)


@pytest.fixture(params=[{}, {"linger_ms": 600_000}], ids=["at once", "lingering"])
def producer(request, broker, place):
    return broker.producer(allow_auto_create_topics=False, **request.param)


# -- topics ----------------------------------------------------------------------------------------------------------


SENDS = {
    "send": lambda producer, topic: producer.send(topic, b"v"),
    "send_many": lambda producer, topic: producer.send_many(topic, [b"v"]),
    "partitions_for": lambda producer, topic: producer.partitions_for(topic),
}


@pytest.mark.parametrize("call", SENDS.values(), ids=SENDS)
def test_sending_to_no_topic_is_refused_and_makes_none(broker, producer, call):
    for topic, error, said in [
        ("tt", errors.UnknownTopicOrPartitionError, "did you mean 't'.*shmq topics create tt"),
        ("a/b", errors.InvalidTopicError, "it has '/'"),
        ("..", errors.InvalidTopicError, "a directory's own entry"),
        ("", errors.InvalidTopicError, "it is empty"),
        ("x" * 250, errors.InvalidTopicError, "it has 250 characters, 249 are allowed"),
        ("a\0b", errors.InvalidTopicError, "it has"),
        (5, TypeError, "must be str, not int"),
        (None, TypeError, "must be str, not NoneType"),
        (b"t", TypeError, "must be str, not bytes"),
    ]:
        with pytest.raises(error, match=said):
            call(producer, topic)

    producer.flush()
    assert broker.admin.list_topics() == ["t"]


def test_a_topic_that_is_deleted_while_it_is_written_is_an_error_until_it_is_made_anew(broker, place):
    producer = broker.producer(allow_auto_create_topics=False)
    producer.send("t", b"old")
    broker.admin.delete_topics(["t"])

    for call in SENDS.values():
        with pytest.raises(errors.UnknownTopicOrPartitionError) as raised:
            call(producer, "t")
        assert raised.value.retriable
    broker.create()
    producer.send("t", b"new")

    assert broker.values() == [b"new"]


def test_deleting_a_topic_ends_a_producers_wait_for_space(broker, wait_until):
    broker.create_queue("q")
    producer = broker.producer(max_block_ms=600_000)
    deleter = threading.Thread(
        target=lambda: (
            wait_until(lambda: producer.metrics()["producer-metrics"]["record-send-total"] == 10),
            broker.admin.delete_topics(["q"]),
        )
    )
    deleter.start()

    with pytest.raises(errors.UnknownTopicOrPartitionError, match="the topic was deleted"):
        for _ in range(100):
            producer.send("q", b"x" * 10_000)

    deleter.join(20)


# -- records ---------------------------------------------------------------------------------------------------------


def test_a_record_larger_than_a_segment_is_refused_with_both_numbers(broker, producer, place):
    for call in (lambda value: producer.send("t", value), lambda value: producer.send_many("t", [b"v", value])):
        with pytest.raises(errors.MessageSizeTooLargeError, match="70000 bytes, but max_message_bytes allows 49152"):
            call(b"x" * 70_000)
    producer.flush()

    assert broker.values() == []


def test_a_record_that_is_as_large_as_can_be_is_sent(broker, place):
    broker.producer().send("t", b"x" * 49152)

    assert [len(value) for value in broker.values()] == [49152]


def test_a_batch_with_something_wrong_in_it_is_refused_whole(broker, producer):
    for args, kwargs, error in [
        ((5,), {}, TypeError),
        (([5],), {}, TypeError),
        (([b"v", "text"],), {}, TypeError),
        (("text",), {}, TypeError),
        (([b"v"],), {"keys": [b"k", b"k"]}, ValueError),
        (([b"v"],), {"keys": 5}, TypeError),
        (([b"v"],), {"keys": ["k"]}, TypeError),
        (([b"v", None],), {}, ValueError),
        (([b"v"],), {"timestamp_ms": -1}, ValueError),
        (([b"v"],), {"timestamp_ms": 1.5}, ValueError),
        (([b"v"],), {"partition": 1}, ValueError),
        (([b"v"],), {"partition": -1}, ValueError),
        (([b"v"],), {"partition": "0"}, ValueError),
    ]:
        with pytest.raises(error):
            producer.send_many("t", *args, **kwargs)

    producer.flush()
    assert broker.values() == []


# -- handles ---------------------------------------------------------------------------------------------------------


def test_every_use_of_a_closed_producer_says_that_it_is_closed(broker, producer):
    sent = producer.send("t", b"v")
    producer.close()

    for call in (*(lambda call=call: call(producer, "t") for call in SENDS.values()), producer.flush):
        with pytest.raises(errors.ClosedError, match="producer is closed; make a new one"):
            call()
    producer.close()

    assert not producer.bootstrap_connected()
    assert sent.get(0).offset == 0
    assert broker.values() == [b"v"]


def test_a_producer_can_be_used_in_a_child_and_what_lingered_stays_the_parents(broker, producer):
    sent = producer.send("t", b"parent")

    def child():
        if not sent.is_done:
            with pytest.raises(errors.ForkedError, match="made in process"):
                sent.get(1)
        producer.send("t", b"child")
        producer.close()

    broker.fork(child).result()
    producer.flush()

    assert sorted(broker.values()) == [b"child", b"parent"]
    assert sent.get(0).partition == 0


def test_an_inherited_producer_can_be_closed_in_the_child_without_use(broker, producer):
    producer.send("t", b"parent")

    broker.fork(producer.close).result()
    producer.flush()
    producer.send("t", b"again")
    producer.flush()

    assert broker.values() == [b"parent", b"again"]


def test_a_producer_that_waits_for_space_can_be_used_by_its_signal_handler(broker, place):
    broker.create_queue("full")
    producer = broker.producer(max_block_ms=300)
    sent = []
    before = signal.signal(signal.SIGALRM, lambda *_: sent.append(producer.send("t", b"from the handler")))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(errors.BufferFullError):
            for _ in range(100):
                producer.send("full", b"x" * 10_000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert [future.get(0).offset for future in sent] == [0]
    assert broker.values() == [b"from the handler"]


def test_a_timeout_of_closing_that_cannot_be_is_refused_and_it_stays_open(broker, place):
    consumer = broker.consumer("t")

    for timeout_ms in (-1, math.nan):
        with pytest.raises(ValueError, match="0 or more milliseconds"):
            consumer.close(timeout_ms=timeout_ms)

    assert consumer.assignment() == {TopicPartition("t", 0)}
