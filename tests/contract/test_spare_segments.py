"""Segment files made ahead: who rolls takes them; what it would do without them, it still can."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmq import ConfigResource, TopicPartition, _native
from shmq.errors import UnknownTopicOrPartitionError
from shmq.store import Topics

SEGMENT_BYTES = 65536
HALF = bytes(20_000)  # two of these fill a small segment: a third does not fit
SMALL = {"segment_bytes": SEGMENT_BYTES, "retention_bytes": 3 * SEGMENT_BYTES}


@contextlib.contextmanager
def opened(broker, topic: str = "t") -> Iterator[_native.Partition]:
    topics = Topics(broker.admin.broker)
    with topics.opened(topics.find(topic)) as [partition]:
        yield partition


def files(broker, topic: str = "t") -> list[str]:
    directory = Topics(broker.admin.broker).find(topic).partition_directory(0)
    return sorted(name for name in os.listdir(directory) if name != "control")


def spares(broker) -> list[Path]:
    directory = Path(Topics(broker.admin.broker).find("t").partition_directory(0))
    return list(directory.glob("spare-*"))


def incarnations(broker) -> list[int]:
    return [int(name.removesuffix(".segment").split("-")[1], 16) for name in files(broker)]


@pytest.mark.parametrize("storage", ["disk", "memory"])
def test_a_spare_is_made_once_the_newest_segment_is_half_full_and_taken_by_whoever_rolls(broker, storage):
    broker.create(**SMALL, storage=storage)
    producer = broker.producer()
    with opened(broker) as partition:
        made = [partition.prepare_spare()]
        for _ in range(2):
            producer.send("t", HALF)
            made.append(partition.prepare_spare())
        made.append(partition.prepare_spare())
        [spare] = spares(broker)
        assert partition.clean() == 0

        producer.send("t", HALF)

        assert made == [False, False, True, False]  # no log; not half full; made; there
        assert files(broker) == [f"{0:020}-{1:010x}.segment", f"{1:020}-{2:010x}.segment"]
        assert spare.name == f"spare-{2:010x}.segment"
        assert partition.verify() is None
        assert partition.census()["spares"] == 0
        assert partition.clean() == 0
    assert broker.values() == [HALF] * 3


def test_a_spare_counts_among_the_segments_that_retention_allows(broker):
    broker.create(**SMALL)
    producer = broker.producer()
    with opened(broker) as partition:
        for number in range(20):
            producer.send("t", HALF)
            partition.prepare_spare()

            assert len(files(broker)) <= 3, number
            assert partition.stats()["bytes"] <= 3 * SEGMENT_BYTES
            census = partition.census()
            assert census["segments"] + census["spares"] == len(files(broker))
        assert partition.census()["spares"] == 1
        assert partition.offsets() == (16, 20)


def test_no_spare_takes_the_place_of_what_readers_of_a_queue_still_need(broker):
    place = broker.create_queue(segments=2)
    producer, consumer = broker.producer(max_block_ms=0), broker.consumer()
    consumer.assign([place])
    with opened(broker) as partition:
        for _ in range(4):
            producer.send("t", HALF)

        before = partition.prepare_spare()
        held = files(broker)
        read = 0
        while read < 4:
            read += sum(map(len, consumer.poll(timeout_ms=1000).values()))
        after = partition.prepare_spare()

        assert (before, after) == (False, True)
        assert len(held) == len(files(broker)) == 2
        producer.send("t", HALF)
        assert partition.verify() is None


@pytest.mark.parametrize("change", [{"segment_bytes": 2 * SEGMENT_BYTES}, {"crc": "false"}])
@pytest.mark.parametrize("by", ["roll", "clean", "prepare"])
def test_a_spare_that_the_options_no_longer_want_goes(broker, change, by):
    broker.create(segment_bytes=SEGMENT_BYTES, retention_bytes=8 * SEGMENT_BYTES)
    producer = broker.producer()
    with opened(broker) as partition:
        producer.send_many("t", [HALF] * 2)
        assert partition.prepare_spare()
        [old] = spares(broker)
        broker.admin.alter_configs([ConfigResource("topic", "t", change)])

        if by == "roll":
            producer.send("t", HALF)
            expected = [1, 3]
        elif by == "clean":
            assert partition.clean() == 1
            expected = [1]
        else:
            assert partition.prepare_spare()
            assert incarnations(broker) == [1, 3]
            producer.send("t", HALF)
            expected = [1, 3]

        assert not old.exists()
        assert incarnations(broker) == expected
        assert partition.verify() is None


@pytest.mark.parametrize("damage", ["gone", "cut", "header", "foreign"])
def test_a_damaged_spare_costs_whoever_rolls_its_own_file_and_nothing_else(broker, damage):
    broker.create(**SMALL)
    producer = broker.producer()
    with opened(broker) as partition:
        producer.send_many("t", [HALF] * 2)
        assert partition.prepare_spare()
        [spare] = spares(broker)
        if damage == "gone":
            spare.unlink()
        elif damage == "cut":
            os.truncate(spare, 8192)
        elif damage == "header":
            with open(spare, "r+b") as file:
                file.seek(40)
                file.write(b"\x05")
        else:
            spare.write_bytes((spare.parent / files(broker)[0]).read_bytes())
        assert partition.verify() is not None

        producer.send("t", HALF)

        assert incarnations(broker) == [1, 3]
        assert partition.verify() is None
    assert broker.values() == [HALF] * 3


def test_a_spare_is_made_and_taken_in_other_processes_than_the_one_that_writes(broker):
    broker.create(**SMALL)
    broker.producer().send_many("t", [HALF] * 2)

    made = broker.fork(lambda: _prepare(broker)).result()
    broker.fork(lambda: broker.producer().send("t", HALF).get().offset).result()

    assert made
    assert incarnations(broker) == [1, 2]


def _prepare(broker) -> bool:
    with opened(broker) as partition:
        return partition.prepare_spare()


def test_many_who_make_spares_and_roll_at_once_lose_nothing(broker):
    broker.create(segment_bytes=SEGMENT_BYTES, retention_bytes=400 * SEGMENT_BYTES)

    def produce(name: int) -> int:
        with opened(broker) as partition, broker.producer() as producer:
            made = 0
            for number in range(300):
                producer.send("t", b"%d %d " % (name, number) + bytes(6000))
                made += partition.prepare_spare()
            return made

    children = [broker.fork(lambda name=name: produce(name)) for name in range(3)]
    made = sum(child.result() for child in children)

    values = sorted(tuple(map(int, value.split(b" ")[:2])) for value in broker.values())
    assert values == [(name, number) for name in range(3) for number in range(300)]
    assert made > 20  # of about 100 segments
    with opened(broker) as partition:
        assert partition.verify() is None
        partition.clean()
        census = partition.census()
        assert len(files(broker)) == census["segments"] + census["spares"]


def test_whoever_makes_spares_is_told_that_the_topic_is_gone(broker):
    place = broker.create(**SMALL)
    broker.producer().send_many("t", [HALF] * 2)
    with opened(broker) as partition:
        broker.admin.delete_topics(["t"])

        with pytest.raises(UnknownTopicOrPartitionError) as error:
            partition.prepare_spare()
        assert TopicPartition(error.value.topic, error.value.partition) == place
        with pytest.raises(UnknownTopicOrPartitionError):
            partition.apply_retention()
        with pytest.raises(UnknownTopicOrPartitionError):
            partition.delete_records(-1)
