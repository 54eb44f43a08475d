"""Payloads too large for a queue's log: files in the queue's directory, in memory; the log's record holds a reference.

Owns: the names that queues use.
Must never: hold a process up for another, or let a reader have bytes that are not those of its reference.
Sits: between the queues and `store`; `packing` makes the parts that are written here.

Fresh pages of /dev/shm cost 20 times what writing hot ones does. So a producer keeps some files (`*.blob`, at most 32
and 128 MiB) and writes them again once their payload was read. What does not fit among them goes to a file that is
written once (`*.once`): it gets its name when it is whole, and goes when it is read.

What may go wrong, and what comes of it:

  a producer dies while it writes    nothing refers to the blob; the next to sweep takes it away. A new file has no name
  ... between `write` and the log    nothing refers to the file; it stays until the queue goes. Some microseconds long
  ... later                          its payloads can be read; who releases one takes the file away, or who sweeps
  a reader dies while it copies      alone it had the item (`keep=False`): its producer, or a sweep, takes it away. Else
                                     (`keep=True`) the next to get the item reads it: nothing has changed
  ... between the log and `read`     the file stays until the queue goes, if nobody else gets the item
  a process forks                    the child cannot use what it inherited: ForkedError
  /dev/shm is full                   space is reserved before a byte is written: StorageFullError, and nothing is left

Why no payload is ever torn stands at the head of `file`.
"""

from __future__ import annotations

from .reference import REFERENCE_KIND
from .store import Blobs
from .writer import BLOB_BYTES, HOT_BYTES

__all__ = ["BLOB_BYTES", "HOT_BYTES", "REFERENCE_KIND", "Blobs"]
