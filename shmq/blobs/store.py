"""The large payloads of one queue, as one process has them.

Owns: whose object this is (not a forked child's), closing it, and taking away what the dead left.
Must never: be needed for what it sweeps: others do so too.
Sits: over `writer` and `reader`; queues use it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from shmq import _native
from shmq.errors import ClosedError, CorruptRecordError, ForkedError, PayloadGoneError, ShmqError
from shmq.packing import Part
from shmq.store import files

from .file import FREE, WRITING, BlobFile, lives
from .reader import Reader
from .reference import BLOB_SUFFIX, Reference
from .writer import Writer

_WHAT = "the queue's store of large items"
_forks = 0  # how often this process descends from a fork, since one of its ancestors loaded this


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


class Blobs:
    """Writes and reads payloads in one directory. Any number of threads may use it at once."""

    def __init__(self, directory: str, process: _native.Process) -> None:
        """Take away what the dead have left in `directory`, which exists. Raises: StorageError."""
        self._directory, self._process = directory, process
        self._forks, self._pid = _forks, os.getpid()
        self._closed = False
        self._writer = Writer(directory, process, self.sweep)
        self._reader = Reader(directory, process)
        self.sweep()

    @property
    def made(self) -> int:
        """How many files it has made."""
        return self._writer.made

    @property
    def reused(self) -> int:
        """How many payloads it has put into a file that was there."""
        return self._writer.reused

    def place(self, parts: Sequence[Part]) -> bytes:
        """Return what is to be appended to the log for an item: the item itself, or a reference to it.

        Args:
            parts: From `packing.dumps`.

        Raises:
            As `write`.
        """
        self._check()
        return self._writer.place(parts)

    def write(self, parts: Sequence[Part]) -> bytes:
        """Put a payload into a file.

        Args:
            parts: Its bytes, of any number and length.

        Returns:
            A reference of 40 bytes that begins with REFERENCE_KIND. The payload stays until it is released: if the
            reference comes to nobody, `release` it.

        Raises:
            StorageFullError: /dev/shm has no room; nothing is left of it.
            ClosedError, ForkedError.
        """
        self._check()
        return self._writer.write(parts)

    def read(self, reference: Part, keep: bool = False) -> bytearray:
        """Return a payload, copied out of shared memory.

        Args:
            reference: What `write` returned.
            keep: Whether the payload stays, for others who get the same item, until somebody calls `release`.

        Raises:
            PayloadGoneError: somebody else is done with the item; there is nothing to be done for it any more.
            StorageError: the file cannot be read. CorruptRecordError: it, or the reference, is damaged.
            ClosedError, ForkedError.
        """
        self._check()
        return self._reader.read(Reference.unpack(reference, self._directory), keep)

    def payload_bytes(self, reference: Part) -> int:
        """Return how long a payload is, or was. Raises: CorruptRecordError: these bytes are no reference."""
        return Reference.unpack(reference, self._directory).size

    def release(self, reference: Part) -> bool:
        """Be done with a payload that nobody has released; return False if somebody has. Raises as `read`."""
        self._check()
        return self._reader.release(Reference.unpack(reference, self._directory))

    def sweep(self) -> int:
        """Take away what dead processes left and nobody will read; how many files. Raises: StorageError."""
        with files.storage_errors(self._directory, "cannot be listed"):
            names = [each for each in os.listdir(self._directory) if each.endswith(BLOB_SUFFIX)]
        return sum(map(self._sweep, names))

    def close(self) -> None:
        """Write nothing any more: what is not read yet stays, and goes as it is read. A second time does nothing."""
        if not self._closed and self._forks == _forks:
            self._closed = True
            self._writer.close()
            with contextlib.suppress(ShmqError):  # the queue is gone, or the process closed: others will sweep
                self.sweep()
        self._closed = True
        self._writer.forget()
        self._reader.forget()

    def _check(self) -> None:
        if self._forks != _forks:
            raise ForkedError(_WHAT, self._pid, os.getpid())
        if self._closed:
            raise ClosedError(_WHAT)

    def _sweep(self, name: str) -> bool:
        """Take a file away that nobody will write or read, or let its last reader do so."""
        try:
            blob = BlobFile.open(os.path.join(self._directory, name))
        except (PayloadGoneError, CorruptRecordError):
            return False  # gone, or none of ours
        if blob.retire_abandoned(self._process):
            return True
        if lives(self._process, blob.producer):
            return blob.retire(*((FREE,) if blob.is_last() else ()))
        return blob.retire(WRITING) or blob.give_up()
