"""Putting items: packing them, and what is done while there is no room.

Owns: waiting for room, and that what was not put leaves nothing behind.
Must never: wait for memory in a queue without `maxsize`.
Sits: in queues, over `handle` and packing; under `base`.
"""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Iterable, Iterator
from typing import Any

from shmq import _native, packing
from shmq.blobs import BLOB_BYTES, HOT_BYTES
from shmq.errors import (
    BufferFullError,
    QueueFullError,
    QueueMemoryError,
    StorageFullError,
    UnknownTopicOrPartitionError,
)

from .handle import SLICE_MS, Handle, ShutDown, until
from .opened import Opened
from .words import LARGE_BYTES, SHUTDOWN

_FULL = (BufferFullError, QueueFullError, StorageFullError)
_BATCH_BYTES = 1 << 18
_BATCH_ITEMS = 4096


class Putting(Handle):
    """The part of a queue that puts."""

    def _put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item: what the core does not do, since it is no plain one, or there is no room, or much else."""
        if self._closed or "writer" in self._closed_ends:
            raise self._closed_error()
        opened = self._opened or self._open()
        parts = packing.dumps(obj)
        data = parts[0] if len(parts) == 1 and len(parts[0]) < HOT_BYTES else self._stored(opened, parts)
        try:
            if _native.cell_load(opened.words.buffer, SHUTDOWN):
                raise ShutDown
            opened.appender.append(data, 0)
        except _FULL as full:
            self._put_later(opened, [data], full, until(block, timeout))
        except BaseException:
            opened.discard(data)
            raise

    def _put_many(self, objs: Iterable[Any], block: bool, timeout: float | None) -> None:
        opened = self._open()
        dumps = packing.dumps
        packed = [dumps(obj) for obj in objs]
        ends_at = until(block, timeout)
        done = 0
        try:
            for batch in _batches(packed, opened.window.max_items):
                rows = [
                    parts[0] if len(parts) == 1 and len(parts[0]) < HOT_BYTES else self._stored(opened, parts)
                    for parts in batch
                ]
                self._put_batch(opened, rows, ends_at)
                done += len(batch)
        except BaseException as error:
            error.add_note(f"{done} of {len(packed)} items were put")
            raise

    def _put_packed(self, packed: packing.Part) -> None:
        """Put an item that was packed for another queue."""
        opened = self._open()
        data = self._stored(opened, [packed])
        try:
            opened.appender.append(data, 0)
        except BaseException:
            opened.discard(data)
            raise

    def _put_batch(self, opened: Opened, rows: list[Any], ends_at: float) -> None:
        try:
            if opened.words.get(SHUTDOWN):
                raise ShutDown
            opened.appender.append_rows(rows, 0)
        except _FULL as full:
            self._put_later(opened, rows, full, ends_at)
        except BaseException:
            self._discard(opened, rows)
            raise

    def _put_later(self, opened: Opened, rows: list[Any], full: Any, ends_at: float) -> None:
        """Put what there was no room for, once there is."""
        try:
            while full is not None:
                full = self._put_again(opened, rows, full, ends_at)
        except BaseException:
            self._discard(opened, rows)
            raise

    def _put_again(self, opened: Opened, rows: list[Any], full: Any, ends_at: float) -> Any:
        """Wait a little for room; return None when the items were put, else why not."""
        if isinstance(full, StorageFullError):
            raise QueueMemoryError(self._place.topic, full.wanted_bytes, full.free_bytes, "/dev/shm") from None
        if not opened.window.max_items:
            raise self._no_room(opened, full) from None
        left_ms = (ends_at - time.monotonic()) * 1000
        if left_ms <= 0:
            raise queue.Full from None
        if self._closed:
            raise self._closed_error()
        if opened.words.get(SHUTDOWN):
            raise ShutDown
        try:
            opened.appender.append_rows(rows, math.ceil(min(left_ms, SLICE_MS)))
        except _FULL as error:
            return error
        except UnknownTopicOrPartitionError:
            if self._closed:
                raise self._closed_error() from None
            raise
        return None

    def _stored(self, opened: Opened, parts: list[packing.Part]) -> packing.Part:
        try:
            return opened.store(parts)
        except QueueMemoryError:
            if self._counts()["ready"] + self._counts()["in_flight"]:
                raise
            opened.words.clear(LARGE_BYTES)  # what is counted there belongs to items that died with their processes
            return opened.store(parts)

    def _discard(self, opened: Opened, rows: list[Any]) -> None:
        for row in rows:
            opened.discard(row)

    def _no_room(self, opened: Opened, full: Any) -> QueueMemoryError:
        limit = opened.layout.meta.config.retention_bytes
        return QueueMemoryError(self._place.topic, full.wanted_bytes, full.free_bytes, f"max_bytes={limit}")


def _batches(items: list[list[packing.Part]], max_items: int) -> Iterator[list[list[packing.Part]]]:
    """Cut packed items into batches that are appended whole; a large one is but a reference there."""
    most = min(_BATCH_ITEMS, max_items or _BATCH_ITEMS)
    begin, free_bytes = 0, _BATCH_BYTES
    for index, parts in enumerate(items):
        size = len(parts[0]) if len(parts) == 1 else packing.size_of(parts)
        free_bytes -= size if size < BLOB_BYTES else 0
        if free_bytes < 0 or index - begin == most:
            yield items[begin:index]
            begin, free_bytes = index, _BATCH_BYTES - size
    if items:
        yield items[begin:]
