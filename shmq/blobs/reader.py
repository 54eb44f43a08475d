"""Copying payloads out, and being done with them.

Owns: the blobs that this process keeps mapped for reading: at most 128 MiB, those used last.
Must never: return bytes without having asked, after the copy, whether they were those of the reference.
Sits: over `file`, beside `writer`.
"""

from __future__ import annotations

import contextlib
import os

from shmq import _native
from shmq.errors import CorruptRecordError, PayloadGoneError

from .file import PAYLOAD_POS, BlobFile, opened, tenant_of, unlink
from .reference import Reference

_MOST_MAPPED_BYTES = 128 << 20
_LARGEST_READ_BYTES = 1 << 30  # the system gives 2 GiB less a page at once


class Reader:
    """Reads the payloads of one directory; see `Blobs` for its methods."""

    def __init__(self, directory: str, process: _native.Process) -> None:
        self._directory, self._process = directory, process
        self._mapped: dict[str, BlobFile] = {}  # by path, longest unused first

    def read(self, wanted: Reference, keep: bool) -> bytearray:
        """Return a payload."""
        if wanted.once:
            return _read_once(wanted.path_in(self._directory), wanted.size, keep)
        blob = self._opened(wanted)
        if wanted.size > blob.capacity:
            raise CorruptRecordError(blob.path, f"{wanted.size} bytes wanted of {blob.capacity}")
        if not blob.holds(wanted.seq):
            raise PayloadGoneError(blob.path)
        if not keep:
            blob.attend(tenant_of(self._process))
        try:
            data = _native.copy_out(blob.memory, PAYLOAD_POS, wanted.size)
            _native.fault_point("blobs.copied")
            if not blob.holds(wanted.seq):
                raise PayloadGoneError(blob.path)
            return data
        finally:
            if not keep:
                blob.release(wanted.seq)

    def release(self, wanted: Reference) -> bool:
        """Be done with a payload."""
        if wanted.once:
            return unlink(wanted.path_in(self._directory))
        with contextlib.suppress(PayloadGoneError):
            return self._opened(wanted).release(wanted.seq)
        return False

    def forget(self) -> None:
        """Unmap everything that nobody is reading."""
        self._mapped.clear()

    def _opened(self, wanted: Reference) -> BlobFile:
        path = wanted.path_in(self._directory)
        blob = self._mapped.pop(path, None)
        if blob is None:
            blob = BlobFile.open(path)
            for gone in [each for each, mapped in list(self._mapped.items()) if mapped.is_gone()]:
                self._mapped.pop(gone, None)
        self._mapped[path] = blob
        while sum(each.capacity for each in list(self._mapped.values())) > _MOST_MAPPED_BYTES:
            with contextlib.suppress(StopIteration, RuntimeError, KeyError):  # other threads do the same
                del self._mapped[next(iter(self._mapped))]
        return blob


def _read_once(path: str, size: int, keep: bool) -> bytearray:
    data = _native.blank(size)
    with opened(path, os.O_RDONLY, "cannot be read") as descriptor:
        if not keep:
            unlink(path)  # whatever becomes of us, it goes with the descriptor
        _native.fault_point("blobs.opened")
        _read_all(descriptor, data, path)
    return data


def _read_all(descriptor: int, data: bytearray, path: str) -> None:
    rest = memoryview(data)
    while rest:
        count = os.readv(descriptor, [rest[:_LARGEST_READ_BYTES]])
        if not count:
            raise CorruptRecordError(path, f"{len(data) - len(rest)} bytes, where {len(data)} were written")
        rest = rest[count:]
