"""From a result code of the C core to an error of this package.

Owns: the table of codes.
Must never: raise; a code that fits no error becomes an `InternalError` that shows it.
Sits: right of the error classes; the C core calls `from_native` through its error hook.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .base import IllegalArgumentError, InternalError, ShmqError, WakeupError
from .caller import (
    ClosedError,
    ConcurrentUseError,
    ForkedError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    RecordListTooLargeError,
    TopicTypeError,
    UnknownTopicOrPartitionError,
)
from .groups import CommitFailedError
from .world import (
    AppendAbortedError,
    BufferFullError,
    CorruptSegmentError,
    QueueFullError,
    StorageError,
    StorageFullError,
    TooManyProcessesError,
    TooManyReadersError,
    UnsupportedVersionError,
)


def _too_large(limit: str = "max_message_bytes", **sizes: Any) -> ShmqError:
    error = RecordListTooLargeError if limit == "segment_bytes" else MessageSizeTooLargeError
    return error(limit=limit, **sizes)


def _deleted(topic: str, partition: int) -> ShmqError:
    return UnknownTopicOrPartitionError(topic, partition, deleted=True)


def _bad_partition(topic: str, partition: object, partitions: int) -> ShmqError:
    return IllegalArgumentError(
        f"topic {topic!r} has no partition {partition!r}: it has {partitions}, numbered 0 to {partitions - 1}"
    )


def _fenced(path: str, partition: int, epoch: int) -> ShmqError:
    return CommitFailedError("", path, partition, f"its epoch is {epoch} by now")


def _not_items(topic: str, partition: int, offset: int, item_bytes: int, record_bytes: int) -> ShmqError:
    found = f"{record_bytes} bytes" if record_bytes else "records that are no items"
    where = f"{found} at offset {offset} of partition {partition}"
    return TopicTypeError(
        topic, f"items of {item_bytes} bytes", where, "poll() reads them as bytes, or seek() past them"
    )


_FROM_NATIVE: dict[str, Callable[..., ShmqError]] = {
    "full": BufferFullError,
    "crowded": QueueFullError,
    "too_large": _too_large,
    "storage_full": StorageFullError,
    "storage": StorageError,
    "corrupt": CorruptSegmentError,
    "out_of_range": OffsetOutOfRangeError,
    "deleted": _deleted,
    "aborted": AppendAbortedError,
    "version": UnsupportedVersionError,
    "slots": TooManyProcessesError,
    "readers": TooManyReadersError,
    "bad_partition": _bad_partition,
    "wakeup": WakeupError,
    "closed": ClosedError,
    "forked": ForkedError,
    "concurrent": ConcurrentUseError,
    "fenced": _fenced,
    "not_items": _not_items,
    "internal": InternalError,
}


def from_native(code: str, info: dict[str, object]) -> ShmqError:
    """Build the error for a result of the C core.

    Args:
        code: One of the codes in the table above.
        info: The error's values by name. Those with a default in the class (`self_wait`, `errno`, `pos`, `limit`,
            `wanted_bytes`, `free_bytes`) may be absent; no other name may be absent or added.

    Returns:
        The error, not raised. A code or value that does not fit gives an `InternalError` that shows both, so that
        the first fault is not hidden by a second.
    """
    try:
        return _FROM_NATIVE[code](**info)
    except (KeyError, TypeError) as mismatch:
        return InternalError(f"the core reported {code!r} with {info!r}, which fits no error ({mismatch})")
