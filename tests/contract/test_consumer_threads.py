"""A consumer belongs to one thread at a time and to one process; whoever else comes is told, and nothing is harmed."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time

import pytest

from shmq import TopicPartition, errors

LONG_MS = 60_000
PLACE = TopicPartition("t", 0)

USES = {
    "poll": lambda consumer: consumer.poll(),
    "next": next,
    "assign": lambda consumer: consumer.assign([]),
    "assignment": lambda consumer: consumer.assignment(),
    "unsubscribe": lambda consumer: consumer.unsubscribe(),
    "seek": lambda consumer: consumer.seek(PLACE, 0),
    "seek_to_beginning": lambda consumer: consumer.seek_to_beginning(),
    "seek_to_end": lambda consumer: consumer.seek_to_end(),
    "position": lambda consumer: consumer.position(PLACE),
    "beginning_offsets": lambda consumer: consumer.beginning_offsets([PLACE]),
    "end_offsets": lambda consumer: consumer.end_offsets([PLACE]),
    "offsets_for_times": lambda consumer: consumer.offsets_for_times({PLACE: 0}),
    "highwater": lambda consumer: consumer.highwater(PLACE),
    "pause": lambda consumer: consumer.pause(PLACE),
    "resume": lambda consumer: consumer.resume(PLACE),
    "paused": lambda consumer: consumer.paused(),
    "topics": lambda consumer: consumer.topics(),
    "partitions_for_topic": lambda consumer: consumer.partitions_for_topic("t"),
}


@pytest.fixture
def consumer(broker):
    broker.create()
    return broker.consumer("t", consumer_timeout_ms=LONG_MS)


def errors_of(consumer) -> dict[str, str]:
    """What each use of the consumer raises."""
    found = {}
    for name, use in {**USES, "close": lambda consumer: consumer.close()}.items():
        try:
            use(consumer)
        except errors.ShmqError as error:
            found[name] = type(error).__name__
    return found


# -- threads ---------------------------------------------------------------------------------------------------------


def test_a_second_thread_is_told_and_the_first_one_goes_on(broker, consumer, wait_until):
    got = []
    polling = threading.Thread(target=lambda: got.append(consumer.poll(timeout_ms=LONG_MS)))
    polling.start()
    wait_until(lambda: consumer._slept)

    raised = errors_of(consumer)
    with pytest.raises(errors.ConcurrentUseError, match="in use by thread") as told:
        consumer.poll()
    others = (consumer.bootstrap_connected(), set(consumer.metrics()["consumer-metrics"]), repr(consumer))
    broker.producer().send("t", b"v")
    polling.join(20)

    assert raised == dict.fromkeys([*USES, "close"], "ConcurrentUseError")
    assert (told.value.thread_made, told.value.thread_now) == (polling.ident, threading.get_ident())
    assert others[0]
    assert [record.value for record in got[0][PLACE]] == [b"v"]


def test_threads_may_use_it_one_after_the_other(broker, consumer):
    broker.producer().send_many("t", [b"0", b"1", b"2"])
    got = []

    for _ in range(3):
        thread = threading.Thread(target=lambda: got.append(next(consumer).value))
        thread.start()
        thread.join(20)

    assert got == [b"0", b"1", b"2"]


def test_threads_that_do_not_take_turns_harm_nothing(broker, consumer):
    """Each record comes to one of the threads, once, and in order within each."""
    count = 20_000
    broker.producer().send_many("t", [b"%d" % number for number in range(count)])
    got, refused, failures = [[] for _ in range(4)], [0] * 4, []
    left = threading.Event()

    def work(index):
        try:
            while not left.is_set():
                try:
                    batches = consumer.poll(max_records=7)
                except errors.ConcurrentUseError:
                    refused[index] += 1
                    continue
                if not batches:
                    left.set()
                got[index] += [record.offset for record in batches.get(PLACE, [])]
        except BaseException as error:
            failures.append(error)
            left.set()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failures == []
    assert sorted(offset for offsets in got for offset in offsets) == list(range(count))
    assert all(offsets == sorted(offsets) for offsets in got)


def test_every_method_from_many_threads_at_once_harms_nothing(broker, consumer):
    broker.producer().send_many("t", [b"%d" % number for number in range(100)])
    unexpected = []
    done = threading.Event()

    def work(index):
        uses = [use for name, use in USES.items() if name not in ("next", "assign", "unsubscribe")]
        turn = index
        while not done.is_set():
            turn += 1
            try:
                uses[turn % len(uses)](consumer)
            except errors.ConcurrentUseError:
                continue
            except BaseException as error:
                unexpected.append(error)
                return

    threads = [threading.Thread(target=work, args=(index * 5,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        with contextlib.suppress(errors.ConcurrentUseError):
            consumer.assign([PLACE])
    done.set()
    for thread in threads:
        thread.join(20)
    consumer.resume(PLACE)
    consumer.seek_to_beginning()

    assert unexpected == []
    assert [record.offset for record in consumer.poll()[PLACE]] == list(range(100))


def test_a_consumer_in_use_is_closed_by_waking_it_first(consumer, wait_until):
    ended = []

    def work():
        with pytest.raises(errors.WakeupError):
            consumer.poll(timeout_ms=LONG_MS)
        ended.append(True)

    polling = threading.Thread(target=work)
    polling.start()
    wait_until(lambda: consumer._slept)
    with pytest.raises(errors.ConcurrentUseError):
        consumer.close()
    consumer.wakeup()
    polling.join(20)

    consumer.close()

    assert ended == [True]
    assert not consumer.bootstrap_connected()


@pytest.mark.parametrize("spin_us", [0, 1_000_000])
def test_other_threads_run_while_a_consumer_waits(broker, consumer, spin_us, wait_until):
    waiting = broker.consumer("t", spin_us=spin_us)
    stamps, stop = [], threading.Event()

    def work():
        while not stop.is_set():
            stamps.append(time.monotonic())

    worker = threading.Thread(target=work)
    worker.start()
    wait_until(lambda: stamps)
    began = time.monotonic()
    waiting.poll(timeout_ms=400)
    stop.set()
    worker.join(20)

    quarters = {int((stamp - began) / 0.1) for stamp in stamps if began <= stamp < began + 0.4}
    assert quarters == {0, 1, 2, 3}


# -- signal handlers -------------------------------------------------------------------------------------------------


def test_a_signal_handler_in_the_middle_of_a_poll_is_told(broker, consumer):
    raised = []

    def handler(*_):
        raised.append(errors_of(consumer))
        consumer.wakeup()

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(errors.WakeupError):
            consumer.poll(timeout_ms=LONG_MS)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert raised == [dict.fromkeys([*USES, "close"], "ConcurrentUseError")]


def test_what_a_handler_got_for_using_its_own_consumer_says_so(consumer):
    before = signal.signal(signal.SIGALRM, lambda *_: consumer.close())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(errors.ConcurrentUseError, match="do not call it from a signal handler"):
            consumer.poll(timeout_ms=LONG_MS)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert consumer.poll() == {}


# -- forks -----------------------------------------------------------------------------------------------------------


def test_a_child_is_told_that_the_consumer_is_its_parents(broker, consumer):
    made_in = os.getpid()
    broker.producer().send_many("t", [b"0", b"1"])
    next(consumer)

    def child():
        with pytest.raises(errors.ForkedError, match=f"made in process {made_in} and is used in {os.getpid()}"):
            consumer.poll()
        raised = errors_of(consumer)
        consumer.wakeup()
        return raised, consumer.bootstrap_connected()

    raised, is_open = broker.fork(child).result()

    assert raised == dict.fromkeys(USES, "ForkedError"), "close() alone may be called"
    assert not is_open
    assert next(consumer).value == b"1"


def test_a_child_reads_with_a_consumer_of_its_own(broker, consumer):
    broker.producer().send_many("t", [b"0", b"1"])
    consumer.poll(timeout_ms=20)

    assert broker.fork(broker.values).result() == [b"0", b"1"]


@pytest.mark.parametrize("end", ["close", "forget", "exit"])
def test_what_a_child_does_with_an_inherited_consumer_does_not_touch_its_parent(broker, end, wait_until):
    """Neither the doorbell that wakes it, nor the registration that holds producers back for it."""
    place = broker.create_queue()
    holder = [broker.consumer("t"), broker.consumer("t")]
    holder[0].poll(timeout_ms=20)
    doorbells = broker.doorbells()

    def child():
        if end == "close":
            for inherited in holder:
                inherited.close()
        if end == "forget":
            broker._clients.clear()
            holder.clear()
            gc.collect()

    broker.fork(child).result()
    (consumer, fast), producer = holder, broker.producer(max_block_ms=0)
    for _ in range(2):
        with pytest.raises(errors.BufferFullError):
            for _ in range(100):
                producer.send("t", b"x" * 10_000)
        fast.poll()
    offsets = [record.offset for record in consumer.poll(timeout_ms=LONG_MS)[place]]
    slept = consumer._slept
    sender = threading.Thread(target=lambda: (wait_until(lambda: consumer._slept > slept), producer.send("t", b"v")))
    sender.start()
    batch = consumer.poll(timeout_ms=LONG_MS)
    sender.join(20)

    assert broker.doorbells() == doorbells
    assert offsets == list(range(10))
    assert batch[place][0].value == b"v"
    assert consumer._rescued == 0, "its doorbell did not ring"


def test_a_fork_while_another_thread_is_inside_leaves_the_child_free(broker, consumer, wait_until):
    got = []
    polling = threading.Thread(target=lambda: got.append(consumer.poll(timeout_ms=LONG_MS)))
    polling.start()
    wait_until(lambda: consumer._slept)

    def child():
        with pytest.raises(errors.ForkedError):
            consumer.poll()
        consumer.close()
        broker.producer().send("t", b"from the child")
        return broker.values()

    values = broker.fork(child).result()
    polling.join(20)

    assert values == [b"from the child"]
    assert [record.value for record in got[0][PLACE]] == values, "the child's record wakes its parent"


def test_a_child_of_a_child_is_told_as_well(broker, consumer):
    def grandchild():
        with pytest.raises(errors.ForkedError):
            consumer.poll()
        return True

    assert broker.fork(lambda: broker.fork(grandchild).result()).result()
