"""Errors by the state of the world: no room, no such broker, damaged or foreign files.

Owns: their names (kafka-python's where it has one), Kafka's codes and the wording.
Must never: be raised without saying where, the two numbers and what to do.
Sits: beside `caller`, which holds the caller's own mistakes.
"""

from __future__ import annotations

import os
import queue
import signal
from dataclasses import field
from errno import ENOSPC

from .base import KafkaTimeoutError, RetriableError, ShmqError, valued


@valued
class BufferFullError(KafkaTimeoutError):
    """A topic with `retention="consumed"` has no room, and no reader made any in time."""

    topic: str
    partition: int
    wanted_bytes: int
    free_bytes: int
    waited_ms: int
    self_wait: bool = False

    def __str__(self) -> str:
        full = f"{self.topic}-{self.partition} is full: {self.wanted_bytes} bytes wanted, {self.free_bytes} free"
        if self.self_wait:
            return f"{full}, and only this thread's own consumer could make room; poll it, or raise retention_bytes"
        return f"{full} after {self.waited_ms} ms; consume, raise retention_bytes, or set max_block_ms"


@valued
class QueueFullError(KafkaTimeoutError):
    """As many records lie in a bounded queue as it may hold, and nobody took one in time."""

    topic: str
    partition: int
    max_items: int
    waited_ms: int

    def __str__(self) -> str:
        return (
            f"{self.topic}-{self.partition} is full: {self.max_items} items that nobody has taken after "
            f"{self.waited_ms} ms; take some, or make the queue larger"
        )


@valued
class QueueMemoryError(RetriableError, queue.Full):
    """A queue without `maxsize` has no room left in memory. `limit` is what is full, as text."""

    queue: str
    wanted_bytes: int
    free_bytes: int
    limit: str

    def __str__(self) -> str:
        return (
            f"{self.queue}: no room: {self.wanted_bytes} bytes wanted, {self.free_bytes} free of {self.limit}; take "
            "items, or give the queue a maxsize, so that put() waits"
        )


@valued
class AppendAbortedError(RetriableError):
    """Other processes took this one for dead while it appended, each time it tried. Nobody has read the record."""

    topic: str
    partition: int
    attempts: int

    def __str__(self) -> str:
        return (
            f"{self.topic}-{self.partition}: this process was too slow and was taken for dead {self.attempts} times; "
            "nothing was appended; send again, or raise the topic's claim_timeout_ms"
        )


@valued
class StorageError(ShmqError):
    """A file could not be made, read or written. `errno` is the system's number, 0 where there is none."""

    error_code = 56
    path: str
    what: str
    errno: int = 0

    def __str__(self) -> str:
        cause = f": {os.strerror(self.errno)} (errno {self.errno})" if self.errno else ""
        return f"{self.path}: {self.what}{cause}"


@valued
class StorageFullError(StorageError, RetriableError):
    """The disk or /dev/shm has no room for what was to be reserved. Nothing was changed."""

    what: str = field(init=False, default="no space left")
    errno: int = field(init=False, default=ENOSPC)
    wanted_bytes: int = 0
    free_bytes: int = 0

    def __str__(self) -> str:
        return (
            f"{self.path}: no space left: {self.wanted_bytes} bytes wanted, {self.free_bytes} free; "
            "free some, lower segment_bytes or retention_bytes, or run `shmq gc`"
        )


@valued
class PayloadGoneError(StorageError):
    """A large item's payload is there no more: it was read before, by a process that took this one for dead or after
    which this one came, or its file was removed."""

    what: str = field(init=False, default="the payload of this item is there no more: another reader is done with it")
    errno: int = field(init=False, default=0)


@valued
class CorruptRecordError(ShmqError):
    """Bytes on disk or in shared memory are not what was written there. `pos` is in bytes from the file's start."""

    error_code = 2
    path: str
    what: str
    pos: int | None = None

    def __str__(self) -> str:
        where = self.path if self.pos is None else f"{self.path} at byte {self.pos}"
        return f"{where}: {self.what}; see `shmq verify`"


class CorruptSegmentError(CorruptRecordError):
    """A segment or control file breaks one of the format's "valid if and only if" rules."""


@valued
class UnsupportedVersionError(ShmqError):
    """A file was written by a version of shmq that this one does not understand."""

    error_code = 35
    path: str
    found: int | str
    supported: int | str

    def __str__(self) -> str:
        return f"{self.path}: format {self.found}, this shmq reads {self.supported}; use the shmq version that wrote it"


@valued
class BrokerNotFoundError(ShmqError):
    """There is no broker at this place, and none was to be made."""

    path: str

    def __str__(self) -> str:
        return f"{self.path}: no broker here; check bootstrap_servers and SHMQ_BROKER, or create a topic to make one"


@valued
class NotABrokerError(ShmqError):
    """A directory or its broker.json is not what a broker leaves there; it is never adopted or repaired."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: not a broker's: {self.what}; choose another directory, or restore or remove this one"


@valued
class TooManyProcessesError(RetriableError):
    """Every process slot of the broker is taken."""

    path: str
    slots: int

    def __str__(self) -> str:
        return f"{self.path}: all {self.slots} process slots are taken; end some processes, or use a second broker"


@valued
class TooManyReadersError(RetriableError):
    """Every reader entry of a partition with `retention="consumed"` is taken."""

    topic: str
    partition: int
    readers: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}: all {self.readers} reader entries are taken; close some consumers"


@valued
class WorkerDiedError(RetriableError):
    """A worker process of an executor died, or left, while it ran this task, and no retry was left. The others go on.

    `exitcode` is multiprocessing's: negative for a signal; None if somebody else has waited for the process. `starts`
    is how often the task was started; 0 if none was.
    """

    pid: int
    exitcode: int | None
    starts: int = 0

    def __str__(self) -> str:
        worker = f"worker {self.pid} {_what_ended(self.exitcode)}"
        if not self.starts:
            return worker
        tries = "the only try" if self.starts == 1 else f"the last of {self.starts} tries"
        return f"{worker} while it ran this task, {tries}; the pool goes on; submit again, or raise retries"


def _what_ended(exitcode: int | None) -> str:
    if exitcode is None:
        return "is gone"
    if exitcode >= 0:
        return f"left with exit code {exitcode}"
    try:
        return f"was killed by {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"was killed by signal {-exitcode}"
