"""Rows as the C core appends them: (key, value, encoded headers, timestamp in ms or -1), or a bare value.

Owns: their sizes, and copying what the caller may change while it waits.
Must never: serialize or append.
Sits: under the producer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from shmq.serde import Buffer, Header

_MOST_MS = 1 << 62


def row_bytes(row: Any) -> int:
    """Return the bytes that count towards size limits: of key, value and encoded headers. A bare value is a row too."""
    if not isinstance(row, tuple):
        return memoryview(row).nbytes
    return sum(memoryview(each).nbytes for each in row[:3] if each is not None)


def payload_bytes(row: Any) -> int:
    """Return the bytes of key and value."""
    return row_bytes(row[:2] if isinstance(row, tuple) else row)


def sizes_in(rows: Sequence[Any], size_of: Callable[[Any], int]) -> list[int]:
    """Return `size_of` each row: `row_bytes` or `payload_bytes`. Rows are all bare `bytes`, or all tuples."""
    return list(map(len if type(rows[0]) is bytes else size_of, rows)) if rows else []


def owned(data: Buffer | None) -> bytes | None:
    """Copy what the caller may change while it lingers."""
    return data if data is None or isinstance(data, bytes) else bytes(data)


def sizes_of(key: Buffer | None, value: Buffer | None, headers: Sequence[Header]) -> tuple[int, int, int]:
    """Return the sizes as RecordMetadata has them: bytes, -1 for what is not there."""
    header_bytes = sum(len(name.encode()) + len(data or b"") for name, data in headers) if headers else -1
    return (
        -1 if key is None else memoryview(key).nbytes,
        -1 if value is None else memoryview(value).nbytes,
        header_bytes,
    )


def checked_timestamp_ms(timestamp_ms: Any) -> int:
    """Return a timestamp as the core takes it. Raises: ValueError: it is no int of 0 or more."""
    if not isinstance(timestamp_ms, bool) and hasattr(timestamp_ms, "__index__"):
        number = int(timestamp_ms.__index__())
        if 0 <= number <= _MOST_MS:
            return number
    raise ValueError(f"timestamp_ms is an int of milliseconds since 1970, not {timestamp_ms!r}")


def now_ms() -> int:
    """Return the wall clock in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
