"""Consumer.wakeup: ends the poll under way or else the next one, once, whoever calls it and whenever."""

from __future__ import annotations

import random
import signal
import threading
import time

import pytest

from shmq import errors

LONG_MS = 60_000


@pytest.fixture
def place(broker):
    return broker.create()


def values(batches) -> list[bytes]:
    return [record.value for records in batches.values() for record in records]


@pytest.fixture
def wake_when(wait_until):
    """`wake_when(consumer, condition)`: a thread that calls `wakeup` once the condition holds."""
    threads = []

    def start(consumer, condition):
        threads.append(threading.Thread(target=lambda: (wait_until(condition), consumer.wakeup())))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_a_wakeup_before_a_poll_ends_the_next_one_and_no_other(broker, place):
    consumer = broker.consumer("t")

    consumer.wakeup()

    with pytest.raises(errors.WakeupError):
        consumer.poll(timeout_ms=LONG_MS)
    assert consumer.poll(timeout_ms=1) == {}


def test_many_wakeups_before_a_poll_are_one(broker, place):
    consumer = broker.consumer("t")

    for _ in range(10):
        consumer.wakeup()

    with pytest.raises(errors.WakeupError):
        consumer.poll()
    assert [consumer.poll() for _ in range(10)] == [{}] * 10


@pytest.mark.parametrize(("spin_us", "how"), [(0, "asleep"), (20, "asleep"), (0, "without a partition")])
def test_a_wakeup_from_another_thread_ends_the_poll_under_way(broker, place, spin_us, how, wake_when):
    consumer = broker.consumer(*([] if how == "without a partition" else ["t"]), spin_us=spin_us)
    wake_when(consumer, lambda: consumer._slept)

    with pytest.raises(errors.WakeupError) as woken:
        consumer.poll(timeout_ms=LONG_MS)

    assert not woken.value.retriable
    assert consumer.poll() == {}


def test_a_wakeup_ends_a_spin(broker, place, wake_when):
    consumer = broker.consumer("t", spin_us=1_000_000)
    took_s = []

    for _ in range(5):
        wake_when(consumer, lambda: consumer._is_inside)
        began = time.monotonic()
        with pytest.raises(errors.WakeupError):
            consumer.poll(timeout_ms=LONG_MS)
        took_s.append(time.monotonic() - began)

    assert min(took_s) < 0.5, "it was not woken, but had spun to its end"


def test_a_wakeup_ends_an_iteration_which_can_go_on(broker, place, wake_when):
    consumer = broker.consumer("t")
    wake_when(consumer, lambda: consumer._slept)

    with pytest.raises(errors.WakeupError):
        next(consumer)
    broker.producer().send("t", b"v")

    assert next(consumer).value == b"v"


def test_a_wakeup_loses_no_record(broker, place):
    broker.producer().send_many("t", [b"0", b"1", b"2"])
    consumer = broker.consumer("t")
    got = [next(consumer).value]

    consumer.wakeup()
    for call in (consumer.poll, lambda: next(consumer)):
        with pytest.raises(errors.WakeupError):
            call()
        consumer.wakeup()
    with pytest.raises(errors.WakeupError):
        consumer.poll()

    assert got + values(consumer.poll()) == [b"0", b"1", b"2"]


def test_what_a_poll_had_read_when_it_was_woken_comes_with_the_next_one(broker, place, wake_when):
    broker.producer().send_many("t", [b"0", b"1", b"2"])
    consumer = broker.consumer("t", fetch_min_bytes=1 << 30, fetch_max_wait_ms=LONG_MS)
    wake_when(consumer, lambda: consumer._slept)

    with pytest.raises(errors.WakeupError):
        consumer.poll(timeout_ms=LONG_MS)

    assert consumer.position(place) == 0
    assert values(consumer.poll(timeout_ms=LONG_MS)) == [b"0", b"1", b"2"]
    assert consumer.position(place) == 3


@pytest.mark.parametrize("spin_us", [0, 200])
def test_no_wakeup_is_lost_and_none_is_doubled_whenever_it_comes(broker, place, spin_us):
    consumer = broker.consumer("t", spin_us=spin_us)
    rng = random.Random(7)
    rounds = 300
    asked, answered = threading.Semaphore(0), 0

    def wake():
        for _ in range(rounds):
            asked.acquire()
            for _ in range(rng.randrange(2000)):  # a while, which differs from round to round
                pass
            consumer.wakeup()

    waker = threading.Thread(target=wake)
    waker.start()
    began = time.monotonic()
    for _ in range(rounds):
        asked.release()
        with pytest.raises(errors.WakeupError):
            consumer.poll(timeout_ms=LONG_MS)
        answered += 1
        assert consumer.poll() == {}
    waker.join(20)

    assert answered == rounds
    assert time.monotonic() - began < 0.05 * rounds, "it was not woken, but looked by itself"


def test_records_and_wakeups_come_through_side_by_side(broker, place):
    consumer = broker.consumer("t", spin_us=0)
    producer = broker.producer()
    wakeups, records = 100, 2000

    def work():
        for number in range(records):
            producer.send("t", b"%d" % number)
            if number % (records // wakeups) == 0:
                consumer.wakeup()

    worker = threading.Thread(target=work)
    worker.start()
    got, woken = [], 0
    while len(got) < records:
        try:
            batches = consumer.poll(timeout_ms=LONG_MS)
        except errors.WakeupError:
            woken += 1
            continue
        assert batches, f"only {len(got)} records came"
        got += values(batches)
    worker.join(20)

    assert got == [b"%d" % number for number in range(records)]
    assert 1 <= woken <= wakeups


@pytest.mark.parametrize("spin_us", [0, 1_000_000])
def test_a_signal_handler_may_wake_its_own_thread(broker, place, spin_us):
    consumer = broker.consumer("t", spin_us=spin_us)
    before = signal.signal(signal.SIGALRM, lambda *_: consumer.wakeup())
    try:
        for delay_s in (0.0001, 0.001, 0.01, 0.05):
            signal.setitimer(signal.ITIMER_REAL, delay_s)
            with pytest.raises(errors.WakeupError):
                consumer.poll(timeout_ms=LONG_MS)
            assert consumer.poll() == {}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_waking_one_consumer_ends_no_other_ones_wait(broker, place, wake_when):
    mine, other = broker.consumer("t"), broker.consumer("t")
    wake_when(other, lambda: mine._slept)
    began = time.monotonic()

    assert mine.poll(timeout_ms=200) == {}

    assert time.monotonic() - began >= 0.2
    with pytest.raises(errors.WakeupError):
        other.poll()


def test_waking_a_consumer_that_is_closed_does_nothing(broker, place):
    consumer = broker.consumer("t")
    consumer.close()

    consumer.wakeup()

    with pytest.raises(errors.ClosedError):
        consumer.poll()
