"""A few numbers that all processes with a queue share: whether it was shut down, and what is done of it.

Owns: the file, one page of 8-byte words, mapped; and changing them in one step each.
Must never: wait, or hold anything that a death could leave behind.
Sits: in queues, over the core's cells; each queue has one beside its partition, in memory.
"""

from __future__ import annotations

import mmap
import os
import secrets

from shmq import _native
from shmq.errors import CorruptRecordError
from shmq.store import files

_MAGIC = int.from_bytes(b"SHMQQUE1", "little")

SHUTDOWN = 8
"""0: open; OPEN_TO_GET: no more puts; CLOSED_TO_ALL: no more gets either."""
DONE = 16
"""How often task_done() was called."""
JOINERS = 24
"""How many are in join(); those that died there count on."""
LARGE_BYTES = 32
"""Bytes of large items that are not done; more, where processes died with some. Right again once nothing is there."""

OPEN_TO_GET, CLOSED_TO_ALL = 1, 2
_BYTES = 4096


class Words:
    """The mapped file. A forked child may go on using it.

    Raises:
        StorageError: it cannot be opened.
        CorruptRecordError: it is something else, or cut short.
    """

    def __init__(self, path: str) -> None:
        with files.storage_errors(path, "cannot be opened"), open(path, "r+b") as file:
            if os.fstat(file.fileno()).st_size != _BYTES:
                raise CorruptRecordError(path, f"is not {_BYTES} bytes long")
            self.buffer = mmap.mmap(file.fileno(), _BYTES)
        if self.get(0) != _MAGIC:
            raise CorruptRecordError(path, "does not begin as the words of a queue do")

    def get(self, pos: int) -> int:
        """Return the word at `pos`."""
        return _native.cell_load(self.buffer, pos)

    def add(self, pos: int, change: int) -> int:
        """Change a word by so much, and return what it is then."""
        while True:
            before = self.get(pos)
            if _native.cell_cas(self.buffer, pos, before, before + change):
                return before + change

    def add_below(self, pos: int, limit: int) -> int | None:
        """Raise a word by 1 and return what it is then; None, and nothing changes, if it is at `limit` already."""
        while (before := self.get(pos)) < limit:
            if _native.cell_cas(self.buffer, pos, before, before + 1):
                return before + 1
        return None

    def clear(self, pos: int) -> None:
        """Make a word 0, unless it changes just now."""
        _native.cell_cas(self.buffer, pos, self.get(pos), 0)

    def raise_to(self, pos: int, value: int) -> None:
        """Make a word `value`, unless it is that or more already."""
        while (before := self.get(pos)) < value:
            if _native.cell_cas(self.buffer, pos, before, value):
                return


def make_words(path: str) -> None:
    """Make the file, whole or not at all; one that is there stays as it is. Raises: StorageError, StorageFullError."""
    aside = f"{path}.new-{secrets.token_hex(8)}"
    files.write_whole(aside, _MAGIC.to_bytes(8, "little") + bytes(_BYTES - 8), durable=False)
    with files.storage_errors(path, "cannot be made"):
        try:
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(aside)
