"""Signals in every call that blocks: Ctrl-C ends it at once, a handled signal neither ends it early nor prolongs it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import posix_ipc
import psutil
import pytest

from shmq import TopicPartition, _native, errors
from shmq.store.files import file_lock

LONG_MS = 600_000
SHORT_MS = 300
AT_ONCE_S = 5.0
PLACE = TopicPartition("t", 0)


def test_ctrl_c_just_after_a_doorbell_was_made_leaves_none(broker, monkeypatch):
    broker.create()
    consumer = broker.consumer("t")
    make = posix_ipc.Semaphore

    def interrupted(*args, **kwargs):
        make(*args, **kwargs).close()
        assert len(broker.doorbells()) == 1
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(posix_ipc, "Semaphore", interrupted)
        with pytest.raises(KeyboardInterrupt):
            consumer.poll(LONG_MS)

    assert broker.doorbells() == []
    assert consumer.poll(1) == {}
    assert len(broker.doorbells()) == 1
    consumer.close()
    assert broker.doorbells() == []


# Each begins in the child: it makes what it needs and returns the call that blocks for `timeout_ms`.


def poll(broker, timeout_ms):
    consumer = broker.consumer("t")
    return lambda: consumer.poll(timeout_ms)


def poll_spinning(broker, timeout_ms):
    consumer = broker.consumer("t", spin_us=1_000_000)
    return lambda: consumer.poll(timeout_ms)


def poll_of_no_partition(broker, timeout_ms):
    consumer = broker.consumer()
    return lambda: consumer.poll(timeout_ms)


def poll_of_paused_partitions(broker, timeout_ms):
    consumer = broker.consumer("full")
    consumer.pause(*consumer.assignment())
    return lambda: consumer.poll(timeout_ms)


def poll_for_more_bytes(broker, timeout_ms):
    consumer = broker.consumer("full", fetch_min_bytes=1 << 30, fetch_max_wait_ms=timeout_ms)
    return lambda: consumer.poll(LONG_MS)


def poll_behind_a_stopped_producer(broker, timeout_ms):
    consumer = broker.consumer("stopped")
    return lambda: consumer.poll(timeout_ms)


def iteration(broker, timeout_ms):
    consumer = broker.consumer("t", consumer_timeout_ms=timeout_ms)
    return lambda: next(consumer, None)


def send_without_space(broker, timeout_ms):
    producer = broker.producer(max_block_ms=timeout_ms)
    return lambda: producer.send("full", b"y" * 20_000)


def send_many_without_space(broker, timeout_ms):
    producer = broker.producer(max_block_ms=timeout_ms)
    return lambda: producer.send_many("full", [b"y" * 20_000] * 2)


def send_of_a_full_batch(broker, timeout_ms):
    producer = broker.producer(linger_ms=LONG_MS, max_block_ms=timeout_ms)
    return lambda: producer.send("full", b"y" * 20_000)


def stuck(broker, linger_ms):
    """A producer with a record that waits for others and then finds no space, and its future."""
    producer = broker.producer(linger_ms=linger_ms)
    return producer, producer.send("full", b"y" * 10_000)


def flush(broker, timeout_ms):
    producer, _ = stuck(broker, LONG_MS)
    return lambda: producer.flush(timeout_ms / 1000)


def flush_behind_the_lingering_thread(broker, timeout_ms):
    producer, _ = stuck(broker, 1)
    return lambda: producer.flush(timeout_ms / 1000)


def future(broker, timeout_ms):
    _, pending = stuck(broker, 1)
    return lambda: pending.get(timeout_ms / 1000)


def close(broker, timeout_ms):
    producer, _ = stuck(broker, LONG_MS)
    return lambda: producer.close(timeout_ms / 1000)


def administration(broker, timeout_ms):
    admin = type(broker.admin)(bootstrap_servers=broker.address, request_timeout_ms=timeout_ms)
    return lambda: admin.create_topics(["new"])


def offsets_for_times(broker, timeout_ms):
    consumer = broker.consumer("stopped", consumer_timeout_ms=timeout_ms)
    return lambda: consumer.offsets_for_times({TopicPartition("stopped", 0): 0})


WITH_A_TIMEOUT = [
    poll,
    poll_spinning,
    poll_of_no_partition,
    poll_of_paused_partitions,
    poll_for_more_bytes,
    poll_behind_a_stopped_producer,
    iteration,
    send_without_space,
    send_many_without_space,
    send_of_a_full_batch,
    flush,
    flush_behind_the_lingering_thread,
    future,
    close,
    administration,
]


@pytest.fixture
def blocked(broker):
    """Everything that the calls above wait for: an empty topic, a full one, a stopped producer, a held lock."""
    broker.create()
    broker.create_queue("full")
    with contextlib.suppress(errors.BufferFullError), broker.producer(max_block_ms=0) as producer:
        while True:
            producer.send("full", b"x" * 10_000)
    broker.create("stopped", claim_timeout_ms=600_000)
    os.waitpid(broker.fork(lambda: stop_in_the_middle(broker)).pid, os.WUNTRACED)
    with file_lock(os.path.join(broker.directory, "admin.lock"), 0):
        yield broker


def stop_in_the_middle(broker) -> None:
    producer = broker.producer()
    _native.fault_arm("journal.claim.after", 1, signal.SIGSTOP)
    producer.send("stopped", b"v")


def run(broker, call: Callable[[], Any], begun: int) -> tuple[str, float]:
    """Make the call; return its error's name and when it ended."""
    try:
        os.write(begun, b".")
        call()
    except BaseException as error:
        return type(error).__name__, time.monotonic()
    return "", time.monotonic()


