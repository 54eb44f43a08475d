from __future__ import annotations

import inspect
import pickle

import pytest

from shmq import errors
from shmq.errors import ShmqError, from_native

FULL = errors.BufferFullError("orders", 3, wanted_bytes=4096, free_bytes=1024, waited_ms=60000)
EVERY_KIND = [
    FULL,
    errors.BufferFullError("orders", 3, 4096, 1024, 0, self_wait=True),
    errors.KafkaTimeoutError("flush: 3 records still wait after 100 ms"),
    errors.KafkaConfigurationError("linger_ms", "-1", "is out of range"),
    errors.InvalidTopicError("a/b", "it has '/'"),
    errors.UnknownTopicOrPartitionError("orders", hint="; did you mean 'order'?"),
    errors.UnknownTopicOrPartitionError("orders", 7, 4),
    errors.UnknownTopicOrPartitionError("orders", 1, deleted=True),
    errors.MessageSizeTooLargeError("orders", 0, 2_000_000, 1_048_588),
    errors.TopicTypeError("features", "items of float32 (256,)", "an array of int64 (10, 256)", "convert it"),
    errors.StorageError("/tmp/x", "cannot be read", 13),
    errors.StorageFullError("/dev/shm/x", wanted_bytes=16 << 20, free_bytes=4096),
    errors.CorruptSegmentError("/tmp/x.segment", "the journal's words do not rise", 4096),
    errors.OffsetOutOfRangeError("orders", 3, 17, 100, 250),
    errors.ForkedError("this Consumer", 10, 11),
    errors.ConcurrentUseError("this Consumer", 1, 2),
    errors.WakeupError(),
    errors.InternalError("no such state: 9"),
]


@pytest.mark.parametrize("error", EVERY_KIND, ids=lambda error: type(error).__name__)
def test_an_error_that_crossed_a_process_boundary_equals_itself(error: ShmqError) -> None:
    crossed = pickle.loads(pickle.dumps(error))

    assert crossed == error
    assert hash(crossed) == hash(error)
    assert str(crossed) == str(error)
    assert vars(crossed) == vars(error)


@pytest.mark.parametrize("error", EVERY_KIND, ids=lambda error: type(error).__name__)
def test_a_message_shows_every_value_it_carries(error: ShmqError) -> None:
    numbers = [each for each in error.args if isinstance(each, int) and not isinstance(each, bool) and each > 99]

    assert all(str(number) in str(error) for number in numbers if number != 60000 or "after" in str(error))
    assert len(str(error)) > 10


def test_a_full_partition_says_what_where_and_what_to_do() -> None:
    assert str(FULL) == (
        "orders-3 is full: 4096 bytes wanted, 1024 free after 60000 ms; "
        "consume, raise retention_bytes, or set max_block_ms"
    )


def test_errors_of_one_class_differ_by_their_values() -> None:
    assert errors.ClosedError("this Producer") != errors.ClosedError("this Consumer")
    assert errors.StorageError("/x", "cannot be read") != errors.CorruptRecordError("/x", "cannot be read")


def test_kafka_error_is_the_base_of_everything_public() -> None:
    classes = [each for each in vars(errors).values() if inspect.isclass(each)]

    assert errors.KafkaError is errors.ShmqError
    assert len(classes) > 25
    assert all(issubclass(each, errors.KafkaError) for each in classes)


@pytest.mark.parametrize(
    ("error", "retriable"),
    [
        (errors.BufferFullError, True),
        (errors.StorageFullError, True),
        (errors.AppendAbortedError, True),
        (errors.UnknownTopicOrPartitionError, True),
        (errors.TooManyProcessesError, True),
        (errors.StorageError, False),
        (errors.CorruptSegmentError, False),
        (errors.MessageSizeTooLargeError, False),
        (errors.ClosedError, False),
    ],
)
def test_retriable_means_that_nothing_need_be_corrected(error: type[ShmqError], retriable: bool) -> None:
    assert error.retriable is retriable
    assert issubclass(error, errors.RetriableError) is retriable


