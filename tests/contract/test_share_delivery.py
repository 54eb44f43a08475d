"""ShareConsumer: who gets which record, in which order, and what a group remembers."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from share_workers import LONG_MS, counts, fill, flat, numbers, place, send, some

from shmq import errors


def test_each_record_goes_to_one_of_two_consumers(broker):
    broker.create()
    send(broker, 100)
    one, two = broker.share_consumer("t"), broker.share_consumer("t")

    first, second = [], []
    while len(first) + len(second) < 100:
        first += numbers(one.poll(max_records=7))
        second += numbers(two.poll(max_records=5))

    assert sorted(first + second) == list(range(100))
    assert len(first) > 40
    assert len(second) > 30


def test_there_may_be_more_consumers_than_partitions(broker):
    broker.create(partitions=2)
    consumers = [broker.share_consumer("t") for _ in range(8)]
    send(broker, 80)

    got = [[record for _ in range(10) for record in numbers(each.poll(LONG_MS, 1))] for each in consumers]

    assert [len(each) for each in got] == [10] * 8
    assert sorted(number for each in got for number in each) == list(range(80))


def test_without_redelivery_each_consumer_sees_each_partition_in_order(broker):
    broker.create(partitions=3)
    send(broker, 300)
    consumers = [broker.share_consumer("t", max_poll_records=10) for _ in range(3)]
    seen: list[Counter] = [Counter() for _ in consumers]
    total = 0

    while total < 300:
        for index, consumer in enumerate(consumers):
            for record in flat(consumer.poll()):
                assert record.offset >= seen[index][record.partition]
                seen[index][record.partition] = record.offset + 1
                total += 1

    assert total == 300


def test_what_one_consumer_holds_does_not_hold_up_the_others(broker):
    broker.create()
    send(broker, 50)
    slow, quick = broker.share_consumer("t"), broker.share_consumer("t")
    [held] = numbers(slow.poll(max_records=1))

    got = [number for _ in range(49) for number in numbers(quick.poll(max_records=1))]
    quick.commit_sync()

    assert held == 0
    assert got == list(range(1, 50))
    assert counts(broker) == some(in_flight=1, accepted=49)


def test_max_poll_records_is_how_much_one_consumer_keeps_from_the_others(broker):
    broker.create()
    send(broker, 30)
    one = broker.share_consumer("t", max_poll_records=10)

    taken = numbers(one.poll())

    assert taken == list(range(10))
    assert counts(broker) == some(in_flight=10, ready=20)
    assert numbers(broker.share_consumer("t").poll()) == list(range(10, 30))


def test_a_first_delivery_counts_as_one(broker):
    broker.create()
    send(broker, 1)

    [record] = flat(broker.share_consumer("t").poll())
    [plain] = flat(broker.consumer("t").poll())

    assert record.delivery_count == 1
    assert plain.delivery_count is None
    assert record == plain  # it is no field of the tuple


@pytest.mark.parametrize(("reset", "expected"), [({}, [0, 1, 2]), ({"auto_offset_reset": "latest"}, [2])])
def test_a_new_group_begins_with_what_is_there_unless_told_otherwise(broker, reset, expected):
    broker.create()
    send(broker, 2)
    consumer = broker.share_consumer("t", **reset)
    send(broker, 1, first=2)

    assert numbers(consumer.poll(LONG_MS)) == expected


def test_a_group_goes_on_where_it_stood_when_all_of_it_had_left(broker):
    broker.create()
    send(broker, 10)
    with broker.share_consumer("t", auto_offset_reset="latest"):
        pass
    with broker.share_consumer("t") as consumer:
        assert consumer.poll() == {}
        send(broker, 10, first=10)
        assert numbers(consumer.poll(LONG_MS, 3)) == [10, 11, 12]
        consumer.commit_sync()

    with broker.share_consumer("t") as consumer:
        assert numbers(consumer.poll()) == list(range(13, 20))


def test_each_group_gets_everything(broker):
    broker.create()
    send(broker, 5)

    for group in "ab":
        with broker.share_consumer("t", group_id=group) as consumer:
            assert numbers(consumer.poll()) == [0, 1, 2, 3, 4]
            assert consumer.commit_sync() == {place(): None}

    assert counts(broker, "a") == counts(broker, "b") == some(accepted=5)


def test_a_share_group_and_a_consumer_group_read_one_topic_side_by_side(broker):
    broker.create()
    send(broker, 3)
    share, plain = broker.share_consumer("t", group_id="a"), broker.consumer("t", group_id="b")

    assert numbers(share.poll()) == [0, 1, 2]
    assert numbers(plain.poll(LONG_MS)) == [0, 1, 2]


@pytest.mark.parametrize("first", ["share", "consumer"])
def test_a_group_is_of_one_kind(broker, first):
    broker.create()
    makers = {"share": broker.share_consumer, "consumer": broker.consumer}
    [second] = makers.keys() - {first}
    makers[first]("t", group_id="g").close()

    with pytest.raises(
        errors.InconsistentGroupProtocolError, match=f"'g': it is a {first} group, not a {second} group"
    ):
        makers[second]("t", group_id="g")


def test_a_wait_ends_when_a_record_comes(broker):
    broker.create()
    consumer = broker.share_consumer("t", spin_us=0)
    sender = threading.Timer(0.1, lambda: send(broker, 1))
    sender.start()

    assert numbers(consumer.poll(LONG_MS)) == [0]
    sender.join()


def test_a_wait_ends_when_another_consumer_releases_a_record(broker):
    broker.create()
    send(broker, 1)
    holder = broker.share_consumer("t")
    holder.poll()
    waiting = broker.share_consumer("t", spin_us=0)
    closer = threading.Timer(0.1, holder.close)
    closer.start()

    [record] = flat(waiting.poll(LONG_MS))
    closer.join()

    assert (record.value, record.delivery_count) == (b"0", 2)


def test_an_empty_poll_takes_its_time_and_no_more(broker):
    broker.create()
    consumer = broker.share_consumer("t")

    began = time.monotonic()
    assert consumer.poll() == {}
    assert consumer.poll(timeout_ms=50) == {}
    took = time.monotonic() - began

    assert 0.05 <= took < 5


def test_iterating_takes_one_record_at_a_time_and_accepts_it_with_the_next(broker):
    broker.create(partitions=2)
    send(broker, 10)
    consumer = broker.share_consumer("t", consumer_timeout_ms=0)

    for index, _ in enumerate(consumer):
        assert counts(broker) == some(accepted=index, in_flight=1, ready=9 - index)

    assert counts(broker) == some(accepted=10)


def test_several_topics_are_one_subscription_and_another_call_replaces_it(broker):
    for topic in ("a", "b", "c"):
        broker.create(topic)
        send(broker, 1, topic)
    consumer = broker.share_consumer("a", "b")
    assert sorted(record.topic for record in flat(consumer.poll())) == ["a", "b"]
    assert consumer.subscription() == {"a", "b"}

    consumer.subscribe(["b", "c"])

    assert [record.topic for record in flat(consumer.poll())] == ["c"]
    assert counts(broker) == some(ready=1, accepted=1, in_flight=1)  # "a" was released; that of "b" accepted by polling
    consumer.unsubscribe()
    assert consumer.subscription() == set()
    assert consumer.poll(timeout_ms=1) == {}
    assert counts(broker) == some(ready=2, accepted=1)


def test_new_partitions_are_read_within_a_second_or_two(broker):
    broker.create()
    consumer = broker.share_consumer("t")
    broker.admin.create_partitions({"t": 3})
    broker.producer().send("t", b"new", partition=2)

    [record] = flat(consumer.poll(LONG_MS))

    assert (record.partition, record.value) == (2, b"new")


def test_a_deleted_topic_is_told_once_and_read_again_when_it_is_made_again(broker):
    broker.create()
    broker.create("other")
    consumer = broker.share_consumer("t", "other")
    broker.admin.delete_topics(["t"])

    with pytest.raises(errors.UnknownTopicOrPartitionError, match="t-0: the topic was deleted"):
        consumer.poll(LONG_MS)
    send(broker, 1, "other")
    assert numbers(consumer.poll(LONG_MS)) == [0]
    broker.create()
    send(broker, 1, first=7)

    assert numbers(consumer.poll(LONG_MS)) == [7]


def test_a_topic_that_does_not_exist_is_made_or_refused(broker):
    with pytest.raises(errors.UnknownTopicOrPartitionError, match="'t'"):
        broker.share_consumer("t", allow_auto_create_topics=False)
    assert broker.admin.list_share_groups() == []

    broker.share_consumer("t")

    assert broker.admin.list_topics() == ["t"]


def test_records_that_retention_deleted_are_skipped(broker):
    broker.create()
    send(broker, 10)
    consumer = broker.share_consumer("t")
    assert numbers(consumer.poll(max_records=2)) == [0, 1]
    consumer.commit_sync()
    broker.admin.delete_records({place(): 6})

    assert numbers(consumer.poll(LONG_MS)) == [6, 7, 8, 9]
    consumer.commit_sync()
    assert counts(broker) == some(accepted=6, skipped=4)


def test_producers_of_a_queue_topic_wait_for_what_the_group_has_not_settled(broker):
    broker.create_queue()
    consumer = broker.share_consumer("t", share_acknowledgement_mode="explicit")

    def fill_it():
        with broker.producer(max_block_ms=0) as producer:
            return fill(producer)

    assert broker.fork(fill_it).result() == 10
    taken = flat(consumer.poll(LONG_MS))
    assert broker.fork(fill_it).result() == 0
    for record in taken[1:]:
        consumer.acknowledge(record)
    consumer.commit_sync()
    assert broker.fork(fill_it).result() == 0  # the first one is still with us
    consumer.acknowledge(taken[0])
    consumer.commit_sync()

    assert broker.fork(fill_it).result() >= 5


def test_a_window_held_open_by_one_record_lets_others_through_up_to_its_size_and_goes_on_after(broker):
    broker.create(storage="memory")
    total = 40_000
    broker.producer().send_many("t", [b"%d" % number for number in range(total)])
    slow = broker.share_consumer("t", share_acknowledgement_mode="explicit")
    [held] = flat(slow.poll(max_records=1))
    quick = broker.share_consumer("t", max_poll_records=5000)

    got = []
    while batch := numbers(quick.poll(timeout_ms=100)):
        got += batch

    assert got == list(range(1, len(got) + 1))
    assert 10_000 < len(got) < total
    slow.acknowledge(held)
    slow.commit_sync()
    while len(got) < total - 1:
        got += numbers(quick.poll(LONG_MS))
    quick.commit_sync()
    assert got == list(range(1, total))
    assert counts(broker) == some(accepted=total)
