"""Items and reservations in the core: what is appended, what is read in place, and how long it stays what it is."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shmq import AcknowledgeType, TopicPartition, _native, errors
from shmq.store import Topics

SEGMENT_BYTES = 65536
WAIT_MS = 1000


class Log:
    """Topic "t" with the core's own appender, and a consumer of partition 0."""

    def __init__(self, broker: Any, stack: contextlib.ExitStack, **configs: Any) -> None:
        self.place = broker.create(**{"segment_bytes": SEGMENT_BYTES, "retention_bytes": 8 * SEGMENT_BYTES, **configs})
        topics = Topics(broker.admin.broker)
        self.directory = Path(topics.find("t").partition_directory(0))
        [self.partition] = stack.enter_context(topics.opened(topics.find("t")))
        self.appender = _native.Appender(self.partition)
        self.consumer = broker.consumer(spin_us=0)
        self.consumer.assign([self.place])

    def read(self, item_bytes: int = 0, most: int = 1 << 20, in_place: bool = True, timeout_ms: int = 0) -> Any:
        """The next Items, or None."""
        self.consumer._readers[0].item_bytes = item_bytes
        return self.consumer._poll_items(timeout_ms, most, in_place).get(self.place)

    def end(self) -> None:
        """Let go of everything."""
        del self.appender, self.partition

    def fill_segment(self) -> None:
        """So that the next append rolls."""
        rolled, _ = self.appender.counters()
        while self.appender.counters() == (rolled, 0):
            self.appender.append(bytes(4000), WAIT_MS)


@pytest.fixture
def log(broker) -> Iterator[Log]:
    with contextlib.ExitStack() as stack:
        log = Log(broker, stack)
        yield log
        log.end()


@pytest.fixture
def kept_limit() -> Iterator[None]:
    yield
    _native.set_kept_limit(1 << 30)


def numbers(first: int, count: int) -> bytes:
    """Items of 8 bytes."""
    return struct.pack(f"<{count}q", *range(first, first + count))


def items_in(items: _native.Items) -> list[bytes]:
    data, step = bytes(memoryview(items)), items.stride
    return [data[step * index : step * index + items.item_bytes] for index in range(items.count)]


def address_of(buffer: Any) -> int:
    import ctypes

    class PyBuffer(ctypes.Structure):
        _fields_ = [("buf", ctypes.c_void_p), ("obj", ctypes.py_object), ("rest", ctypes.c_byte * 256)]

    view = PyBuffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(buffer), ctypes.byref(view), 0)
    address = view.buf
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))
    return int(address or 0)


# -- appending and reading -----------------------------------------------------------------------------------------------


def test_items_are_one_batch_and_each_is_a_record_for_poll(log):
    keys = [b"a", None, b"", b"long key"]

    assert log.appender.append_items(numbers(0, 4), 4, WAIT_MS, keys, 77) == (0, 77)

    records = log.consumer.poll(timeout_ms=WAIT_MS)[log.place]
    assert [(each.offset, each.key, each.value, each.timestamp) for each in records] == [
        (index, keys[index], numbers(index, 1), 77) for index in range(4)
    ]
    assert log.partition.census()["batches"] == 1
    assert log.partition.verify() is None


def test_a_batch_is_read_as_one_array_in_place(log):
    log.appender.append_items(numbers(0, 1000), 1000, WAIT_MS, None, 5)

    items = log.read(item_bytes=8)

    assert (items.count, items.item_bytes, items.stride, items.base_offset) == (1000, 8, 8, 0)
    assert (items.timestamps, items.keys, items.in_place) == (5, None, True)
    assert bytes(memoryview(items)) == numbers(0, 1000)
    assert address_of(items) % 64 == 0
    assert log.read() is None


def test_no_more_items_than_asked_for_and_then_the_rest_with_their_keys(log):
    keys = [b"%d" % index * (index % 3) for index in range(10)]
    log.appender.append_items(numbers(0, 10), 10, WAIT_MS, keys)
    log.consumer.seek(log.place, 2)

    first, second, third = log.read(most=3), log.read(most=1), log.read()

    assert [(each.base_offset, each.count) for each in (first, second, third)] == [(2, 3), (5, 1), (6, 4)]
    assert first.keys + second.keys + third.keys == keys[2:]
    assert b"".join(bytes(memoryview(each)) for each in (first, second, third)) == numbers(2, 8)