@pytest.mark.parametrize(
    ("code", "info", "expected"),
    [
        ("full", {"topic": "t", "partition": 0, "wanted_bytes": 2, "free_bytes": 1, "waited_ms": 5, "self_wait": True},
         errors.BufferFullError("t", 0, 2, 1, 5, True)),
        ("too_large", {"topic": "t", "partition": 0, "record_bytes": 9, "limit_bytes": 8, "limit": "max_request_size"},
         errors.MessageSizeTooLargeError("t", 0, 9, 8, "max_request_size")),
        ("too_large", {"topic": "t", "partition": 0, "record_bytes": 9, "limit_bytes": 8, "limit": "segment_bytes"},
         errors.RecordListTooLargeError("t", 0, 9, 8, "segment_bytes")),
        ("storage_full", {"path": "/x", "wanted_bytes": 2, "free_bytes": 1}, errors.StorageFullError("/x", 2, 1)),
        ("storage", {"path": "/x", "what": "mmap", "errno": 12}, errors.StorageError("/x", "mmap", 12)),
        ("corrupt", {"path": "/x", "what": "bad magic", "pos": 0}, errors.CorruptSegmentError("/x", "bad magic", 0)),
        ("out_of_range", {"topic": "t", "partition": 1, "offset": 5, "begin": 7, "end": 9},
         errors.OffsetOutOfRangeError("t", 1, 5, 7, 9)),
        ("deleted", {"topic": "t", "partition": 1}, errors.UnknownTopicOrPartitionError("t", 1, deleted=True)),
        ("aborted", {"topic": "t", "partition": 1, "attempts": 3}, errors.AppendAbortedError("t", 1, 3)),
        ("version", {"path": "/x", "found": 2, "supported": 1}, errors.UnsupportedVersionError("/x", 2, 1)),
        ("slots", {"path": "/x", "slots": 1024}, errors.TooManyProcessesError("/x", 1024)),
        ("readers", {"topic": "t", "partition": 1, "readers": 256}, errors.TooManyReadersError("t", 1, 256)),
        ("closed", {"what": "this Consumer"}, errors.ClosedError("this Consumer")),
        ("forked", {"what": "this Consumer", "pid_made": 1, "pid_now": 2}, errors.ForkedError("this Consumer", 1, 2)),
        ("concurrent", {"what": "it", "thread_made": 1, "thread_now": 1}, errors.ConcurrentUseError("it", 1, 1)),
        ("not_items", {"topic": "t", "partition": 1, "offset": 7, "item_bytes": 16, "record_bytes": 3},
         errors.TopicTypeError("t", "items of 16 bytes", "3 bytes at offset 7 of partition 1",
                               "poll() reads them as bytes, or seek() past them")),
        ("internal", {"what": "no such state"}, errors.InternalError("no such state")),
    ],
)  # fmt: skip
def test_a_code_of_the_core_becomes_its_error(code: str, info: dict[str, object], expected: ShmqError) -> None:
    error = from_native(code, info)

    assert error == expected
    assert str(error)


@pytest.mark.parametrize(
    ("code", "info"),
    [("fulll", {}), ("closed", {}), ("closed", {"what": "it", "colour": 3}), ("too_large", {"limit": "segment_bytes"})],
)
def test_a_report_of_the_core_that_fits_no_error_is_shown_whole(code: str, info: dict[str, object]) -> None:
    error = from_native(code, info)

    assert type(error) is errors.InternalError
    assert repr(code) in str(error)
    assert repr(info) in str(error)


def test_use_from_a_signal_handler_is_told_from_use_by_two_threads() -> None:
    own_handler = errors.ConcurrentUseError("this Consumer", thread_made=7, thread_now=7)
    other_thread = errors.ConcurrentUseError("this Consumer", thread_made=7, thread_now=8)

    assert "signal handler" in str(own_handler)
    assert "thread 8" in str(other_thread)
