"""What the log holds in a large payload's place: which file, and which of the payloads that the file has had.

Owns: its bytes.
Must never: be mistaken for a packed object, which begins with another byte.
Sits: leftmost in blobs.

  pos  size  field     meaning
    0     1  kind      0x42
    1     1  once      1: the file is written once; it has no header, and its name says that it is whole
    8     8  producer  random number of the Blobs object that wrote it
   16     8  file      number of the file
   24     8  seq       which of the file's payloads
   32     8  size      of the payload, in bytes
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from shmq.errors import CorruptRecordError
from shmq.packing import Part

REFERENCE_KIND = 0x42
"""First byte of a reference."""
BLOB_SUFFIX, ONCE_SUFFIX = ".blob", ".once"

_REFERENCE = struct.Struct("<BB6xQQQQ")
_SHOWN_BYTES = 60


@dataclass(frozen=True)
class Reference:
    """A reference to a payload; the fields are those above."""

    once: bool
    producer: int
    file: int
    seq: int
    size: int

    def pack(self) -> bytes:
        """Return its bytes."""
        return _REFERENCE.pack(REFERENCE_KIND, self.once, self.producer, self.file, self.seq, self.size)

    @classmethod
    def unpack(cls, data: Part, directory: str) -> Reference:
        """Return what the bytes say. Raises: CorruptRecordError: they are no reference."""
        if len(data) != _REFERENCE.size or data[0] != REFERENCE_KIND or data[1] > 1:
            raise CorruptRecordError(directory, f"{bytes(data[:_SHOWN_BYTES])!r} refers to no payload")
        _, once, *rest = _REFERENCE.unpack(data)
        return cls(bool(once), *rest)

    def path_in(self, directory: str) -> str:
        """Return where the file is."""
        return os.path.join(directory, f"{self.producer:016x}-{self.file:x}{ONCE_SUFFIX if self.once else BLOB_SUFFIX}")
