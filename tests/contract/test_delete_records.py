"""Deleting the oldest records of a partition, whoever has not read them."""

from __future__ import annotations

import signal
import threading

import pytest

from shmq import Admin, TopicPartition, _native, errors
from shmq.store import Topics, verify

SEGMENT_BYTES = 65536
HALF = bytes(20_000)  # two of these fill a small segment: a third does not fit
T0 = TopicPartition("t", 0)
STORAGES = pytest.mark.parametrize("storage", ["disk", "memory"])


def deleted(broker, before: int, place: TopicPartition = T0) -> int:
    """Delete; the first offset that is left."""
    return broker.admin.delete_records({place: before})[place]["low_watermark"]


def segments(broker) -> int:
    [described] = broker.admin.describe_topics(["t"])
    return described["partitions"][0]["segments"]


def all_valid(broker) -> bool:
    return all(not each.problem for each in verify(broker.admin.broker))


def test_the_result_has_kafkas_shape(broker):
    broker.create(partitions=2)
    producer = broker.producer()
    producer.send_many("t", [b"a", b"b", b"c"], partition=0)
    producer.send_many("t", [b"d", b"e"], partition=1)

    result = broker.admin.delete_records({T0: 2, ("t", 1): -1}, timeout_ms=1000, partition_leader_id=0)

    assert result == {
        TopicPartition("t", 0): {"partition_index": 0, "low_watermark": 2, "error_code": 0},
        TopicPartition("t", 1): {"partition_index": 1, "low_watermark": 2, "error_code": 0},
    }


@STORAGES
def test_deleted_records_are_gone_for_everybody_and_stay_so(broker, storage):
    broker.create(storage=storage)
    producer, consumer = broker.producer(), broker.consumer()
    for number in range(10):
        producer.send("t", b"%d" % number, timestamp_ms=1000 + number)

    assert deleted(broker, 4) == 4

    assert broker.values() == [b"4", b"5", b"6", b"7", b"8", b"9"]
    assert consumer.beginning_offsets([T0]) == {T0: 4}
    assert consumer.end_offsets([T0]) == {T0: 10}
    assert consumer.offsets_for_times({T0: 0})[T0].offset == 4
    assert broker.run("import shmq; print(shmq.Consumer(bootstrap_servers=address).beginning_offsets([('t', 0)]))") == (
        "{TopicPartition(topic='t', partition=0): 4}\n"
    )
    assert deleted(broker, 2) == 4  # never back
    assert producer.send("t", b"10").get().offset == 10
    assert all_valid(broker)


@STORAGES
def test_segments_whose_records_are_all_deleted_leave_the_disk(broker, storage):
    broker.create(storage=storage, segment_bytes=SEGMENT_BYTES)
    producer = broker.producer()
    for _ in range(8):
        producer.send("t", HALF)

    left = []
    for before in (3, 4, -1):
        deleted(broker, before)
        left.append(segments(broker))

    assert left == [3, 2, 1]
    assert broker.values() == []
    assert producer.send("t", b"next").get().offset == 8
    assert broker.values() == [b"next"]
    assert all_valid(broker)


def test_the_first_record_left_may_lie_within_a_batch(broker):
    broker.create()
    broker.producer().send_many("t", [b"%d" % number for number in range(10)])

    assert deleted(broker, 7) == 7

    assert [(record.offset, record.value) for record in broker.read()] == [(7, b"7"), (8, b"8"), (9, b"9")]


