"""ShareConsumer: accepting, releasing, rejecting, renewing, and what comes too late."""

from __future__ import annotations

import time

import pytest
from share_workers import LONG_MS, counts, flat, numbers, place, polled, send, some

from shmq import AcknowledgeType, ConsumerRecord, errors

ACCEPT, RELEASE, REJECT, RENEW = AcknowledgeType
EXPLICIT = {"share_acknowledgement_mode": "explicit"}
SHORT = {"acquisition_lock_duration_ms": 30}


def test_polling_again_accepts_what_was_polled_before(broker, ten_records):
    consumer = broker.share_consumer("t")
    consumer.poll(max_records=4)

    assert counts(broker) == some(in_flight=4, ready=6)
    consumer.poll(max_records=1)
    assert counts(broker) == some(accepted=4, in_flight=1, ready=5)
    assert consumer.commit_sync() == {place(): None}
    assert counts(broker) == some(accepted=5, ready=5)
    assert consumer.commit_sync() == {}


def test_in_implicit_mode_nothing_is_acknowledged_one_by_one(broker, ten_records):
    consumer = broker.share_consumer("t")
    [record] = flat(consumer.poll(max_records=1))

    with pytest.raises(errors.IllegalStateError, match="share_acknowledgement_mode='explicit'"):
        consumer.acknowledge(record)


def test_each_record_is_settled_on_its_own(broker, ten_records):
    consumer = broker.share_consumer("t", **EXPLICIT)
    records = flat(consumer.poll())
    for record in records:
        consumer.acknowledge(record, (ACCEPT, RELEASE, REJECT)[record.offset % 3])

    assert counts(broker) == some(in_flight=10)
    assert consumer.commit_sync() == {place(): None}

    assert counts(broker) == some(accepted=4, ready=3, rejected=3)
    again = polled(broker.share_consumer("t"))
    assert [(record.offset, record.delivery_count) for record in again] == [(1, 2), (4, 2), (7, 2)]


def test_in_explicit_mode_every_record_must_be_acknowledged_before_the_next_poll(broker, ten_records):
    consumer = broker.share_consumer("t", **EXPLICIT)
    first, second = flat(consumer.poll(max_records=2))
    consumer.acknowledge(first)

    with pytest.raises(errors.IllegalStateError, match="1 records of t-0 are not acknowledged, the first at offset 1"):
        consumer.poll()
    consumer.commit_sync()
    with pytest.raises(errors.IllegalStateError, match="not acknowledged"):
        consumer.poll(timeout_ms=LONG_MS)
    consumer.acknowledge(second)

    assert numbers(consumer.poll()) == list(range(2, 10))
    assert counts(broker) == some(accepted=2, in_flight=8)


def test_acknowledging_twice_is_an_error_at_once_and_changes_nothing(broker, ten_records):
    consumer = broker.share_consumer("t", **EXPLICIT)
    [record] = flat(consumer.poll(max_records=1))
    consumer.acknowledge(record)

    with pytest.raises(
        errors.IllegalStateError, match="t-0 offset 0, delivery 1: it was acknowledged already, with ACCEPT"
    ):
        consumer.acknowledge(record, REJECT)
    consumer.commit_sync()
    with pytest.raises(errors.IllegalStateError, match="it is not with this consumer"):
        consumer.acknowledge(record)

    assert counts(broker) == some(accepted=1, ready=9)


def test_a_record_of_another_consumer_cannot_be_acknowledged(broker, ten_records):
    one, two = broker.share_consumer("t", **EXPLICIT), broker.share_consumer("t", **EXPLICIT)
    [record] = flat(one.poll(max_records=1))
    [plain] = flat(broker.consumer("t").poll(max_records=1))
    two.poll(max_records=1)

    for foreign in (record, plain):
        with pytest.raises(errors.IllegalStateError, match="it is not with this consumer"):
            two.acknowledge(foreign)
    with pytest.raises(errors.IllegalStateError, match="does not read its partition"):
        two.acknowledge(record._replace(topic="other"))
    with pytest.raises(TypeError, match="a record that poll"):
        two.acknowledge(0)  # type: ignore[arg-type]
    assert counts(broker) == some(in_flight=2, ready=8)