def test_single_items_that_follow_each_other_are_one_array_with_a_stride(log):
    for index in range(5):
        log.appender.append_items(numbers(index, 1), 1, WAIT_MS, [bytes(99)] if index == 3 else None, 100 + index)
    log.appender.append_items(numbers(5, 2), 2, WAIT_MS)

    items = log.read(item_bytes=8)

    assert (items.count, items.stride, items.base_offset) == (
        4,
        128,
        0,
    )  # the key takes more room: the next is further away
    assert struct.unpack("4q", items.timestamps) == (100, 101, 102, 103)
    assert items.keys == [None, None, None, bytes(99)]
    assert items_in(items) == [numbers(index, 1) for index in range(4)]
    rest = [log.read(), log.read()]
    assert [(each.base_offset, each.count) for each in rest] == [(4, 1), (5, 2)]


def test_copies_are_dense_and_aligned(log):
    for index in range(5):
        log.appender.append_items(numbers(index, 1), 1, WAIT_MS)

    items = log.read(in_place=False)

    assert (items.count, items.stride, items.in_place) == (5, 8, False)
    assert bytes(memoryview(items)) == numbers(0, 5)
    assert address_of(items) % 64 == 0
    assert _native.kept() == (0, 0)


def test_plain_values_of_the_size_are_items_and_others_are_refused_and_not_passed(log):
    log.appender.append(b"12345678", WAIT_MS)
    log.appender.append_rows([(b"key", b"12345678", None, -1)], WAIT_MS)
    log.appender.append(b"123", WAIT_MS)

    assert bytes(memoryview(log.read(item_bytes=8))) == b"12345678"
    for offset in (1, 1, 2):
        log.consumer.seek(log.place, offset)
        with pytest.raises(errors.ShmqError):
            log.read(item_bytes=8)
        assert log.consumer.position(log.place) == offset


def test_records_that_were_shown_and_not_taken_come_as_items(log):
    log.appender.append_items(numbers(0, 4), 4, WAIT_MS, [b"a", None, None, b"d"], 9)
    log.consumer.poll(timeout_ms=WAIT_MS, update_offsets=False)

    first, second = log.read(item_bytes=8, most=3), log.read(item_bytes=8)

    assert (first.count, first.base_offset, first.keys) == (3, 0, [b"a", None, None])
    assert struct.unpack("3q", first.timestamps) == (9, 9, 9)
    assert bytes(memoryview(first)) + bytes(memoryview(second)) == numbers(0, 4)
    assert log.read() is None


def test_who_waits_for_items_is_woken(log):
    thread = threading.Timer(0.05, lambda: log.appender.append_items(numbers(1, 1), 1, WAIT_MS))
    thread.start()

    items = log.read(timeout_ms=20_000)

    thread.join()
    assert bytes(memoryview(items)) == numbers(1, 1)


def test_each_partition_gives_a_run(broker):
    broker.create(partitions=3)
    topics = Topics(broker.admin.broker)
    with topics.opened(topics.find("t")) as partitions:
        for number, partition in enumerate(partitions):
            _native.Appender(partition).append_items(numbers(number, 2), 2, WAIT_MS)
    consumer = broker.consumer()
    consumer.assign([TopicPartition("t", number) for number in range(3)])

    found = consumer._poll_items(WAIT_MS, None, True)

    assert {place.partition: bytes(memoryview(items)) for place, items in found.items()} == {
        number: numbers(number, 2) for number in range(3)
    }


@pytest.mark.parametrize(
    ("size", "count", "keys"),
    [
        (0, 1, None),
        (8, 0, None),
        (8, -1, None),
        (8, 3, None),
        (8, 2, [b"k"]),
        (8, 2, ["a", b"k"]),
        (8, 2, (b"k", b"k")),
    ],
)
def test_what_is_no_array_of_items_is_refused(log, size, count, keys):
    with pytest.raises((ValueError, TypeError)):
        log.appender.append_items(bytes(size), count, WAIT_MS, keys)

    assert log.partition.offsets() == (0, 0)


@pytest.mark.parametrize("reserve", [False, True])
def test_what_no_segment_could_hold_is_refused_before_anything_is_sealed(log, reserve):
    log.appender.append(b"x", WAIT_MS)
    for size, count in ((SEGMENT_BYTES, 1024), (64 << 20, 1)):  # the second is larger than max_message_bytes
        with pytest.raises(errors.ShmqError):
            if reserve:
                log.appender.reserve(size, count, WAIT_MS)
            else:
                log.appender.append_items(bytes(size), count, WAIT_MS)

    assert log.partition.census()["segments"] == 1