@pytest.mark.parametrize("reset", ["none", "earliest", "latest"])
def test_a_reader_that_stands_before_what_is_left_is_out_of_range(broker, reset):
    broker.create()
    producer = broker.producer()
    producer.send_many("t", [b"%d" % number for number in range(6)])
    consumer = broker.consumer(auto_offset_reset=reset, max_poll_records=1)
    consumer.assign([T0])
    consumer.seek(T0, 0)
    consumer.poll(timeout_ms=1000)  # the next one lies in the same batch

    deleted(broker, 3)

    if reset == "none":
        for _ in range(4):  # asking again does not move it
            with pytest.raises(errors.OffsetOutOfRangeError) as error:
                consumer.poll(timeout_ms=0)
            assert (error.value.offset, error.value.begin, error.value.end) == (1, 3, 6)
        consumer.seek(T0, 3)
    producer.send("t", b"6")
    first = 6 if reset == "latest" else 3
    if reset == "latest":
        assert consumer.poll(timeout_ms=0) == {}
        assert consumer.position(T0) == 7
        producer.send("t", b"7")
        first = 7
    [[record]] = consumer.poll(timeout_ms=1000).values()
    assert (record.offset, record.value) == (first, b"%d" % first)


def test_a_reader_that_has_passed_what_is_deleted_notices_nothing(broker):
    broker.create(segment_bytes=SEGMENT_BYTES)
    producer = broker.producer()
    consumer = broker.consumer(auto_offset_reset="none")
    consumer.assign([T0])
    consumer.seek(T0, 0)
    for _ in range(5):
        producer.send("t", HALF)
    while consumer.position(T0) < 5:
        consumer.poll(timeout_ms=1000)

    deleted(broker, -1)
    producer.send("t", b"next")

    [[record]] = consumer.poll(timeout_ms=1000).values()
    assert (record.offset, record.value) == (5, b"next")


def test_a_reader_before_nothing_but_a_dead_producers_claim_is_not_out_of_range(broker):
    broker.create(claim_timeout_ms=600_000)
    producer = broker.producer()
    producer.send("t", b"0")
    strict = broker.consumer(auto_offset_reset="none")
    strict.assign([T0])
    strict.seek(T0, 0)
    strict.poll(timeout_ms=1000)

    def die_over_a_claim() -> None:
        with broker.producer() as victim:
            victim.partitions_for("t")
            _native.fault_arm("journal.claim.after", 1, signal.SIGKILL)
            victim.send("t", b"never")

    broker.fork(die_over_a_claim).reap()
    producer.send("t", b"2")
    assert broker.values() == [b"0", b"2"]  # whoever read this gave the claim up
    deleted(broker, 2)

    [[record]] = strict.poll(timeout_ms=1000).values()
    assert (record.offset, record.value) == (2, b"2")


def test_records_of_a_queue_go_though_its_readers_need_them_and_producers_go_on(broker):
    place = broker.create_queue(segments=2)
    producer, consumer = broker.producer(), broker.consumer(max_poll_records=1)
    consumer.assign([place])
    for _ in range(4):
        producer.send("t", HALF)
    sent: list[int] = []
    waiting = threading.Thread(target=lambda: sent.append(producer.send("t", b"x" * 20_000).get().offset))
    waiting.start()
    with pytest.raises(errors.BufferFullError):
        broker.producer(max_block_ms=0).send("t", HALF)

    assert deleted(broker, 3) == 3

    waiting.join(timeout=20)
    assert sent == [4]
    offsets = []
    while len(offsets) < 2:
        offsets += [record.offset for batch in consumer.poll(timeout_ms=1000).values() for record in batch]
    assert offsets == [3, 4]
    assert all_valid(broker)


def test_records_go_though_a_group_holds_them_and_the_group_goes_on_holding_what_is_left(broker):
    broker.create_queue(segments=2)
    producer = broker.producer(max_block_ms=0)
    topics = Topics(broker.admin.broker)
    with topics.opened(topics.find("t")) as [partition]:
        partition.hold(1 << 10 | 1, 0)
        for _ in range(4):
            producer.send("t", HALF)

        assert partition.delete_records(3) == 3

        assert segments(broker) == 1
        assert partition.holds() == {1 << 10 | 1: 0}
        producer.send_many("t", [HALF, HALF])
        with pytest.raises(errors.BufferFullError):  # for which record 3 would have to go
            producer.send("t", HALF)
        assert partition.verify() is None


