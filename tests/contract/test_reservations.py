"""Producer.reserve: filled in place, then published or given up."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from shmq.errors import (
    BufferFullError,
    ClosedError,
    ForkedError,
    IllegalArgumentError,
    IllegalStateError,
    RecordListTooLargeError,
    TopicTypeError,
)

SEGMENT_BYTES = 65536
SMALL = {"segment_bytes": SEGMENT_BYTES, "retention_bytes": 4 * SEGMENT_BYTES}


@pytest.fixture(params=["memory", "disk"])
def typed(request, broker):
    """Topic "t" of items of 8 int64."""
    return broker.create(storage=request.param, dtype="int64", shape="8", **SMALL)


def items(broker):
    """All items, as lists of their first values."""
    return [int.from_bytes(value[:8], "little") for value in broker.values()]


def test_leaving_publishes_what_was_filled_in_as_one_batch(broker, typed):
    reserved = broker.producer().reserve("t", 3, keys=[b"a", None, b"c"], timestamp_ms=77)

    with reserved as array:
        assert (array.dtype, array.shape, array.flags.writeable) == (np.int64, (3, 8), True)
        array[:] = np.arange(24).reshape(3, 8)

    assert reserved.metadata == ("t", 0, 0, 3, 77)
    assert not reserved.copied
    [batch] = broker.consumer("t").poll_arrays().values()
    np.testing.assert_array_equal(batch.items, np.arange(24).reshape(3, 8))
    assert (batch.keys, batch.in_place) == ([b"a", None, b"c"], True)


def test_nothing_is_there_before_it_is_left(broker, typed):
    producer, consumer = broker.producer(), broker.consumer("t")

    with producer.reserve("t", 1) as array:
        array[:] = 5
        assert consumer.poll_arrays() == {}
        assert consumer.end_offsets([typed])[typed] == 0

    assert len(consumer.poll_arrays()) == 1


def test_an_exception_publishes_nothing(broker, typed):
    reserved = broker.producer().reserve("t", 3)

    with pytest.raises(ZeroDivisionError), reserved as array:
        array[:] = 1
        raise ZeroDivisionError

    assert reserved.metadata is None
    assert broker.values() == []
    broker.producer().send("t", np.full(8, 9))
    assert items(broker) == [9]
    assert broker.consumer("t").poll_arrays()[typed].offsets.tolist() == [0]


def test_afterwards_the_array_can_be_read_and_not_written(broker, typed):
    with broker.producer().reserve("t", 1) as array:
        array[:] = 7

    assert (array == 7).all()
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 8
    assert items(broker) == [7]


def test_an_open_reservation_blocks_nobody(broker, typed):
    producer, other, consumer = broker.producer(), broker.producer(), broker.consumer("t")

    with producer.reserve("t", 1) as array:
        other.send("t", np.full(8, 1))
        producer.send("t", np.full(8, 2))
        with other.reserve("t", 1) as second:
            second[:] = 3
        found = []
        while batches := consumer.poll_arrays():
            found += batches[typed].items[:, 0].tolist()
        assert found == [1, 2, 3]
        array[:] = 4

    [batch] = consumer.poll_arrays().values()
    assert (batch.items[:, 0].tolist(), batch.offsets.tolist()) == ([4], [3])


def test_it_is_copied_to_where_the_log_ends_if_the_segment_was_left_behind(broker, typed):
    reserved = broker.producer().reserve("t", 2)

    with reserved as array:
        array[:] = 4
        broker.producer().send_array("t", np.full((3000, 8), 1))  # three segments
        array[1] = 5

    assert reserved.copied
    assert items(broker)[-2:] == [4, 5]


def test_it_is_published_even_if_retention_has_passed_it(broker, typed):
    with broker.producer().reserve("t", 2) as array:
        array[0] = 4
        broker.producer().send_array("t", np.full((9000, 8), 1))  # more than the ring
        array[1] = 5

    assert items(broker)[-2:] == [4, 5]


def test_a_producer_that_dies_with_an_open_one_has_published_nothing(broker, typed):
    def die():
        with broker.producer().reserve("t", 1) as array:
            array[:] = 6
            os.kill(os.getpid(), signal.SIGKILL)

    child = broker.fork(die)
    child.reap()

    producer = broker.producer()
    producer.send("t", np.full(8, 1))
    with producer.reserve("t", 1) as array:
        array[:] = 2
    assert items(broker) == [1, 2]
    assert "0 broken" in _verified(broker)


def _verified(broker):
    import subprocess
    import sys

    command = [sys.executable, "-m", "shmq", "--broker", broker.address, "verify"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_in_a_forked_child_an_open_one_is_the_parents(broker, typed):
    producer = broker.producer()
    reserved = producer.reserve("t", 1)

    def leave():
        with pytest.raises(ForkedError):
            reserved.__exit__(None, None, None)

    def fail():
        with pytest.raises(ZeroDivisionError):
            try:
                raise ZeroDivisionError
            except ZeroDivisionError as error:
                reserved.__exit__(type(error), error, error.__traceback__)
                raise

    unused = producer.reserve("t", 1)

    def enter_the_parents():
        with pytest.raises(ForkedError), unused:
            pass

    with reserved as array:
        array[:] = 3
        broker.fork(leave).result()
        broker.fork(fail).result()
        broker.fork(enter_the_parents).result()
        assert broker.values() == []

    assert items(broker) == [3]


def test_a_forked_child_reserves_for_itself(broker, typed):
    producer = broker.producer()

    def reserve():
        with producer.reserve("t", 1) as array:
            array[:] = 8

    broker.fork(reserve).result()

    assert items(broker) == [8]


def test_it_is_used_once(broker, typed):
    reserved = broker.producer().reserve("t", 1)
    with reserved as array:
        array[:] = 1

    with pytest.raises(IllegalStateError, match=r"reserve\(\) again"), reserved:
        pass

    assert items(broker) == [1]


def test_one_whose_producer_was_closed_is_given_up(broker, typed):
    producer = broker.producer()

    with pytest.raises(ClosedError), producer.reserve("t", 1) as array:
        array[:] = 1
        producer.close()

    assert broker.values() == []


def test_one_that_is_never_left_holds_nothing_for_ever(broker, typed):
    producer = broker.producer()
    producer.reserve("t", 1).__enter__()

    producer.send("t", np.full(8, 1))

    assert items(broker) == [1]


@pytest.mark.parametrize("bad", [0, -3])
def test_less_than_one_item_is_refused(broker, typed, bad):
    with pytest.raises(IllegalArgumentError, match="must be 1 or more"):
        broker.producer().reserve("t", bad)


@pytest.mark.parametrize("bad", [None, True, 1.5, "3"])
def test_what_is_no_number_is_refused(broker, typed, bad):
    with pytest.raises(TypeError, match="an int of 1 or more"):
        broker.producer().reserve("t", bad)


def test_nbytes_are_for_untyped_topics_and_items_for_typed_ones(broker, typed):
    broker.create("bytes")

    with pytest.raises(TopicTypeError, match="give the number of items"):
        broker.producer().reserve("t", nbytes=64)
    with pytest.raises(TopicTypeError, match="give nbytes"):
        broker.producer().reserve("bytes", 3)


def test_what_no_segment_can_hold_is_refused(broker, typed):
    with pytest.raises(RecordListTooLargeError), broker.producer().reserve("t", 10_000):
        pass

    assert broker.values() == []


def test_bytes_are_reserved_on_an_untyped_topic(broker):
    place = broker.create(storage="memory")
    reserved = broker.producer().reserve("t", nbytes=1000, keys=[b"k"])

    with reserved as array:
        assert (array.dtype, array.shape) == (np.uint8, (1000,))
        array[:] = 65

    assert reserved.metadata[:4] == ("t", 0, 0, 1)
    [record] = broker.read()
    assert (record.value, record.key, record.headers) == (b"A" * 1000, b"k", [])
    [in_place] = broker.consumer("t", values="memoryview").poll()[place]
    assert bytes(in_place.value) == b"A" * 1000


def test_where_items_vary_it_is_one_item_of_that_length(broker):
    broker.create(dtype="float32", shape="*,3")

    with broker.producer().reserve("t", 5) as array:
        assert array.shape == (5, 3)
        array[:] = 2

    [batch] = broker.consumer("t").poll_arrays().values()
    assert [item.shape for item in batch.items] == [(5, 3)]


def test_keys_say_which_partition_and_must_agree(broker):
    broker.create(partitions=3, dtype="int64")
    producer = broker.producer()
    home = producer.send("t", np.int64(1), key=b"anna").get().partition
    other = next(b"%d" % n for n in range(99) if producer.send("t", np.int64(1), key=b"%d" % n).get().partition != home)

    reserved = producer.reserve("t", 2, keys=[b"anna", b"anna"])
    with reserved as array:
        array[:] = 0

    assert reserved.metadata.partition == home
    with pytest.raises(IllegalArgumentError, match="reserve for each"):
        producer.reserve("t", 2, keys=[b"anna", other])
    with pytest.raises(ValueError, match="2 items but 1 keys"):
        producer.reserve("t", 2, keys=[b"anna"])
    with producer.reserve("t", 2, keys=[b"anna", other], partition=1) as array:
        array[:] = 0


def test_a_full_ring_that_waits_has_no_room_to_reserve(broker):
    place = broker.create_queue()
    consumer = broker.consumer()
    consumer.assign([place])
    producer = broker.producer(max_block_ms=0)

    with pytest.raises(BufferFullError):
        for _ in range(10):
            with producer.reserve("t", nbytes=20_000) as array:
                array[:] = 1

    assert len(consumer.poll()[place]) >= 3


def test_the_crc_is_of_what_was_filled_in(broker):
    broker.create(dtype="int64", shape="8", crc=True)

    with broker.producer().reserve("t", 4) as array:
        array[:] = 1

    assert items(broker) == [1] * 4
    assert "0 broken" in _verified(broker)
