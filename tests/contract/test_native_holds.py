"""Groups that producers keep records for, and commits that step over aborted ranges."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from shmq import TopicPartition, _native
from shmq.errors import BufferFullError, ClosedError, OffsetOutOfRangeError, TooManyReadersError
from shmq.store import Topics

GROUP = 0x2F_0007  # bits in both parts of an owner word
OTHER = 1
HALF = bytes(25_000)  # two of these fill a small segment
PLACE = TopicPartition("t", 0)


class Queue:
    """A topic that holds two segments of two records each, by its partition."""

    def __init__(self, partition) -> None:
        self.partition: Any = partition

    def __getattr__(self, name: str) -> Any:
        return getattr(self.partition, name)


@contextlib.contextmanager
def opened(broker) -> Iterator[Any]:
    """Partition 0 of "t"."""
    topics = Topics(broker.admin.broker)
    with topics.opened(topics.find("t")) as [partition]:
        yield partition


@pytest.fixture
def queue(broker) -> Iterator[Queue]:
    broker.create_queue()
    with opened(broker) as partition:
        queue = Queue(partition)
        del partition
        yield queue
        queue.partition = None  # pytest keeps the fixture's value for longer than the broker is there


def fill(producer, *, self_wait: bool = False) -> int:
    """Send until there is no room, for this reason; how many that were."""
    for sent in range(50):
        try:
            producer.send("t", HALF)
        except BufferFullError as error:
            assert error.self_wait == self_wait
            return sent
    raise AssertionError("it never got full")


def read_one(reader) -> int:
    """The offset of the next record."""
    return reader.find_time(0)[0]


@contextlib.contextmanager
def reading(queue, group: int = GROUP) -> Iterator[Any]:
    """A reader for the group."""
    reader = _native.Reader(queue.partition, PLACE)
    try:
        assert reader.hold(group)
        yield reader
    finally:
        reader.close()


def leave_claims(broker, count: int = 1, value: bytes = b"lost") -> None:
    """Let producers die in the middle of an append."""

    def die() -> None:
        producer = broker.producer()
        producer.partitions_for("t")
        _native.fault_arm("journal.claim.after", 1, signal.SIGKILL)
        producer.send("t", value)

    for _ in range(count):
        broker.fork(die).reap()


# -- holding ---------------------------------------------------------------------------------------------------------


def test_a_group_without_members_holds_back_what_it_has_not_done(broker, queue):
    queue.hold(GROUP, 0)
    producer = broker.producer(max_block_ms=0)

    assert fill(producer) == 4
    assert queue.move_hold(GROUP, 1)
    assert fill(producer) == 0, "segment 0 has a record that the group has not done"
    assert queue.move_hold(GROUP, 2)
    assert fill(producer) == 2
    assert queue.offsets() == (2, 6)
    assert queue.holds() == {GROUP: 2}
    assert queue.verify() is None


def test_a_group_that_is_done_with_all_counts_as_a_reader(broker, queue):
    producer = broker.producer(max_block_ms=0)
    assert fill(producer) == 4
    queue.hold(GROUP, 1000)

    for _ in range(20):
        producer.send("t", HALF)


def test_groups_and_readers_hold_back_what_the_slowest_needs(broker, queue):
    queue.hold(GROUP, 0)
    queue.hold(OTHER, 0)
    consumer = broker.consumer("t", max_poll_records=1)
    producer = broker.producer(max_block_ms=0)
    assert fill(producer) == 4

    queue.move_hold(GROUP, 4)
    assert fill(producer) == 0
    queue.move_hold(OTHER, 4)
    assert fill(producer, self_wait=True) == 0
    for _ in range(3):
        consumer.poll()

    assert fill(producer, self_wait=True) == 2


def test_a_hold_never_goes_back_until_it_is_set_anew(queue):
    queue.hold(GROUP, 5)

    assert queue.move_hold(GROUP, 3)
    assert queue.holds() == {GROUP: 5}
    queue.hold(GROUP, 3)
    assert queue.holds() == {GROUP: 3}


def test_a_group_that_is_released_holds_nothing_back(broker, queue):
    queue.hold(GROUP, 0)
    queue.hold(OTHER, 1000)
    producer = broker.producer(max_block_ms=0)
    assert fill(producer) == 4

    queue.release(GROUP)

    assert queue.holds() == {OTHER: 1000}
    producer.send("t", HALF)
    assert queue.move_hold(GROUP, 5) is False
    queue.release(GROUP)


def test_a_hold_outlives_the_process_that_made_it(broker, queue):
    def make() -> None:
        with opened(broker) as partition:
            partition.hold(GROUP, 0)

    broker.fork(make).result()
    producer = broker.producer(max_block_ms=0)

    assert fill(producer) == 4
    assert queue.holds() == {GROUP: 0}


def test_a_topic_that_drops_the_oldest_drops_it_for_groups_too(broker):
    broker.create(segment_bytes=65536, retention_bytes=131072)
    with opened(broker) as partition:
        partition.hold(GROUP, 0)
        producer = broker.producer(max_block_ms=0)

        for _ in range(8):
            producer.send("t", HALF)

        assert partition.offsets()[0] > 0


@pytest.mark.parametrize("act", ["move", "set", "release", "read"])
def test_a_producer_that_waits_goes_on_when_the_group_has_done_more(broker, queue, act):
    queue.hold(OTHER, 1000)
    queue.hold(GROUP, 0)
    assert fill(broker.producer(max_block_ms=0)) == 4
    child = broker.fork(lambda: broker.producer(max_block_ms=20_000).send("t", HALF).get().offset)

    if act == "move":
        queue.move_hold(GROUP, 2)
    elif act == "set":
        queue.hold(GROUP, 2)
    elif act == "release":
        queue.release(GROUP)
    else:
        with reading(queue) as reader:
            assert reader.move_hold(2)

    assert child.result() == 4


def test_numbers_that_no_group_has_are_refused(queue):
    for number in (0, 1 << 22, -1, 1 << 64):
        for act in (lambda n: queue.hold(n, 0), lambda n: queue.move_hold(n, 0), queue.release):
            with pytest.raises(OverflowError):
                act(number)
    for offset in (1 << 47, -1):
        with pytest.raises(OverflowError):
            queue.hold(GROUP, offset)
    queue.hold((1 << 22) - 1, (1 << 47) - 1)
    assert queue.holds() == {(1 << 22) - 1: (1 << 47) - 1}


def test_a_table_full_of_groups_takes_no_more(queue):
    for number in range(1, 257):
        queue.hold(number, number)

    with pytest.raises(TooManyReadersError, match="256"):
        queue.hold(257, 0)

    queue.hold(256, 9)
    queue.release(17)
    queue.hold(257, 5)
    expected = {number: number for number in range(1, 257)} | {256: 9, 257: 5}
    del expected[17]
    assert queue.holds() == expected


# -- reading for a group ---------------------------------------------------------------------------------------------


def test_a_reader_for_a_group_moves_its_hold(broker, queue):
    queue.hold(GROUP, 0)
    assert fill(broker.producer(max_block_ms=0)) == 4

    with reading(queue) as reader:
        assert [read_one(reader) for _ in range(4)] == [0, 1, 2, 3]
        assert queue.holds() == {GROUP: 0}
        assert reader.move_hold(3)
        assert reader.move_hold(1)

    assert queue.holds() == {GROUP: 3}


def test_a_reader_for_a_group_that_has_no_hold_is_told(queue):
    reader = _native.Reader(queue.partition, PLACE)

    assert reader.hold(GROUP) is False
    assert reader.move_hold(0) is False
    reader.close()
    for act in (reader.hold, reader.move_hold, reader.settled):
        with pytest.raises(ClosedError):
            act(0)


@pytest.mark.parametrize("newer", [GROUP, OTHER])
def test_a_move_that_comes_too_late_changes_nothing(queue, newer):
    """The hold was set anew, or released and its place given to another, since the member found it."""
    queue.hold(GROUP, 5)
    with reading(queue) as reader:
        if newer == OTHER:
            queue.release(GROUP)
        queue.hold(newer, 2)

        assert reader.move_hold(9) is False

        assert queue.holds() == {newer: 2}
        assert reader.hold(newer)
        assert reader.move_hold(9)
    assert queue.holds() == {newer: 9}


def test_a_producer_that_only_its_own_threads_group_reader_could_make_room_for_is_told_at_once(broker, queue):
    queue.hold(GROUP, 0)
    producer = broker.producer(max_block_ms=60_000)
    with reading(queue) as reader:
        for _ in range(4):
            producer.send("t", HALF)

        with pytest.raises(BufferFullError) as full:
            producer.send("t", HALF)

        assert full.value.self_wait
        assert read_one(reader) == 0
        assert reader.move_hold(2)
        producer.send("t", HALF)


def test_a_producer_waits_for_a_group_reader_of_another_thread_or_for_none(broker, queue):
    queue.hold(GROUP, 0)
    producer = broker.producer(max_block_ms=20)
    with reading(queue) as reader:
        assert fill(producer, self_wait=True) == 4
        thread = threading.Thread(target=lambda: read_one(reader))
        thread.start()
        thread.join()
        assert fill(producer) == 0, "it was polled in another thread last"
    with reading(queue):
        pass
    assert fill(producer) == 0, "nobody reads for the group now, but somebody may"


def test_a_producer_waits_when_another_group_holds_too(broker, queue):
    queue.hold(GROUP, 0)
    queue.hold(OTHER, 0)
    producer = broker.producer(max_block_ms=20)

    with reading(queue):
        assert fill(producer) == 4
        queue.move_hold(OTHER, 4)
        assert fill(producer, self_wait=True) == 0


# -- aborted ranges --------------------------------------------------------------------------------------------------


def read_to(reader, end: int) -> list[int]:
    """Offsets of the records before `end`; then once more, so that the reader steps over what follows."""
    offsets = []
    while reader.position < end and (found := reader.find_time(0)):
        offsets.append(found[0])
    reader.find_time(0)
    return offsets


def test_settled_is_the_place_up_to_which_there_is_no_record(broker):
    """Offsets 0 1 x x 4 5 x 7 x x, with a reader that has seen them all."""
    broker.create()
    producer = broker.producer()
    for kept, lost in ((2, 2), (2, 1), (1, 2)):
        for _ in range(kept):
            producer.send("t", b"kept")
        leave_claims(broker, lost)
    with opened(broker) as partition:
        reader = _native.Reader(partition, PLACE)

        assert read_to(reader, 10) == [0, 1, 4, 5, 7]

        assert reader.position == 10
        settled = [reader.settled(offset) for offset in range(12)]
        assert settled == [0, 1, 4, 4, 4, 5, 7, 7, 10, 10, 10, 11]
        reader.seek(7)
        assert [reader.settled(offset) for offset in (2, 6, 7, 8)] == [4, 7, 7, 8]
        reader.seek(3)
        assert [reader.settled(offset) for offset in (0, 2, 3, 4)] == [0, 3, 3, 4], "not beyond the reader's place"
        reader.close()


def test_settled_finds_records_inside_a_batch(broker):
    broker.create()
    broker.producer().send_many("t", [b"a", b"b", b"c"])
    leave_claims(broker)
    with opened(broker) as partition:
        reader = _native.Reader(partition, PLACE)
        read_to(reader, 4)

        assert [reader.settled(offset) for offset in range(5)] == [0, 1, 2, 4, 4]
        reader.close()


def test_settled_looks_into_earlier_segments_and_across_their_ends(broker, queue):
    """Segments 0 x | x x | x 5 | 6."""
    queue.hold(GROUP, 0)
    producer = broker.producer()
    with reading(queue) as reader:
        producer.send("t", HALF)
        leave_claims(broker, 3, HALF)
        assert read_to(reader, 4) == [0]
        assert reader.position == 4
        assert [reader.settled(offset) for offset in range(5)] == [0, 4, 4, 4, 4]
        assert reader.move_hold(1)
        leave_claims(broker, 1, HALF)
        producer.send("t", HALF)
        assert read_one(reader) == 5
        assert [reader.settled(offset) for offset in range(7)] == [0, 1, 5, 5, 5, 5, 6], "segment 0 is gone"
    assert queue.offsets() == (2, 6)


def test_a_commit_of_the_last_record_before_an_aborted_tail_frees_its_segment(broker, queue):
    queue.hold(GROUP, 0)
    producer = broker.producer(max_block_ms=0)
    producer.send("t", HALF)
    leave_claims(broker, 1, HALF)
    producer.send("t", HALF)
    producer.send("t", HALF)
    with reading(queue) as reader:
        assert read_one(reader) == 0
        assert reader.move_hold(1)
        assert queue.holds() == {GROUP: 1}, "what comes behind is not known yet"
        assert read_one(reader) == 2
        assert reader.move_hold(1)
        assert queue.holds() == {GROUP: 2}

        producer.send("t", HALF)


def test_a_poll_that_steps_over_an_aborted_tail_takes_the_hold_along(broker, queue):
    """The whole log is done or aborted, and the producer waits: no commit would ever come."""
    queue.hold(GROUP, 0)
    broker.producer().send("t", HALF)
    with reading(queue) as reader:
        assert read_one(reader) == 0
        assert reader.move_hold(1)
        leave_claims(broker, 3, HALF)
        child = broker.fork(lambda: broker.producer(max_block_ms=20_000).send("t", HALF).get().offset)
        consumer = broker.consumer()
        consumer._readers[:] = [reader]

        records = consumer.poll(timeout_ms=20_000)[PLACE]

        assert [record.offset for record in records] == [4]
        assert child.result() == 4
        assert queue.holds() == {GROUP: 4}
        consumer._readers[:] = []


def test_a_poll_takes_the_hold_over_nothing_that_was_not_committed(broker, queue):
    queue.hold(GROUP, 0)
    broker.producer().send("t", HALF)
    leave_claims(broker, 2, HALF)
    with reading(queue) as reader:
        assert read_to(reader, 3) == [0]
        assert reader.position == 3

        assert queue.holds() == {GROUP: 0}
        assert reader.move_hold(1)
        assert queue.holds() == {GROUP: 3}


def test_settled_of_what_is_gone_is_itself(broker, queue):
    queue.hold(GROUP, 1000)
    producer = broker.producer()
    for _ in range(8):
        producer.send("t", HALF)
    with reading(queue) as reader:
        with pytest.raises(OffsetOutOfRangeError):
            reader.seek(0)
        reader.seek(6)

        assert reader.settled(1) == 1
