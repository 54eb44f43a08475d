"""ShareConsumer: who is told what became of acknowledgements, and when."""

from __future__ import annotations

import pytest
from share_workers import LONG_MS, counts, flat, numbers, place, send, some

from shmq import errors

EXPLICIT = {"share_acknowledgement_mode": "explicit"}
SHORT = {"acquisition_lock_duration_ms": 30}


def test_callbacks_tell_what_was_settled_and_what_came_too_late(broker, ten_records, wait_until):
    consumer = broker.share_consumer("t", **EXPLICIT, **SHORT)
    other = broker.share_consumer("t")
    told = []
    late = flat(consumer.poll(max_records=1))
    wait_until(lambda: late[0].offset in numbers(other.poll()))
    good = []
    send(broker, 1, first=10)
    consumer.set_acknowledgement_commit_callback(lambda offsets, error: told.append((offsets, error)))
    consumer.acknowledge(late[0])
    good = flat(consumer.poll(LONG_MS))
    assert told == [({place(): {0}}, errors.InvalidRecordStateError("g", "t", 0, (0,)))]
    told.clear()

    consumer.acknowledge(good[0])
    consumer.commit_async()
    assert told == []
    consumer.poll()
    assert told == [({place(): {10}}, None)]


def test_a_callback_of_its_own_hears_of_one_commit(broker, ten_records):
    consumer = broker.share_consumer("t")
    told = []
    consumer.poll(max_records=2)

    consumer.commit_async(lambda offsets, error: told.append((offsets, error)))
    assert counts(broker) == some(accepted=2, ready=8)
    consumer.commit_sync()

    assert told == [({place(): {0, 1}}, None)]


def test_a_callback_may_use_the_consumer(broker, ten_records):
    consumer = broker.share_consumer("t")
    got = []
    consumer.set_acknowledgement_commit_callback(lambda offsets, error: got.extend(numbers(consumer.poll(0, 1))))

    first = numbers(consumer.poll(max_records=1))
    second = numbers(consumer.poll(max_records=1))

    assert sorted(first + second + got) == list(range(3))


def test_what_a_callback_raises_comes_out_of_poll_and_loses_nothing(broker, ten_records):
    def fail(offsets, error):
        raise RuntimeError("no")

    consumer = broker.share_consumer("t")
    consumer.poll(max_records=1)
    consumer.commit_async(fail)

    with pytest.raises(RuntimeError, match="no"):
        consumer.poll()
    assert numbers(consumer.poll()) == list(range(1, 10))


def test_a_callback_cannot_close(broker, ten_records):
    consumer = broker.share_consumer("t")
    consumer.poll(max_records=1)
    consumer.commit_async(lambda offsets, error: consumer.close())

    with pytest.raises(errors.IllegalStateError, match="close\\(\\) from a callback"):
        consumer.poll()
    assert numbers(consumer.poll()) == list(range(1, 10))


def test_late_acknowledgements_that_nobody_asked_about_are_in_the_log(broker, ten_records, wait_until, caplog):
    hung = broker.share_consumer("t", **SHORT)
    hung.poll(max_records=1)
    other = broker.share_consumer("t")
    wait_until(lambda: 0 in numbers(other.poll()))

    hung.poll()

    assert "came too late" in caplog.text
