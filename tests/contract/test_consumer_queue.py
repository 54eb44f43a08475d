"""retention="consumed": a topic as a queue. Producers wait for the assigned consumers; nothing unread is dropped."""

from __future__ import annotations

import threading

import pytest

from shmq import TopicPartition, errors

LONG_MS = 60_000


@pytest.fixture
def place(broker):
    """A ring of two segments, each of which five records of 10 KB fill."""
    return broker.create_queue()


def fill(producer, most: int = 1000) -> int:
    """Send until there is no space; return how many went in."""
    for count in range(most):
        try:
            producer.send("t", b"x" * 10_000)
        except errors.BufferFullError:
            return count
    return most


def drain(consumer) -> int:
    count = 0
    while batches := consumer.poll():
        count += sum(map(len, batches.values()))
    return count


def test_producers_wait_for_an_assigned_consumer_and_lose_nothing(broker, place):
    consumer = broker.consumer("t")
    count = 500

    def work():
        with broker.producer() as producer:
            for number in range(count):
                producer.send("t", b"%d" % number + b" " * 1000)

    worker = threading.Thread(target=work)
    worker.start()
    got = []
    while len(got) < count and (batches := consumer.poll(timeout_ms=LONG_MS)):
        got += [int(record.value) for record in batches[place]]
    worker.join(20)

    assert got == list(range(count))


def test_without_space_send_gives_up_after_max_block_ms_and_says_what_was_wanted(broker, place):
    broker.consumer("t")

    def child():
        producer = broker.producer(max_block_ms=20)
        sent = fill(producer)
        with pytest.raises(
            errors.BufferFullError, match=r"t-0 is full: \d+ bytes wanted, \d+ free after \d+ ms"
        ) as full:
            producer.send("t", b"x" * 10_000)
        return sent, full.value

    sent, full = broker.fork(child).result()

    assert sent == 10
    assert full.retriable
    assert full.wanted_bytes >= 10_000 > full.free_bytes
    assert full.waited_ms >= 20
    assert not full.self_wait


def test_a_producer_that_only_its_own_consumer_could_help_is_told_at_once(broker, place):
    consumer = broker.consumer("t")
    producer = broker.producer(max_block_ms=LONG_MS)

    with pytest.raises(errors.BufferFullError, match="only this thread's own consumer could make room") as full:
        for _ in range(100):
            producer.send("t", b"x" * 10_000)
    count = drain(consumer)
    producer.send("t", b"y" * 10_000)

    assert full.value.self_wait
    assert count == 10
    assert consumer.poll()[place][0].value == b"y" * 10_000


def test_a_producer_waits_for_a_consumer_of_another_thread_of_its_process(broker, place, wait_until):
    got = []

    def work():
        consumer = broker.consumer("t")
        wait_until(lambda: producer.metrics()["producer-metrics"]["record-send-total"] == 10)
        while len(got) < 40 and (batches := consumer.poll(timeout_ms=LONG_MS)):
            got.extend(batches[place])

    reading = threading.Thread(target=work)
    producer = broker.producer(max_block_ms=20_000)
    reading.start()
    for _ in range(40):
        producer.send("t", b"x" * 10_000)
    reading.join(20)

    assert [record.offset for record in got] == list(range(40))


@pytest.mark.parametrize(
    "leave",
    [
        lambda consumer, place: consumer.poll(max_records=1000),
        lambda consumer, place: consumer.seek_to_end(),
        lambda consumer, place: consumer.close(),
        lambda consumer, place: consumer.unsubscribe(),
        lambda consumer, place: consumer.assign([("other", 0)]),
    ],
    ids=["reads on", "seeks to the end", "closes", "unsubscribes", "is assigned something else"],
)
def test_a_waiting_producer_goes_on_when_the_slowest_consumer(broker, place, leave, wait_until):
    broker.create("other")
    slow, fast = broker.consumer(), broker.consumer("t")
    slow.assign([place])
    producer = broker.producer(max_block_ms=0)
    fill(producer)
    drain(fast)
    sending = broker.fork(lambda: broker.producer(max_block_ms=LONG_MS).send("t", b"y" * 10_000).get().offset)
    end = fast.highwater(place)
    assert fast.poll(timeout_ms=50) == {}, "it did not wait for the slow one"

    leave(slow, place)

    assert sending.result() == end
    assert fast.poll(timeout_ms=LONG_MS)[place][0].offset == end


@pytest.mark.parametrize("hold", ["reads nothing", "is paused", "has no position", "is in the middle of iterating"])
def test_no_record_is_dropped_that_a_consumer_still_needs_when_it(broker, place, hold):
    keeper = broker.consumer("t", auto_offset_reset="none" if hold == "has no position" else "earliest")
    broker.producer().send("t", b"first")
    if hold == "is paused":
        keeper.pause(place)
    if hold == "is in the middle of iterating":
        assert next(keeper).offset == 0

    count = broker.fork(lambda: fill(broker.producer(max_block_ms=0))).result()

    if hold == "is paused":
        keeper.resume(place)
    if hold == "has no position":
        keeper.seek_to_beginning()
    assert count in (9, 10)  # "first" is small
    assert keeper.beginning_offsets([place]) == {place: 0}
    assert drain(keeper) == count + (0 if hold == "is in the middle of iterating" else 1)


def test_a_consumer_that_asks_without_being_assigned_holds_nobody_back(broker, place):
    asking, reading = broker.consumer(), broker.consumer("t")
    asking.end_offsets([place])
    asking.offsets_for_times({place: 0})

    def child():
        return fill(broker.producer(max_block_ms=0))

    assert broker.fork(child).result() == 10
    drain(reading)
    asking.beginning_offsets([place])
    assert broker.fork(child).result() == 5


def test_seeking_back_goes_no_further_than_what_is_still_there(broker, place):
    consumer, producer = broker.consumer("t"), broker.producer(max_block_ms=0)
    for _ in range(4):
        broker.fork(lambda: fill(producer)).result()
        drain(consumer)
    begin = consumer.beginning_offsets([place])[place]

    consumer.seek_to_beginning()

    assert begin > 0
    assert consumer.poll()[place][0].offset == begin


def test_consumers_that_died_hold_nobody_back(broker, place):
    survivor = broker.consumer("t")

    def child():
        dead = broker.consumer("t")
        return dead.position(place)

    assert broker.fork(child).result() == 0
    producer = broker.producer(max_block_ms=0)
    sent = 0
    for _ in range(4):
        sent += fill(producer)
        assert drain(survivor) == sent
        sent = 0

    assert survivor.beginning_offsets([place])[place] > 0


def test_a_partition_has_256_readers_and_says_so_to_the_next(broker, place):
    consumers = [broker.consumer("t") for _ in range(256)]
    broker.create("other")
    late = broker.consumer()
    late.assign([("other", 0)])

    with pytest.raises(errors.TooManyReadersError, match="t-0: all 256 reader entries are taken") as refused:
        late.assign([("other", 0), place])
    assigned = late.assignment()
    consumers[100].close()
    late.assign([place])

    assert refused.value.retriable
    assert assigned == {TopicPartition("other", 0)}
    assert late.assignment() == {place}