def test_deleting_beyond_the_end_is_refused_and_the_other_partitions_are_done(broker):
    broker.create(partitions=2)
    producer = broker.producer()
    producer.send_many("t", [b"a", b"b"], partition=0)
    producer.send_many("t", [b"c", b"d"], partition=1)

    with pytest.raises(errors.OffsetOutOfRangeError) as error:
        broker.admin.delete_records({T0: 3, ("t", 1): 1})

    assert (error.value.topic, error.value.partition) == ("t", 0)
    assert (error.value.offset, error.value.begin, error.value.end) == (3, 0, 2)
    assert broker.consumer().beginning_offsets([T0, ("t", 1)]) == {T0: 0, ("t", 1): 1}


@pytest.mark.parametrize(
    ("unknown", "said"), [(("t", 1), "has 1 partitions"), (("t", -1), "has 1 partitions"), (("n", 0), "does not exist")]
)
def test_an_unknown_partition_keeps_everything_from_being_deleted(broker, unknown, said):
    broker.create()
    broker.producer().send("t", b"a")

    with pytest.raises(errors.UnknownTopicOrPartitionError, match=said):
        broker.admin.delete_records({T0: -1, unknown: -1})

    assert broker.values() == [b"a"]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({}, errors.IllegalArgumentError, "empty"),
        ({T0: -2}, errors.IllegalArgumentError, "-1 (the end), not -2"),
        ({T0: 1 << 63}, errors.IllegalArgumentError, "not 9223372036854775808"),
        ({T0: "1"}, TypeError, "must be int, not str"),
        ({T0: True}, TypeError, "must be int, not bool"),
        ({"t": 1}, TypeError, "TopicPartition(topic, partition), not 't'"),
        ([T0], TypeError, "not list"),
    ],
)
def test_what_is_no_request_to_delete_is_refused(broker, given, error, said):
    broker.create()
    broker.producer().send("t", b"a")

    with pytest.raises(error) as refused:
        broker.admin.delete_records(given)

    assert said in str(refused.value)
    assert broker.values() == [b"a"]


def test_only_broker_0_can_be_asked_to_delete(broker):
    broker.create()

    with pytest.raises(errors.IllegalArgumentError, match="only broker 0"):
        broker.admin.delete_records({T0: -1}, partition_leader_id=7)


def test_an_empty_partition_has_nothing_to_delete(broker):
    broker.create()

    assert deleted(broker, -1) == deleted(broker, 0) == 0
    with pytest.raises(errors.OffsetOutOfRangeError):
        deleted(broker, 1)


def test_what_is_deleted_while_others_append_and_read_is_always_the_beginning(broker):
    broker.create(segment_bytes=SEGMENT_BYTES, retention_bytes=400 * SEGMENT_BYTES)
    total = 3000

    def produce() -> None:
        with broker.producer() as producer:
            for number in range(total):
                producer.send("t", b"%d " % number + bytes(2000))

    def delete() -> int:
        begin = 0
        with Admin(bootstrap_servers=broker.address) as admin:
            while begin < total:
                before, begin = begin, admin.delete_records({T0: -1})[T0]["low_watermark"]
                assert begin >= before
        return begin

    children = [broker.fork(produce), broker.fork(delete)]
    consumer = broker.consumer("t")
    offsets = []
    while consumer.position(T0) < total:
        for record in consumer.poll(timeout_ms=10).get(T0, []):
            assert record.value.startswith(b"%d " % record.offset)
            offsets.append(record.offset)
    for child in children:
        child.result()

    assert offsets == sorted(set(offsets))
    assert consumer.beginning_offsets([T0]) == {T0: total}
    assert segments(broker) == 1
    assert all_valid(broker)


def test_a_topic_in_memory_begins_at_offset_0_again_after_a_reboot(broker):
    broker.create(storage="memory")
    broker.producer().send("t", b"a")
    deleted(broker, -1)
    topics = Topics(broker.admin.broker)
    meta = topics.find("t")
    broker.run(f"import shutil; shutil.rmtree({meta.directory!r})")

    assert broker.consumer().beginning_offsets([T0]) == {T0: 0}