# -- reservations --------------------------------------------------------------------------------------------------------


def test_a_reservation_is_filled_in_place_and_published(log):
    reservation = log.appender.reserve(80, 10, WAIT_MS)
    assert address_of(reservation) % 64 == 0
    log.appender.append_items(numbers(100, 1), 1, WAIT_MS)  # nobody waits for it
    memoryview(reservation)[:] = numbers(0, 10)

    assert reservation.publish(WAIT_MS, [b"k"] + 9 * [None], 55) == (1, 55)

    assert reservation.copied is False
    assert bytes(memoryview(log.read())) == numbers(100, 1)
    items = log.read()
    assert (items.base_offset, items.count, items.timestamps, items.keys) == (1, 10, 55, [b"k"] + 9 * [None])
    assert bytes(memoryview(items)) == numbers(0, 10)
    assert address_of(items) % 64 == 0
    assert log.partition.verify() is None
    assert log.partition.census()["reserved"] == 1


def test_a_reservation_whose_segment_is_finished_is_published_by_copying(log):
    reservation = log.appender.reserve(80, 10, WAIT_MS)
    memoryview(reservation)[:] = numbers(0, 10)
    log.fill_segment()
    end = log.partition.offsets()[1]

    assert reservation.publish(WAIT_MS, None, 55) == (end, 55)

    assert reservation.copied is True
    log.consumer.seek(log.place, end)
    assert bytes(memoryview(log.read())) == numbers(0, 10)
    assert log.partition.verify() is None


def test_a_reservation_is_published_or_cancelled_once(log):
    published, cancelled = log.appender.reserve(8, 1, WAIT_MS), log.appender.reserve(8, 1, WAIT_MS)
    published.publish(WAIT_MS)
    cancelled.cancel()

    for reservation in (published, cancelled):
        for use in (
            reservation.cancel,
            lambda it=reservation: it.publish(WAIT_MS),
            lambda it=reservation: memoryview(it),
        ):
            with pytest.raises(ValueError, match="already"):
                use()

    assert log.partition.offsets() == (0, 1)


def test_a_buffer_of_a_reservation_outlives_it(log):
    reservation = log.appender.reserve(8, 1, WAIT_MS)
    view = memoryview(reservation)
    view[:] = numbers(7, 1)
    reservation.publish(WAIT_MS)
    del reservation
    log.consumer.close()

    assert bytes(view) == numbers(7, 1)


def test_a_reservation_that_was_inherited_by_fork_raises_there_and_works_here(log, broker):
    reservation = log.appender.reserve(8, 1, WAIT_MS)
    memoryview(reservation)[:] = numbers(7, 1)

    def use() -> list[str]:
        found = []
        for act in (reservation.cancel, lambda: reservation.publish(WAIT_MS), lambda: memoryview(reservation)):
            with pytest.raises(errors.ForkedError) as error:
                act()
            found.append(type(error.value).__name__)
        return found

    assert broker.fork(use).result() == 3 * ["ForkedError"]
    reservation.publish(WAIT_MS)
    assert bytes(memoryview(log.read())) == numbers(7, 1)


def test_a_publish_that_fails_leaves_the_reservation_open(broker):
    with contextlib.ExitStack() as stack:
        log = Log(broker, stack, retention="consumed", retention_bytes=2 * SEGMENT_BYTES)
        log.read()  # and so it holds the producers back
        reservation = log.appender.reserve(8000, 1000, 0)
        memoryview(reservation)[:] = numbers(0, 1000)
        with pytest.raises(errors.BufferFullError):
            while True:
                log.appender.append(bytes(4000), 0)
        with pytest.raises(errors.BufferFullError):
            reservation.publish(0)
        with pytest.raises(errors.BufferFullError):
            log.appender.reserve(8000, 1, 0)

        while log.consumer.poll(timeout_ms=0):
            pass
        reservation.publish(WAIT_MS)

        assert bytes(memoryview(log.read())) == numbers(0, 1000)
        log.end()


def test_reserved_bytes_that_change_after_publishing_fail_their_checksum(log):
    reservation = log.appender.reserve(80, 10, WAIT_MS)
    view = memoryview(reservation)
    view[:] = numbers(0, 10)
    reservation.publish(WAIT_MS)

    view[17] ^= 1

    with pytest.raises(errors.CorruptSegmentError, match="CRC32C of the items"):
        log.read()
    assert log.partition.verify()[1] == "CRC32C of the items"
    view[17] ^= 1
    assert log.partition.verify() is None