def test_an_earlier_delivery_of_a_record_that_came_again_cannot_be_acknowledged(broker, ten_records):
    consumer = broker.share_consumer("t", **EXPLICIT)
    [first] = flat(consumer.poll(max_records=1))
    consumer.acknowledge(first, RELEASE)
    [second] = flat(consumer.poll(max_records=1))

    with pytest.raises(errors.IllegalStateError, match="delivery 1: it is not with this consumer"):
        consumer.acknowledge(first)
    consumer.acknowledge(second)

    assert (first.offset, second.offset, second.delivery_count) == (0, 0, 2)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((0,), {}, errors.IllegalArgumentError, "type=0: one of AcknowledgeType"),
        (("ACCEPT",), {}, errors.IllegalArgumentError, "one of AcknowledgeType"),
        ((True,), {}, errors.IllegalArgumentError, "one of AcknowledgeType"),
        ((ACCEPT,), {"delay_ms": 1}, errors.IllegalArgumentError, "only a RELEASE can be delayed, not ACCEPT"),
        ((RELEASE,), {"delay_ms": -1}, errors.IllegalArgumentError, "delay_ms=-1"),
        ((RELEASE,), {"delay_ms": float("nan")}, errors.IllegalArgumentError, "delay_ms=nan"),
        ((RELEASE,), {"delay_ms": float("inf")}, errors.IllegalArgumentError, "at most"),
        ((RELEASE,), {"delay_ms": "1"}, TypeError, "delay_ms must be a number"),
        ((ACCEPT,), {"reason": "x"}, errors.IllegalArgumentError, "a reason goes with REJECT"),
        ((REJECT,), {"reason": 5}, TypeError, "reason must be text"),
    ],
)
def test_a_saying_that_cannot_be_is_refused(broker, ten_records, arguments, options, error, message):
    consumer = broker.share_consumer("t", **EXPLICIT)
    [record] = flat(consumer.poll(max_records=1))

    with pytest.raises(error, match=message):
        consumer.acknowledge(record, *arguments, **options)
    consumer.acknowledge(record)
    assert consumer.commit_sync() == {place(): None}


def test_an_expired_lock_gives_the_record_to_another(broker, ten_records):
    hung = broker.share_consumer("t", **EXPLICIT, **SHORT)
    [late] = flat(hung.poll(max_records=1))
    other = broker.share_consumer("t", **EXPLICIT)
    began = time.monotonic()
    got = flat(other.poll(LONG_MS))
    assert [record.offset for record in got] == list(range(1, 10))
    for record in got:
        other.acknowledge(record)

    [again] = flat(other.poll(LONG_MS))

    assert (again.offset, again.delivery_count, late.delivery_count) == (0, 2, 1)
    assert time.monotonic() - began < 10


def test_a_late_acknowledgement_is_told_and_changes_nothing(broker, ten_records, wait_until):
    hung = broker.share_consumer("t", **EXPLICIT, **SHORT)
    late = flat(hung.poll(max_records=3))
    other = broker.share_consumer("t", **EXPLICIT)
    again = []

    def take():
        for record in flat(other.poll()):
            other.acknowledge(record, ACCEPT if record.offset > 2 else RENEW)
            again.extend([record] if record.offset <= 2 else [])
        return len(again) == 3

    wait_until(take)
    hung.acknowledge(late[0])
    hung.acknowledge(late[1], REJECT)
    hung.acknowledge(late[2], RELEASE)
    error = hung.commit_sync()[place()]

    assert isinstance(error, errors.InvalidRecordStateError)
    assert error.offsets == (0, 1, 2)
    assert "came too late" in str(error)
    assert not error.retriable
    assert error.error_code == 121
    other.commit_sync()
    assert counts(broker) == some(accepted=7, in_flight=3)
    for record in again:
        other.acknowledge(record)
    assert other.commit_sync() == {place(): None}
    assert counts(broker) == some(accepted=10)


def test_what_is_late_does_not_keep_the_rest_from_being_settled(broker, ten_records, wait_until):
    hung = broker.share_consumer("t", **EXPLICIT, **SHORT)
    late, renewed = flat(hung.poll(max_records=2))
    other = broker.share_consumer("t", **EXPLICIT)

    def keep_one():
        hung.acknowledge(renewed, RENEW)
        hung.commit_sync()
        found = flat(other.poll())
        for record in found:
            other.acknowledge(record)
        return late.offset in [record.offset for record in found]

    wait_until(keep_one)
    hung.acknowledge(late)
    hung.acknowledge(renewed)

    assert hung.commit_sync()[place()].offsets == (late.offset,)
    other.commit_sync()
    assert counts(broker) == some(accepted=10)


def test_an_acknowledgement_after_the_lock_counts_if_nobody_else_has_the_record(broker, ten_records):
    """As in Kafka it may be refused, too, once the expiry was noticed; but it is never half done."""
    consumer = broker.share_consumer("t", **EXPLICIT, acquisition_lock_duration_ms=1)
    [record] = flat(consumer.poll(max_records=1))
    began = time.monotonic()
    while time.monotonic() - began < 0.02:
        pass
    consumer.acknowledge(record)
    error = consumer.commit_sync()[place()]

    assert counts(broker) == (some(accepted=1, ready=9) if error is None else some(ready=10))