@pytest.mark.parametrize("begin", [*WITH_A_TIMEOUT, offsets_for_times], ids=lambda begin: begin.__name__)
def test_ctrl_c_ends_at_once(blocked, begin, wait_until):
    read, write = os.pipe()

    def child():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return run(blocked, begin(blocked, LONG_MS), write)

    running = blocked.fork(child)
    os.close(write)
    assert os.read(read, 1) == b"."
    os.close(read)
    if begin is not poll_spinning:
        wait_until(lambda: psutil.Process(running.pid).status() == psutil.STATUS_SLEEPING)
    began = time.monotonic()
    running.signal(signal.SIGINT)
    error, ended = running.result()

    assert error == "KeyboardInterrupt"
    assert ended - began < AT_ONCE_S


@pytest.mark.parametrize("begin", WITH_A_TIMEOUT, ids=lambda begin: begin.__name__)
def test_a_storm_of_handled_signals_changes_nothing(blocked, begin):
    read, write = os.pipe()

    def child():
        handled = []
        signal.signal(signal.SIGALRM, lambda *_: handled.append(None))
        call = begin(blocked, SHORT_MS)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        began = time.monotonic()
        error, ended = run(blocked, call, write)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return error, ended - began, len(handled)

    error, took_s, count = blocked.fork(child).result()
    os.close(read)
    os.close(write)

    assert error in ("", "BufferFullError", "KafkaTimeoutError")
    assert SHORT_MS / 1000 <= took_s < SHORT_MS / 1000 + AT_ONCE_S
    assert count > 5  # a spin looks for them every 10 ms


def test_what_a_handler_raises_ends_a_wait_and_nothing_is_lost(blocked):
    def child():
        def handler(*_):
            raise InterruptedError

        signal.signal(signal.SIGALRM, handler)
        consumer = blocked.consumer("full", fetch_min_bytes=1 << 30, fetch_max_wait_ms=LONG_MS)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(InterruptedError):
            consumer.poll(LONG_MS)
        position = consumer.position(TopicPartition("full", 0))
        (records,) = consumer.poll().values()
        return position, [record.offset for record in records], consumer.highwater(TopicPartition("full", 0))

    position, offsets, end = blocked.fork(child).result()

    assert position == 0
    assert offsets == list(range(end))


def test_after_ctrl_c_every_handle_can_still_be_used(blocked):
    def child():
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        consumer, producer = blocked.consumer("t"), blocked.producer()
        for call in (
            lambda: consumer.poll(LONG_MS),
            lambda: next(consumer),
            lambda: producer.send("full", b"y" * 20_000),
        ):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                call()
        producer.send("t", b"v")
        values = [record.value for record in consumer.poll(LONG_MS)[PLACE]]
        consumer.close()
        producer.close()
        return values

    assert blocked.fork(child).result() == [b"v"]
