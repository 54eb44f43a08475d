"""ShareConsumer: workers that are killed, stopped, forked, woken or used by several threads."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from share_workers import LONG_MS, counts, flat, numbers, place, polled, send, some, start_taker

from shmq import errors

EXPLICIT = {"share_acknowledgement_mode": "explicit"}
TRIES = 5


def test_a_killed_workers_record_comes_again_at_once(broker):
    broker.create()
    consumer = broker.share_consumer("t")
    took = []
    for number in range(TRIES):
        send(broker, 1, first=number)
        worker, [taken] = start_taker(broker)
        assert taken == number
        assert consumer.poll() == {}

        began = time.monotonic()
        worker.kill()
        [record] = flat(consumer.poll(LONG_MS))
        took.append(time.monotonic() - began)
        assert (record.value, record.delivery_count) == (b"%d" % number, 2)

    assert min(took) < 0.2  # some milliseconds on a machine of one's own
    consumer.commit_sync()
    assert counts(broker) == some(accepted=TRIES)


def test_a_killed_workers_records_come_again_in_order_and_before_newer_ones(broker):
    broker.create()
    send(broker, 10)
    worker, taken = start_taker(broker, most=6)
    assert taken == list(range(6))
    worker.kill()

    consumer = broker.share_consumer("t")
    got = flat(consumer.poll(LONG_MS)) + polled(consumer)

    assert [(record.offset, record.delivery_count) for record in got] == [
        (offset, 2 if offset < 6 else 1) for offset in range(10)
    ]


def test_a_stopped_workers_record_comes_again_after_its_lock_and_it_is_too_late_then(broker):
    broker.create()
    send(broker, 1)
    read, write = os.pipe()

    def work():
        consumer = broker.share_consumer("t", **EXPLICIT, acquisition_lock_duration_ms=200)
        [record] = flat(consumer.poll(LONG_MS))
        os.write(write, b"x")
        os.kill(os.getpid(), signal.SIGSTOP)
        consumer.acknowledge(record)
        return consumer.commit_sync()[place()]

    worker = broker.fork(work)
    os.read(read, 1)
    began = time.monotonic()
    other = broker.share_consumer("t", **EXPLICIT)

    [record] = flat(other.poll(LONG_MS))
    waited = time.monotonic() - began
    worker.signal(signal.SIGCONT)
    error = worker.result()
    other.acknowledge(record)

    assert 0.1 < waited < 10
    assert record.delivery_count == 2
    assert isinstance(error, errors.InvalidRecordStateError)
    assert other.commit_sync() == {place(): None}
    assert counts(broker) == some(accepted=1)
    os.close(read)
    os.close(write)


def test_without_a_deadline_a_record_stays_for_as_long_as_its_process_lives(broker):
    broker.create()
    send(broker, 1)
    worker, _ = start_taker(broker, acquisition_lock_duration_ms=float("inf"))
    consumer = broker.share_consumer("t", acquisition_lock_duration_ms=float("inf"))

    assert consumer.poll(timeout_ms=300) == {}
    worker.kill()

    assert numbers(consumer.poll(LONG_MS)) == [0]


def test_a_record_that_kills_every_worker_ends_in_the_dead_letters_and_holds_up_nobody(broker):
    broker.create()
    broker.create("dead")
    send(broker, 20)

    def work():
        with broker.share_consumer(
            "t", consumer_timeout_ms=200, dead_letter_topic="dead", delivery_count_limit=3
        ) as all_:
            for record in all_:
                if record.value == b"7":
                    os.kill(os.getpid(), signal.SIGKILL)

    deaths = 0
    while counts_or_none(broker) != some(accepted=19, rejected=1):
        worker = broker.fork(work)
        worker.reap()
        deaths += 1
        assert deaths < 20
    [letter] = broker.read("dead")

    assert deaths == 4  # 3 deliveries, and the one who gave it up
    assert letter.value == b"7"
    assert dict(letter.headers)["shmq.dead.delivery_count"] == b"3"
    assert dict(letter.headers)["shmq.dead.reason"] == b"delivered 3 times and not settled"


def test_a_record_that_kills_every_worker_takes_none_along_that_was_polled_with_it(broker):
    broker.create()
    send(broker, 30)

    def work():
        consumer = broker.share_consumer("t", dead_letter_topic="dead", delivery_count_limit=2)
        while batches := consumer.poll(timeout_ms=200):
            if 7 in numbers(batches):
                os.kill(os.getpid(), signal.SIGKILL)

    deaths = 0
    while counts_or_none(broker) != some(accepted=29, rejected=1):
        broker.fork(work).reap()
        deaths += 1
        assert deaths < 20

    assert deaths == 3
    assert broker.values("dead") == [b"7"]


def test_a_record_that_comes_again_comes_alone(broker):
    broker.create(partitions=3)
    send(broker, 9)
    with broker.share_consumer("t") as first:
        first.poll()
    send(broker, 9, first=9)
    consumer = broker.share_consumer("t")

    batches = []
    while batch := flat(consumer.poll()):
        batches.append([record.delivery_count for record in batch])

    assert sum(map(len, batches)) == 18
    assert sorted(batches, key=len)[:9] == [[2]] * 9
    assert all(batch in ([2], [1] * len(batch)) for batch in batches)


def counts_or_none(broker):
    try:
        return counts(broker)
    except errors.GroupIdNotFoundError:
        return None


def test_a_forked_child_has_nothing_of_its_parents(broker):
    broker.create()
    send(broker, 2)
    consumer = broker.share_consumer("t", **EXPLICIT)
    first, second = flat(consumer.poll())
    consumer.acknowledge(first)

    def work():
        for call in (consumer.poll, consumer.commit_sync, lambda: consumer.acknowledge(second)):
            with pytest.raises(errors.ForkedError):
                call()
        consumer.close()
        with broker.share_consumer("t") as own:
            return numbers(own.poll(timeout_ms=50))

    assert broker.fork(work).result() == []
    consumer.acknowledge(second)
    assert consumer.commit_sync() == {place(): None}
    assert counts(broker) == some(accepted=2)


def test_a_worker_that_ends_without_closing_leaves_its_records_to_the_others(broker):
    broker.create()
    send(broker, 1)

    taken = broker.run(
        "from shmq import ShareConsumer\n"
        "consumer = ShareConsumer('t', group_id='g', bootstrap_servers=address)\n"
        "print(len(consumer.poll(5000)))"
    )

    assert taken == "1\n"
    [record] = flat(broker.share_consumer("t").poll(LONG_MS))
    assert record.delivery_count == 2


def test_only_one_thread_at_a_time_may_be_inside(broker):
    broker.create()
    consumer = broker.share_consumer("t", **EXPLICIT)
    errors_seen = []
    polling = threading.Thread(target=lambda: wakeable(consumer))
    polling.start()

    def other():
        while not errors_seen:
            try:
                consumer.commit_sync()
            except errors.ConcurrentUseError as error:
                errors_seen.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(20)
    consumer.wakeup()
    polling.join(20)

    assert "is in use by thread" in str(errors_seen[0])


def wakeable(consumer):
    try:
        return consumer.poll(LONG_MS)
    except errors.WakeupError:
        return "woken"


def test_threads_with_consumers_of_their_own_share_the_work(broker):
    broker.create(partitions=2)
    send(broker, 400)
    got: list[int] = []

    def work():
        with broker.share_consumer("t", max_poll_records=5, consumer_timeout_ms=300) as consumer:
            for record in consumer:
                got.append(int(record.value))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(got) == list(range(400))
    assert counts(broker) == some(accepted=400)


def test_wakeup_ends_a_wait_and_loses_nothing(broker):
    broker.create()
    consumer = broker.share_consumer("t")
    timer = threading.Timer(0.05, consumer.wakeup)
    timer.start()

    with pytest.raises(errors.WakeupError):
        consumer.poll(LONG_MS)
    timer.join()
    consumer.wakeup()
    send(broker, 3)
    with pytest.raises(errors.WakeupError):
        consumer.poll()

    assert numbers(consumer.poll(LONG_MS)) == [0, 1, 2]


def test_what_a_signal_handler_raises_in_a_wait_loses_nothing(broker):
    broker.create()
    consumer = broker.share_consumer("t")

    def ring(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(TimeoutError):
            consumer.poll(LONG_MS)
    finally:
        signal.signal(signal.SIGALRM, before)
    send(broker, 1)

    assert numbers(consumer.poll(LONG_MS)) == [0]


def test_closing_from_a_signal_handler_in_a_wait_is_refused(broker):
    broker.create()
    consumer = broker.share_consumer("t")
    before = signal.signal(signal.SIGALRM, lambda *_: consumer.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(errors.ConcurrentUseError):
            consumer.poll(LONG_MS)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_dead_members_are_no_members(broker, wait_until):
    broker.create()
    send(broker, 1)
    worker, _ = start_taker(broker)
    assert [each["members"] for each in broker.admin.list_share_groups()] == [1]

    worker.kill()

    assert [each["members"] for each in broker.admin.list_share_groups()] == [0]
    assert broker.admin.delete_share_groups(["g"]) == [("g", "OK")]


def test_ctrl_c_in_a_deserializer_keeps_nothing_from_the_others(broker):
    broker.create(partitions=2)
    send(broker, 10)
    read = []

    def deserialize(data):
        read.append(data)
        if len(read) == 4:
            signal.raise_signal(signal.SIGINT)
        return data

    consumer = broker.share_consumer("t", value_deserializer=deserialize)
    with pytest.raises(KeyboardInterrupt):
        consumer.poll()

    assert counts(broker) == some(ready=10)
    assert sorted(int(record.value) for record in polled(consumer)) == list(range(10))
    assert counts(broker) == some(accepted=10)
