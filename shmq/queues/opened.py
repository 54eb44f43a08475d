"""A queue as one process has it open: the handles that its threads share, and where large items go.

Owns: those handles, and counting the bytes of large items.
Must never: cross a fork; a child opens the queue anew.
Sits: in queues, over `layout`, `places` and blobs; under `takers`.
"""

from __future__ import annotations

import contextlib
import functools
import os

from shmq import _native, packing
from shmq.blobs import HOT_BYTES, REFERENCE_KIND, Blobs
from shmq.errors import (
    PayloadGoneError,
    QueueMemoryError,
    StorageError,
    StorageFullError,
    UnknownTopicOrPartitionError,
)
from shmq.types import TopicPartition

from .layout import RECORDS, Layout, Shape, check_shape, lay_out
from .places import Place, connect
from .words import LARGE_BYTES, Words


class Opened:
    """A queue's handles that all threads of a process may use.

    Raises:
        InvalidConfigurationError: it was made with another shape.
        UnknownTopicOrPartitionError: it has no name and is gone, which only happens if somebody removed its files.
        And what `lay_out` raises.
    """

    def __init__(self, place: Place, shape: Shape) -> None:
        self.shared = connect(place.directory)
        self.layout: Layout = lay_out(self.shared.connection, place.topic, shape)
        self.place = TopicPartition(place.topic, 0)
        self.window = self.layout.window()
        check_shape(place.topic, self.window, shape)
        self.redelivers = self.window.kind == RECORDS
        self.words = Words(self.layout.words_path)
        self.appender = _native.Appender(self.partition())
        self.appender.bound(self.window)

    @property
    def process(self) -> _native.Process:
        """This process's slot in the broker."""
        return self.shared.connection.process

    def partition(self) -> _native.Partition:
        """Map the control file anew: each reader has its own."""
        try:
            return self.shared.connection.partition(self.layout.meta, 0)
        except StorageError:
            self._check_there()
            raise

    def another_window(self) -> _native.Window:
        """Map the window anew: each reader has its own, too."""
        try:
            return self.layout.window()
        except FileNotFoundError:
            self._check_there()
            raise

    def _check_there(self) -> None:
        """Raises: UnknownTopicOrPartitionError: the queue was deleted since it was opened."""
        if not os.path.exists(self.layout.window_path) or not os.path.exists(self.layout.words_path):
            raise UnknownTopicOrPartitionError(*self.place, deleted=True) from None

    @functools.cached_property
    def blobs(self) -> Blobs:
        """Where large items lie; opened by the first of them."""
        return Blobs(self.layout.blobs_directory, self.process)

    def store(self, parts: list[packing.Part]) -> packing.Part:
        """Return what the log shall hold of an item: itself, or a reference to where it lies now.

        Raises:
            QueueMemoryError: there is no room for it.
        """
        size = packing.size_of(parts)
        if size < HOT_BYTES:
            return packing.joined(parts)
        limit = self.layout.meta.config.retention_bytes
        used = self.words.add(LARGE_BYTES, size)
        data: packing.Part = b"\0"
        try:
            if used > limit:
                raise QueueMemoryError(self.place.topic, size, max(0, limit - used + size), f"max_bytes={limit}")
            data = self.blobs.place(parts)
            return data
        except StorageFullError as full:
            raise QueueMemoryError(self.place.topic, full.wanted_bytes, full.free_bytes, "/dev/shm") from None
        finally:
            if data[0] != REFERENCE_KIND:
                self.words.add(LARGE_BYTES, -size)

    def load(self, data: packing.Part) -> tuple[packing.Part, int]:
        """Return an item's packed form, and how many bytes of it `release` has to let go of.

        Raises:
            PayloadGoneError: a process was done with it, and died before it could say so.
        """
        if data[0] != REFERENCE_KIND:
            return data, 0
        payload = self.blobs.read(data, keep=self.redelivers)
        if self.redelivers:
            return payload, len(payload)
        self.words.add(LARGE_BYTES, -len(payload))
        return payload, 0

    def release(self, data: packing.Part, size: int) -> None:
        """Be done with a large item, before the window is told: so a death in between loses no memory."""
        if self.blobs.release(data):
            self.words.add(LARGE_BYTES, -size)

    def discard(self, data: packing.Part) -> None:
        """Be done with an item that nobody reads, or that was stored and not put."""
        if data[0] == REFERENCE_KIND:
            with contextlib.suppress(PayloadGoneError):
                self.release(data, len(self.blobs.read(data, keep=True)))

    def close(self) -> None:
        """Let go of what a collector would not: files that are kept for large items to come."""
        if "blobs" in self.__dict__:
            self.blobs.close()

    def reader(self) -> _native.Reader:
        """A reader of every record that is there, in nobody's way."""
        return _native.Reader(self.partition(), self.place, False)
