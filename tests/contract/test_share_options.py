"""ShareConsumer: options and arguments that cannot be."""

from __future__ import annotations

import math

import pytest

from shmq import ShareConsumer, errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_id": None}, "group_id=None: a share consumer needs one"),
        ({"group_id": ""}, "must not be empty"),
        ({"group_id": 5}, "must be text"),
        ({"delivery_count_limit": 0}, "1..100 is allowed"),
        ({"delivery_count_limit": 101}, "1..100 is allowed"),
        ({"delivery_count_limit": 1.5}, "must be a whole number"),
        ({"acquisition_lock_duration_ms": 0}, "1..inf ms is allowed"),
        ({"acquisition_lock_duration_ms": math.nan}, "out of range"),
        ({"acquisition_lock_duration_ms": "1s"}, "must be a number"),
        ({"share_acknowledgement_mode": "auto"}, "must be one of implicit, explicit"),
        ({"auto_offset_reset": "none"}, "must be one of earliest, latest"),
        ({"max_poll_records": 0}, "out of range"),
        ({"value_deserializer": 5}, "must be None, a callable"),
        ({"dead_letter_topic": 5}, "must be text"),
        ({"dead_letter": "x"}, "did you mean"),
        ({"enable_auto_commit": True}, "there is no such option"),
        ({"isolation_level": "read_committed"}, "transactions"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(broker, options, message):
    with pytest.raises(errors.KafkaConfigurationError, match=message):
        broker.share_consumer("t", **options)
    assert broker.admin.list_topics() == []


def test_a_group_is_needed(broker):
    with pytest.raises(errors.KafkaConfigurationError, match="group_id"):
        ShareConsumer("t", bootstrap_servers=broker.address)


@pytest.mark.parametrize("topics", ["t", [], [5], 5, ["no/name"], None])
def test_a_subscription_that_cannot_be_is_refused_and_the_old_one_holds(broker, topics):
    broker.create()
    consumer = broker.share_consumer("t")

    with pytest.raises((TypeError, errors.IllegalArgumentError, errors.InvalidTopicError)):
        consumer.subscribe(topics)

    assert consumer.subscription() == {"t"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((-1,), errors.IllegalArgumentError),
        ((math.nan,), errors.IllegalArgumentError),
        (("1",), TypeError),
        ((None,), TypeError),
        ((0, 0), ValueError),
        ((0, -1), ValueError),
        ((0, 1.5), TypeError),
        ((0, True), TypeError),
    ],
)
def test_a_poll_that_cannot_be_is_refused_and_takes_nothing(broker, arguments, error):
    broker.create()
    broker.producer().send("t", b"0")
    consumer = broker.share_consumer("t")

    with pytest.raises(error):
        consumer.poll(*arguments)

    assert [len(records) for records in consumer.poll().values()] == [1]


def test_timeouts_that_cannot_be_are_refused(broker):
    consumer = broker.share_consumer("t")
    for call in (consumer.commit_sync, consumer.close):
        with pytest.raises(errors.IllegalArgumentError):
            call(timeout_ms=-1)


def test_a_group_with_any_name_is_a_share_group(broker):
    for name in ("a/b", "ünïcode ☃", "x" * 300):
        broker.share_consumer("t", group_id=name).close()

    assert {each["group_id"] for each in broker.admin.list_share_groups()} == {"a/b", "ünïcode ☃", "x" * 300}
