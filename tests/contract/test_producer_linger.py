"""linger_ms and batch_size: records that wait for others."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from shmq import ConfigResource, TopicPartition, errors

FOREVER_MS = 600_000


def test_a_lingering_record_is_appended_when_its_time_is_up(broker, wait_until):
    broker.create()
    producer = broker.producer(linger_ms=5)

    future = producer.send("t", b"v")

    wait_until(lambda: future.is_done)
    assert broker.values() == [b"v"]


def test_nothing_is_appended_before_time_size_or_flush_ask_for_it(broker):
    place = broker.create()
    producer = broker.producer(linger_ms=FOREVER_MS, batch_size=1000)
    consumer = broker.consumer()

    early = [producer.send("t", b"x" * 100) for _ in range(9)]
    assert consumer.end_offsets([place]) == {place: 0}
    filling = producer.send("t", b"x" * 100)

    assert [future.is_done for future in [*early, filling]] == [True] * 10
    assert consumer.end_offsets([place]) == {place: 10}


def test_a_batch_is_one_claim(broker):
    broker.create()
    producer = broker.producer(linger_ms=FOREVER_MS)

    for number in range(10):
        producer.send("t", b"%d" % number)
    producer.flush()

    meta = broker.admin.describe_topics(["t"])[0]
    assert meta["partitions"][0]["end_offset"] == 10
    assert broker.values() == [b"%d" % number for number in range(10)]


def test_order_is_kept_over_many_batches_and_partitions(broker):
    broker.create(partitions=3)
    producer = broker.producer(linger_ms=1, batch_size=300)

    futures = [producer.send("t", b"%d" % number, partition=number % 3) for number in range(3000)]
    producer.flush()

    assert [future.get(0).offset for future in futures] == [number // 3 for number in range(3000)]
    for partition in range(3):
        got = [int(record.value) for record in broker.read() if record.partition == partition]
        assert got == list(range(partition, 3000, 3))


def test_close_appends_what_lingers(broker):
    broker.create()
    producer = broker.producer(linger_ms=FOREVER_MS)
    futures = [producer.send("t", b"%d" % number) for number in range(5)]

    producer.close()

    assert [future.get(0).offset for future in futures] == list(range(5))
    assert len(broker.values()) == 5


def test_a_process_that_ends_without_close_appends_what_lingers(broker):
    broker.create()

    broker.run(
        "from shmq import Producer\n"
        "producer = Producer(bootstrap_servers=address, linger_ms=600_000)\n"
        "for number in range(5): producer.send('t', b'%d' % number)\n"
    )

    assert broker.values() == [b"%d" % number for number in range(5)]


def test_a_batch_larger_than_a_segment_is_split(broker):
    broker.create(segment_bytes=65536)
    producer = broker.producer(linger_ms=FOREVER_MS, batch_size=10_000_000)

    futures = [producer.send("t", b"x" * 1000) for _ in range(500)]
    producer.flush()

    assert [future.get(0).offset for future in futures] == list(range(500))
    assert len(broker.read()) == 500


def test_one_record_that_the_topic_refuses_does_not_take_its_batch_with_it(broker):
    broker.create()
    producer = broker.producer(linger_ms=FOREVER_MS)
    futures = [producer.send("t", b"x" * size) for size in (10, 20, 500, 30, 40)]

    broker.admin.alter_configs([ConfigResource("topic", "t", {"max_message_bytes": 100})])
    producer.flush()

    assert [future.succeeded() for future in futures] == [True, True, False, True, True]
    with pytest.raises(errors.MessageSizeTooLargeError):
        futures[2].get()
    assert [len(value) for value in broker.values()] == [10, 20, 30, 40]


def fill(broker, topic: str = "q") -> TopicPartition:
    """A ring without room, and without a reader."""
    place = broker.create_queue(topic)
    producer = broker.producer(max_block_ms=0)
    with pytest.raises(errors.BufferFullError):
        while True:
            producer.send(topic, b"x" * 10_000)
    producer.close()
    return place


def test_flush_gives_up_after_its_timeout_and_nothing_is_lost(broker):
    place = fill(broker)
    producer = broker.producer(linger_ms=FOREVER_MS)
    future = producer.send("q", b"y" * 10_000)
    began = time.monotonic()

    with pytest.raises(errors.KafkaTimeoutError, match="call flush"):
        producer.flush(timeout=0.05)

    assert time.monotonic() - began < 10
    assert not future.is_done
    consumer = broker.consumer()
    consumer.assign([place])
    consumer.seek_to_end(place)
    producer.flush(timeout=20)
    assert future.succeeded()


def test_flush_gives_up_no_earlier_than_its_timeout(broker):
    fill(broker)
    producer = broker.producer(linger_ms=FOREVER_MS)
    producer.send("q", b"y" * 10_000)

    for _ in range(20):
        began = time.monotonic()
        with pytest.raises(errors.KafkaTimeoutError):
            producer.flush(timeout=0.0029)
        assert time.monotonic() - began >= 0.0029
    with pytest.raises(errors.KafkaTimeoutError):
        producer.close(timeout=0)


def test_a_full_partition_does_not_hold_up_the_others(broker, wait_until):
    fill(broker)
    broker.create("free")
    producer = broker.producer(linger_ms=1)

    stuck = producer.send("q", b"y" * 10_000)
    free = [producer.send("free", b"v") for _ in range(10)]

    wait_until(lambda: all(future.is_done for future in free))
    assert not stuck.is_done
    with pytest.raises(errors.KafkaTimeoutError):
        producer.close(timeout=0.01)
    with pytest.raises(errors.KafkaTimeoutError):
        stuck.get(0)


def test_close_that_gives_up_resolves_every_future_with_an_error(broker):
    fill(broker)
    producer = broker.producer(linger_ms=FOREVER_MS, batch_size=100_000)
    futures = [producer.send("q", b"y" * 10_000) for _ in range(3)]

    with pytest.raises(errors.KafkaTimeoutError):
        producer.close(timeout=0.01)

    for future in futures:
        with pytest.raises(errors.KafkaTimeoutError):
            future.get(0)
    producer.close()


def test_a_record_that_waits_longer_than_delivery_timeout_fails(broker, wait_until):
    fill(broker)
    producer = broker.producer(linger_ms=1, delivery_timeout_ms=50)

    future = producer.send("q", b"y" * 10_000)

    wait_until(lambda: future.is_done)
    with pytest.raises(errors.BufferFullError):
        future.get()


def test_a_callback_may_send_but_not_flush_or_close(broker):
    broker.create()
    producer = broker.producer(linger_ms=FOREVER_MS, batch_size=100)
    sent, refused = [], []

    def react(metadata):
        sent.append(producer.send("t", b"second" * 20))  # fills a batch
        for call in (producer.flush, producer.close):
            try:
                call()
            except errors.ConcurrentUseError as error:
                refused.append(error)

    producer.send("t", b"first").add_callback(react)
    flushing = threading.Thread(target=producer.flush, daemon=True)
    flushing.start()
    flushing.join(20)

    assert not flushing.is_alive()
    assert len(refused) == 2
    producer.flush()
    assert sent[0].get(0).offset == 1


def test_a_signal_handler_may_send_in_the_middle_of_sends(broker):
    broker.create()
    producer = broker.producer(linger_ms=FOREVER_MS, batch_size=500)
    handled = []

    def handler(*_):
        handled.append(producer.send("t", b"from the handler"))

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        futures = [producer.send("t", b"%d" % number) for number in range(20_000)]
        producer.flush()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    producer.flush()

    values = [record.value for record in broker.read(max_poll_records=10_000)]
    mine = [value for value in values if value != b"from the handler"]
    assert handled
    assert mine == [b"%d" % number for number in range(20_000)]
    assert len(values) - len(mine) == len(handled)
    for future, expected in zip(futures, mine, strict=True):
        assert values[future.get(0).offset] == expected


def test_what_a_signal_handler_raises_in_flush_loses_and_doubles_nothing(broker):
    broker.create()
    producer = broker.producer(linger_ms=FOREVER_MS, batch_size=1 << 30)

    def handler(*_):
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, handler)
    interrupted, number = 0, 0
    futures = []
    try:
        for delay_s in [0.00002 * step for step in range(1, 60)] * 4:
            for _ in range(100):
                futures.append(producer.send("t", b"%d" % number))
                number += 1
            try:
                signal.setitimer(signal.ITIMER_REAL, delay_s)
                producer.flush()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except InterruptedError:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    producer.flush()

    assert interrupted > 10
    assert [record.value for record in broker.read(max_poll_records=10_000)] == [b"%d" % each for each in range(number)]
    assert [future.get(0).offset for future in futures] == list(range(number))


def test_send_on_a_closed_producer_that_lingered_is_refused(broker):
    broker.create()
    producer = broker.producer(linger_ms=FOREVER_MS)
    producer.send("t", b"v")
    producer.close()

    with pytest.raises(errors.ClosedError):
        producer.send("t", b"v")

    assert broker.values() == [b"v"]


def test_a_topic_made_anew_gets_what_is_sent_after_that(broker):
    broker.create()
    producer = broker.producer(linger_ms=FOREVER_MS, allow_auto_create_topics=False)
    producer.send("t", b"old")
    producer.flush()
    lost = producer.send("t", b"lost")

    broker.admin.delete_topics(["t"])
    broker.create()
    producer.flush()
    kept = producer.send("t", b"new")
    producer.flush()

    with pytest.raises(errors.UnknownTopicOrPartitionError):
        lost.get(0)
    assert kept.get(0).offset == 0
    assert broker.values() == [b"new"]
