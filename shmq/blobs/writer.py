"""Putting payloads into files, hot ones if possible.

Owns: which file a payload goes to, and the files that a producer keeps for its next payloads.
Must never: name a file before it is whole, or write without having reserved the space.
Sits: over `file`, beside `reader`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Sequence

from shmq import _native
from shmq.errors import StorageFullError
from shmq.packing import Part, joined, size_of
from shmq.store import files

from .file import FREE, PAYLOAD_POS, WRITING, BlobFile, head_of, tenant_of
from .reference import Reference

BLOB_BYTES = 131072
"""Items from here on always lie in a file of their own."""
HOT_BYTES = 8192
"""Items from here on do, if one of the files that are kept is free: it is hot memory, and the log is not."""

_MOST_KEPT, _MOST_KEPT_BYTES = 32, 128 << 20
_LOOSEST_FIT, _SMALLEST = 4, 65536  # a kept file has at most 4 times the payload's size, or this
_PAUSE = 16  # items in the log before the kept files are asked again, when all of them were taken
_SWEEP_S = 1.0
_LARGEST_WRITE_BYTES = 1 << 30  # the system takes 2 GiB less a page at once


class Writer:
    """Writes the payloads of one producer; see `Blobs` for its methods.

    Attributes:
        made: How many files it has made.
        reused: How many payloads went to a file that was there.
    """

    def __init__(self, directory: str, process: _native.Process, sweep: Callable[[], object]) -> None:
        self.made = self.reused = 0
        self._directory, self._process, self._sweep = directory, process, sweep
        self._producer = secrets.randbits(64)
        self._kept: dict[int, BlobFile] = {}  # by number of the file, first made first
        self._pause = 0
        self._swept_at = time.monotonic()

    def place(self, parts: Sequence[Part]) -> bytes:
        """Return what is to be appended to the log for an item."""
        size = size_of(parts)
        if size >= BLOB_BYTES:
            return self.write(parts)
        if size < HOT_BYTES:
            return joined(parts)
        if self._pause:
            self._pause -= 1
            return joined(parts)
        if reference := self._write_again(parts, size) or self._write_spare(parts, size):
            return reference
        self._pause = _PAUSE
        return joined(parts)

    def write(self, parts: Sequence[Part]) -> bytes:
        """Put a payload into a file; return a reference."""
        size = size_of(parts)
        return self._write_again(parts, size) or self._write_new(parts, size)

    def close(self) -> None:
        """Write nothing any more."""
        for number in list(self._kept):
            if blob := self._kept.pop(number, None):
                blob.give_up()

    def forget(self) -> None:
        """Unmap everything; what is free stays."""
        self._kept.clear()

    # ---- Into a file that is there ----

    def _write_again(self, parts: Sequence[Part], size: int) -> bytes | None:
        """Put a payload into a file that we keep, if one is free."""
        while claimed := self._claim(size):
            number, blob, seq = claimed
            try:
                _fill(blob, parts)
                _native.fault_point("blobs.filled")
                published = blob.publish(seq)
            except BaseException:
                self._give_up(number, WRITING)
                raise
            if published:
                self.reused += 1
                return Reference(False, self._producer, number, seq, size).pack()
            self._kept.pop(number, None)  # another process took this one for dead
        return None

    def _claim(self, size: int) -> tuple[int, BlobFile, int] | None:
        """Take one of our files that is free and fits; those made first first, so that the same few stay hot."""
        most = max(_SMALLEST, _LOOSEST_FIT * size)
        for number, blob in list(self._kept.items()):
            if size <= blob.capacity <= most and (seq := blob.claim()):
                return number, blob, seq
        return None

    # ---- Into a new one ----

    def _write_spare(self, parts: Sequence[Part], size: int) -> bytes | None:
        """Put a payload into a file that is made to be kept, if there is room for one more."""
        capacity = _capacity(size)
        try:
            return self._make(parts, size, capacity) if self._has_room(capacity) else None
        except StorageFullError:
            return None

    def _write_new(self, parts: Sequence[Part], size: int) -> bytes:
        """Put a payload into a new file, which is kept if room can be made for it."""
        if time.monotonic() - self._swept_at > _SWEEP_S:
            self._swept_at = time.monotonic()
            self._sweep()
        capacity = _capacity(size) if self._make_room(_capacity(size)) else None
        try:
            return self._make(parts, size, capacity)
        except StorageFullError:
            if not sum(self._give_up(each, FREE) for each in list(self._kept)):
                raise
            return self._make(parts, size, capacity)

    def _has_room(self, capacity: int) -> bool:
        kept = [each.capacity for each in list(self._kept.values())]
        return len(kept) < _MOST_KEPT and sum(kept) + capacity <= _MOST_KEPT_BYTES

    def _make_room(self, capacity: int) -> bool:
        """May one more file of this size be kept? If need be, take away free ones: they did not fit."""
        for number, blob in list(self._kept.items()):
            if blob.retire_abandoned(self._process):
                self._kept.pop(number, None)
        for number in list(self._kept):
            if self._has_room(capacity) or capacity > _MOST_KEPT_BYTES:
                break
            self._give_up(number, FREE)
        return self._has_room(capacity)

    def _give_up(self, number: int, state: int) -> bool:
        """Take away a file of ours that is in this state."""
        blob = self._kept.get(number)
        if blob is None or not blob.retire(state):
            return False
        self._kept.pop(number, None)
        return True

    def _make(self, parts: Sequence[Part], size: int, capacity: int | None) -> bytes:
        """Put a payload into a new file, whole before it has a name: one for so many bytes to keep, or one for once."""
        reference = Reference(capacity is None, self._producer, secrets.randbits(63), 1, size)
        path = reference.path_in(self._directory)
        head = b"" if capacity is None else head_of(tenant_of(self._process)).ljust(PAYLOAD_POS, b"\0")
        space = len(head) + (capacity or size)
        with files.storage_errors(path, "cannot be made", space):
            descriptor = os.open(self._directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                if space:
                    os.posix_fallocate(descriptor, 0, space)
                _write_all(descriptor, [head, *parts])
                blob = None if capacity is None else BlobFile(path, descriptor)
                _native.fault_point("blobs.named.before")
                # Given a directory's descriptor, though unused for absolute paths, os.link follows the link in /proc.
                os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
                _native.fault_point("blobs.named.after")
            finally:
                os.close(descriptor)
        self.made += 1
        if blob:
            self._kept[reference.file] = blob
        return reference.pack()


def _capacity(size: int) -> int:
    """Round a size up, in four steps for each power of two, so that a file serves payloads a little larger too."""
    step = 1 << max(12, size.bit_length() - 3)
    return max(_SMALLEST, -(-size // step) * step)


def _fill(blob: BlobFile, parts: Sequence[Part]) -> None:
    pos = PAYLOAD_POS
    for part in parts:
        _native.copy_in(blob.memory, pos, part)
        pos += len(part)


def _write_all(descriptor: int, parts: Sequence[Part]) -> None:
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(descriptor, rest[:_LARGEST_WRITE_BYTES]) :]