def test_renewing_keeps_a_record_for_longer_than_its_lock(broker, ten_records):
    consumer = broker.share_consumer("t", **EXPLICIT, acquisition_lock_duration_ms=300)
    other = broker.share_consumer("t", **EXPLICIT)
    [record] = flat(consumer.poll(max_records=1))
    for each in flat(other.poll()):
        other.acknowledge(each)
    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        consumer.acknowledge(record, RENEW)
        assert consumer.commit_sync() == {place(): None}
        assert other.poll(timeout_ms=20) == {}

    consumer.acknowledge(record)
    assert consumer.commit_sync() == {place(): None}
    assert counts(broker) == some(accepted=10)


def test_a_renewed_record_waits_for_its_end_while_others_are_polled(broker, ten_records):
    consumer = broker.share_consumer("t", **EXPLICIT)
    [long] = flat(consumer.poll(max_records=1))
    consumer.acknowledge(long, RENEW)
    [short] = flat(consumer.poll(max_records=1))
    consumer.acknowledge(short)
    consumer.acknowledge(long, RENEW)
    consumer.acknowledge(long, REJECT)  # the last word before a commit counts after a RENEW

    assert consumer.commit_sync() == {place(): None}
    assert counts(broker) == some(accepted=1, rejected=1, ready=8)


def test_a_record_released_with_a_delay_is_not_delivered_before(broker):
    broker.create()
    send(broker, 1)
    consumer = broker.share_consumer("t", **EXPLICIT)
    [record] = flat(consumer.poll())
    consumer.acknowledge(record, RELEASE, delay_ms=200)
    began = time.monotonic()
    consumer.commit_sync()
    assert counts(broker) == some(delayed=1)
    assert consumer.poll() == {}

    [again] = flat(consumer.poll(LONG_MS))

    assert 0.19 <= time.monotonic() - began < 10
    assert (again.value, again.delivery_count) == (b"0", 2)


def test_a_record_that_was_released_goes_to_whoever_asks_next_and_in_front(broker, ten_records):
    one, two = broker.share_consumer("t", **EXPLICIT), broker.share_consumer("t")
    for record in flat(one.poll(max_records=3)):
        one.acknowledge(record, RELEASE)
    one.commit_sync()

    again = polled(two)

    assert [record.offset for record in again] == list(range(10))
    assert [record.delivery_count for record in again] == [2] * 3 + [1] * 7


def test_closing_settles_what_was_acknowledged_and_releases_the_rest(broker, ten_records):
    with broker.share_consumer("t", **EXPLICIT) as consumer:
        records = flat(consumer.poll(max_records=6))
        consumer.acknowledge(records[0])
        consumer.acknowledge(records[1], RENEW)
        consumer.acknowledge(records[2], REJECT)

    assert counts(broker) == some(accepted=1, rejected=1, ready=8)
    again = polled(broker.share_consumer("t"))
    assert [(each.offset, each.delivery_count) for each in again][:5] == [(1, 2), (3, 2), (4, 2), (5, 2), (6, 1)]


def test_what_was_in_work_when_an_exception_came_is_not_accepted(broker, ten_records):
    with pytest.raises(ZeroDivisionError), broker.share_consumer("t") as consumer:
        for record in consumer:
            assert 1 / (3 - int(record.value))

    assert counts(broker) == some(accepted=3, ready=7)


def test_a_closed_consumer_says_so(broker, ten_records):
    consumer = broker.share_consumer("t", **EXPLICIT)
    [record] = flat(consumer.poll(max_records=1))
    consumer.close()
    consumer.close()

    for call in (consumer.poll, consumer.commit_sync, lambda: consumer.acknowledge(record), lambda: next(consumer)):
        with pytest.raises(errors.ClosedError):
            call()
    assert consumer.metrics() == {}


def test_metrics_count(broker, ten_records):
    consumer = broker.share_consumer("t")
    consumer.poll(max_records=4)
    consumer.commit_sync()

    metrics = consumer.metrics()["share-consumer-metrics"]

    assert metrics["records-consumed-total"] == metrics["acknowledgements-send-total"] == 4
    assert metrics["bytes-consumed-total"] == 4
    assert metrics["acknowledgements-error-total"] == metrics["records-given-up-total"] == 0
    assert broker.share_consumer("t", metrics_enabled=False).metrics() == {}


def test_a_record_made_by_hand_is_nobodys(broker, ten_records):
    consumer = broker.share_consumer("t", **EXPLICIT)
    [record] = flat(consumer.poll(max_records=1))
    made = ConsumerRecord(*record)

    with pytest.raises(errors.IllegalStateError, match="not with this consumer"):
        consumer.acknowledge(made)