# -- how long views live -------------------------------------------------------------------------------------------------


def test_a_view_stays_what_it_is_whatever_becomes_of_the_log(log, broker):
    log.appender.append_items(numbers(0, 1000), 1000, WAIT_MS)
    view = memoryview(log.read())
    for _ in range(9):  # the segment is retired, and its memory might be another's by now
        log.fill_segment()
    assert log.partition.offsets()[0] > 0
    assert bytes(view) == numbers(0, 1000)

    log.consumer.close()
    broker.admin.delete_topics(["t"])

    assert bytes(view) == numbers(0, 1000)
    assert broker.fork(lambda view=view: bytes(view)).result() == numbers(0, 1000)
    assert _native.kept()[0] == 1
    del view
    assert _native.kept() == (0, 0)


def test_views_cannot_be_written_through(log):
    log.appender.append_items(numbers(0, 4), 4, WAIT_MS)
    log.consumer._values_in_place = True
    items = log.read()
    log.consumer.seek(log.place, 0)
    [record, *_] = log.consumer.poll(timeout_ms=WAIT_MS)[log.place]

    for view in (memoryview(items), record.value):
        assert view.readonly
        with pytest.raises(TypeError):
            view[0] = 1
    with pytest.raises(TypeError, match="read-write"):
        struct.pack_into("<q", items, 0, 1)


def test_segments_that_views_keep_are_counted_and_capped(log, kept_limit):
    for _ in range(3):
        log.appender.append_items(numbers(0, 10), 10, WAIT_MS)
        log.fill_segment()
    views = []
    for offset in range(3):  # three views of one segment count once
        log.consumer.seek(log.place, offset)
        views.append(log.read(most=1))
    segments, kept_bytes = _native.kept()
    assert segments == 1
    assert SEGMENT_BYTES * 0.9 < kept_bytes <= SEGMENT_BYTES

    _native.set_kept_limit(kept_bytes)
    log.consumer.seek(log.place, log.partition.offsets()[1] - 1)
    beyond = log.read()
    log.consumer.seek(log.place, 4)
    same = log.read()

    assert not beyond.in_place
    assert same.in_place
    assert _native.kept() == (1, kept_bytes)
    del views, same
    gc.collect()
    assert _native.kept() == (0, 0)


def test_a_record_that_comes_again_through_a_window_is_a_view_of_the_segment_it_lies_in(broker):
    broker.create(segment_bytes=SEGMENT_BYTES, retention_bytes=8 * SEGMENT_BYTES)
    values = [b"%d:" % index + bytes(9000) for index in range(20)]  # three segments
    producer = broker.producer()
    for value in values:
        producer.send("t", value)
    consumer = broker.share_consumer("t", auto_offset_reset="earliest", share_acknowledgement_mode="explicit")
    consumer._values_in_place = True
    seen = {}
    while len(seen) < 20:
        for records in consumer.poll(timeout_ms=WAIT_MS).values():
            for record in records:
                again = record.delivery_count > 1
                consumer.acknowledge(record, AcknowledgeType.ACCEPT if again else AcknowledgeType.RELEASE)
                if again:
                    seen[record.offset] = record.value

    assert [seen[offset] for offset in range(20)] == values
    assert {type(value) for value in seen.values()} == {memoryview}
    assert _native.kept()[0] >= 3


def test_a_value_in_place_is_a_view_and_pickles_as_bytes(log, kept_limit):
    for index in range(3):
        log.appender.append(b"value %d" % index, WAIT_MS)
    log.appender.append(b"", WAIT_MS)
    log.appender.append_rows(
        [(b"key", None, None, -1), (b"key", b"v", _native.encode_headers([("h", b"x")]), -1)], WAIT_MS
    )
    log.consumer._values_in_place = True

    records = log.consumer.poll(timeout_ms=WAIT_MS)[log.place]

    values = [b"value 0", b"value 1", b"value 2", b"", None, b"v"]
    assert [each.value for each in records] == values
    assert [type(each.value) for each in records] == [*4 * [memoryview], type(None), memoryview]
    assert [each.serialized_value_size for each in records] == [7, 7, 7, 0, -1, 1]
    assert type(pickle.loads(pickle.dumps(records[0])).value) is bytes
    assert copy.copy(records[0]) == records[0]

    _native.set_kept_limit(0)
    del records
    log.consumer.seek(log.place, 0)
    records = log.consumer.poll(timeout_ms=WAIT_MS)[log.place]
    assert [each.value for each in records] == values
    assert _native.kept() == (0, 0)
