"""One file with the payload of a large item, which its producer uses again: the format, and the steps of its life.

Owns: the words in its first page and who may move them.
Must never: write a payload, or decide when a blob is of use no more.
Sits: under `writer` and `reader`, which do both.

BLOB, one file `<producer's number, 16 hex digits>-<file's number, hex>.blob` in a queue's directory, little-endian:

  pos  size  field     meaning
    0     8  magic     "SHMQBLB1"
    8     8  producer  its process, epoch << 10 | slot; never changes
   16     8  state     seq << 2 | FREE 0, WRITING 1, PUBLISHED 2, GONE 3
   24     8  reader    0, or who reads this seq, if nobody else will get the item: epoch << 10 | slot
   32     8  last      1: it is not written any more, and whoever releases it takes it away
 4096        payload

FREE(n) -> WRITING(n + 1) -> PUBLISHED(n + 1) -> FREE(n + 1), each by compare-and-swap, and to GONE: from PUBLISHED(n)
to GONE(n), which keeps the payload, from another (n) to GONE(n + 1), whose memory is given back.

B1  The payload changes only between FREE(n) -> WRITING(n + 1) and WRITING(n + 1) -> PUBLISHED(n + 1), and only by the
    process that moved both. Whoever saw PUBLISHED(n), copied, and saw PUBLISHED(n) or GONE(n), has payload n, whole.
B2  GONE is final, and only a GONE file is unlinked, by whoever moved it there or finds it so. Who reads payload n and
    finds GONE(n) reads on: the file is never written again.
B3  Somebody taken for dead by mistake loses nothing but time: its swap from WRITING fails, and it writes again
    elsewhere; or it reads on in an unlinked file, by B2.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator

from shmq import _native
from shmq.errors import CorruptRecordError, PayloadGoneError
from shmq.store import files

PAYLOAD_POS = mmap.PAGESIZE
FREE, WRITING, PUBLISHED, GONE = range(4)

_MAGIC = b"SHMQBLB1"
_HEAD = struct.Struct("<8s4Q")
_STATE_POS, _READER_POS, _LAST_POS = 16, 24, 32
_SLOT_BITS = 10


def tenant_of(process: _native.Process) -> int:
    """Return how this process is written in a blob."""
    return process.epoch << _SLOT_BITS | process.slot


def lives(process: _native.Process, tenant: int) -> bool:
    """Return whether the process that a blob names may still do something."""
    return process.lives(tenant & ((1 << _SLOT_BITS) - 1), tenant >> _SLOT_BITS)


def head_of(producer: int) -> bytes:
    """Return the words of a blob whose first payload is there."""
    return _HEAD.pack(_MAGIC, producer, 1 << 2 | PUBLISHED, 0, 0)


@contextlib.contextmanager
def opened(path: str, access: int, what: str) -> Iterator[int]:
    """Open a payload's file; `what` could not be done if that fails. Raises: PayloadGoneError, StorageError."""
    with files.storage_errors(path, what):
        try:
            descriptor = os.open(path, access | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise PayloadGoneError(path) from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class BlobFile:
    """A blob that is mapped; any thread may use it at any time.

    Attributes:
        path: Of the file.
        capacity: Longest payload, in bytes.
        producer: The process whose it is.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        """Map an open file. Raises: CorruptRecordError: it is no blob. OSError."""
        size = os.fstat(descriptor).st_size
        if size < PAYLOAD_POS:
            raise CorruptRecordError(path, f"{size} bytes, where a blob has at least {PAYLOAD_POS}")
        self.path = path
        self.capacity = size - PAYLOAD_POS
        self.memory = mmap.mmap(descriptor, size)
        magic, self.producer, *_ = _HEAD.unpack(_native.copy_out(self.memory, 0, _HEAD.size))
        if magic != _MAGIC:
            raise CorruptRecordError(path, f"it begins with {magic!r}, which no blob does")

    @classmethod
    def open(cls, path: str) -> BlobFile:
        """Open and map a blob. Raises: PayloadGoneError: no such file. StorageError. CorruptRecordError."""
        with opened(path, os.O_RDWR, "cannot be mapped") as descriptor:
            return cls(path, descriptor)

    def look(self) -> tuple[int, int]:
        """Return state and seq."""
        word = _native.cell_load(self.memory, _STATE_POS)
        return word & 3, word >> 2

    def is_gone(self) -> bool:
        """Has the file no name any more?"""
        return self.look()[0] == GONE

    def claim(self) -> int:
        """Take it, FREE, to write it; the seq of what is to be written, or 0: it is not FREE."""
        state, seq = self.look()
        return seq + 1 if state == FREE and self._swap(FREE, seq, WRITING, seq + 1) else 0

    def publish(self, seq: int) -> bool:
        """Let the payload be read. False: this process was taken for dead, and the blob is gone."""
        _native.cell_store(self.memory, _READER_POS, 0)
        return self._swap(WRITING, seq, PUBLISHED, seq)

    def attend(self, reader: int) -> None:
        """Say who has taken the item and alone will have it; should it die, the blob is of use no more."""
        _native.cell_store(self.memory, _READER_POS, reader)

    def reader(self) -> int:
        """Return who attends it, or 0."""
        return _native.cell_load(self.memory, _READER_POS)

    def holds(self, seq: int) -> bool:
        """Is this payload, or was it until the file was given up, the one here? Asked after a copy: B1."""
        # A swap, since a load would not have to wait for the copy before it.
        return self._swap(PUBLISHED, seq, PUBLISHED, seq) or self.look() == (GONE, seq)

    def release(self, seq: int) -> bool:
        """Be done with a payload. False: somebody was before us."""
        if not self._swap(PUBLISHED, seq, FREE, seq):
            return False
        if self.is_last():  # after the swap: see give_up
            self.retire(FREE)
        return True

    def is_last(self) -> bool:
        """Will it not be written any more?"""
        return _native.cell_load(self.memory, _LAST_POS) != 0

    def give_up(self) -> bool:
        """Never write it again: away with it now if it is FREE, else when it is released. Was it now?"""
        # This swap, then our look at the state; in release(), the swap of the state, then a look at this word: one of
        # the two sees the other.
        _native.cell_cas(self.memory, _LAST_POS, 0, 1)
        return self.retire(FREE)

    def retire(self, *states: int) -> bool:
        """Make it GONE and unlink it, if it is in one of these states (or GONE, by somebody who died over that)."""
        state, seq = self.look()
        if state != GONE:
            if state not in states or not self._swap(state, seq, GONE, seq + 1):
                return False
            _native.fault_point("blobs.retired")
            # Others may have it mapped, and shall not hold the memory. Where it cannot be given back, so be it.
            with contextlib.suppress(OSError):
                self.memory.madvise(mmap.MADV_REMOVE, PAYLOAD_POS, self.capacity)
        unlink(self.path)
        return True

    def retire_abandoned(self, process: _native.Process) -> bool:
        """Make it GONE and unlink it, if whoever alone would have read it is dead."""
        state, seq = self.look()
        reader = self.reader() if state == PUBLISHED else 0  # of this seq, if the swap finds seq unchanged
        if reader == 0 or lives(process, reader) or not self._swap(PUBLISHED, seq, GONE, seq):
            return False
        _native.fault_point("blobs.abandoned")
        unlink(self.path)
        return True

    def _swap(self, old_state: int, old_seq: int, state: int, seq: int) -> bool:
        return _native.cell_cas(self.memory, _STATE_POS, old_seq << 2 | old_state, seq << 2 | state)


def unlink(path: str) -> bool:
    """Remove a file; False: there is none. Raises: StorageError."""
    with files.storage_errors(path, "cannot be removed"), contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        return True
    return False
