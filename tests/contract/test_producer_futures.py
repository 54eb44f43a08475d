"""What send() returns: a future as kafka-python's, resolved at once or when its batch is appended."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading

import pytest

from shmq import errors


@pytest.fixture(params=[0, 60_000], ids=["at once", "lingering"])
def producer(request, broker):
    broker.create()
    return broker.producer(linger_ms=request.param)


@pytest.fixture
def failing(broker):
    """A producer whose records cannot be appended: the ring is full, and there is no reader."""
    broker.create_queue("full")
    with_room = broker.producer(max_block_ms=0)
    with pytest.raises(errors.BufferFullError):
        while True:
            with_room.send("full", b"x" * 10_000)
    return broker.producer(linger_ms=60_000, max_block_ms=0)


def test_a_future_of_a_local_append_is_resolved_from_the_start(broker):
    broker.create()

    future = broker.producer().send("t", b"v")

    assert future.is_done
    assert future.succeeded()
    assert not future.failed()
    assert future.exception is None
    assert future.value == future.get() == future.get(timeout=0)
    assert "offset 0" in repr(future)


def test_a_lingering_future_is_resolved_by_flush(broker):
    broker.create()
    producer = broker.producer(linger_ms=60_000)

    future = producer.send("t", b"v")

    assert (future.is_done, future.succeeded(), future.failed(), future.value) == (False, False, False, None)
    with pytest.raises(errors.KafkaTimeoutError):
        future.get(timeout=0)
    producer.flush()
    assert (future.is_done, future.succeeded(), future.failed()) == (True, True, False)
    assert future.get(0).offset == 0


@pytest.mark.parametrize("timeout", [-1, float("nan"), -0.001])
def test_a_timeout_that_cannot_be_is_refused(producer, timeout):
    future = producer.send("t", b"v")

    for call in (future.get, producer.flush, producer.close):
        with pytest.raises(ValueError, match="seconds"):
            call(timeout)
    with pytest.raises(TypeError):
        future.get("soon")
    producer.flush(float("inf"))
    assert future.get(float("inf")).offset == 0


def test_callbacks_get_the_metadata_behind_their_own_arguments(producer):
    called = []
    future = producer.send("t", b"v")

    assert future.add_callback(lambda *args, **kwargs: called.append((args, kwargs)), 1, two=2) is future
    assert future.add_errback(called.append) is future
    producer.flush()
    future.add_callback(called.append)

    assert called == [((1, future.get()), {"two": 2}), future.get()]


def test_a_callback_that_fails_harms_neither_sender_nor_other_callbacks(producer, caplog):
    called = []

    def fail(_):
        raise RuntimeError("callback")

    future = producer.send("t", b"v")
    with caplog.at_level(logging.ERROR), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.unraisablehook", lambda unraisable: called.append(unraisable.exc_value))
        future.add_callback(fail)
        future.add_callback(lambda metadata: called.append(metadata.offset))
        producer.flush()

    assert called[-1] == 0
    assert "callback" in caplog.text or isinstance(called[0], RuntimeError)
    caplog.clear()  # its traceback holds the producer's mappings
    called.clear()


def test_what_is_not_callable_is_no_callback(producer):
    future = producer.send("t", b"v")

    with pytest.raises(TypeError):
        future.add_callback(None)
    with pytest.raises(TypeError):
        future.add_errback("text")


def test_an_error_reaches_get_and_errbacks(failing):
    called = []
    future = failing.send("full", b"x" * 10_000)
    future.add_callback(called.append)
    future.add_errback(lambda word, error: called.append((word, error)), "early")

    failing.flush()

    future.add_errback(called.append)
    assert future.failed()
    assert not future.succeeded()
    with pytest.raises(errors.BufferFullError):
        future.get()
    assert called == [("early", future.exception), future.exception]


def test_a_future_can_be_awaited(producer):
    async def main():
        futures = [producer.send("t", b"%d" % number) for number in range(3)]
        loop = asyncio.get_running_loop()
        flushed = loop.run_in_executor(None, producer.flush)
        sent = await asyncio.wait_for(asyncio.gather(*futures), 20)
        await flushed
        again = await futures[0]
        return sent, again

    sent, again = asyncio.run(main())

    assert [metadata.offset for metadata in sent] == [0, 1, 2]
    assert again == sent[0]


def test_an_awaited_error_is_raised(failing):
    async def main():
        future = failing.send("full", b"x" * 10_000)
        flushed = asyncio.get_running_loop().run_in_executor(None, failing.flush)
        try:
            await asyncio.wait_for(future, 20)
        finally:
            await flushed

    with pytest.raises(errors.BufferFullError):
        asyncio.run(main())


def test_a_cancelled_awaiter_does_not_disturb_the_send(broker):
    broker.create()
    producer = broker.producer(linger_ms=60_000)

    async def main():
        future = producer.send("t", b"v")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(future, 0.01)
        await asyncio.get_running_loop().run_in_executor(None, producer.flush)
        return await future

    assert asyncio.run(main()).offset == 0


def test_many_threads_may_wait_for_one_future(broker):
    broker.create()
    producer = broker.producer(linger_ms=60_000)
    future = producer.send("t", b"v")
    got = []
    threads = [threading.Thread(target=lambda: got.append(future.get(20).offset)) for _ in range(4)]
    for thread in threads:
        thread.start()

    producer.flush()
    for thread in threads:
        thread.join(20)

    assert got == [0, 0, 0, 0]


def test_the_metadata_is_a_named_tuple_that_pickles(producer):
    future = producer.send("t", b"v", key=b"k")
    producer.flush()

    metadata = future.get()

    topic, partition, topic_partition, offset, *_ = metadata
    assert (topic, partition, topic_partition, offset) == ("t", 0, ("t", 0), 0)
    assert pickle.loads(pickle.dumps(metadata)) == metadata
