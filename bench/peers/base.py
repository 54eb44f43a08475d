"""What a peer is: one way to move `bytes` from one process to another.

The life of a peer object: made in the parent, which makes whatever both ends share; pickled to both children; in one
`open_sender`, in the other `open_receiver`, each once; `close` in both; `remove` in the parent, whatever happened.
Packages are imported inside these methods only, so that a missing one is a line in the table and not an error.

The rule for all: one call a record to send; the receiver may take many at once where the library can. What arrives is
`bytes` that belong to the receiver, so every peer copies once in and once out (`usage` says what else it copies).
"""

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

Send = Callable[[bytes], object]


class Mode(enum.StrEnum):
    """How a receiver waits."""

    THROUGHPUT = "throughput"  # whatever moves most records
    POLLING = "polling"  # never sleeps
    ASLEEP = "asleep"  # sleeps in the kernel, no spinning first
    BULK = "bulk"  # as THROUGHPUT, but whole lists are sent in one call


@dataclass(frozen=True)
class Channel:
    """What a peer object is to carry, and the names it may use."""

    name: str  # unique; good as a file name, a shared-memory name, a topic name
    size_bytes: int
    mode: Mode
    memory: Path  # directory on tmpfs
    disk: Path  # directory on disk
    list_length: int = 0  # records in one call, where a peer sends lists; 0: one call a record
    port: int = 0  # where its server listens on loopback, if it has one


class Peer(ABC):
    """One row of the table."""

    name: ClassVar[str]
    module: ClassVar[str]  # what must be importable
    package: ClassVar[str | None] = None  # the distribution whose version is recorded; None for the standard library
    modes: ClassVar[frozenset[Mode]]
    usage: ClassVar[str]  # which calls, and what they copy
    carries_bytes: ClassVar[bool] = True  # False: wakes the other side and nothing more

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    @abstractmethod
    def open_sender(self) -> Send:
        """Open this end and return the call that sends one value, waiting while there is no room."""

    @abstractmethod
    def open_receiver(self) -> Iterator[bytes]:
        """Open this end and return the values, in order; `next` waits for one."""

    def send_all(self, send: Send, values: Iterable[bytes]) -> None:
        """Send each value, one call a record. Overridden where `send` has to be tried again by the caller."""
        for value in values:
            send(value)

    def close(self) -> None:  # noqa: B027 (optional to override)
        """Close the end that this process opened."""

    def remove(self) -> None:  # noqa: B027 (optional to override)
        """Remove what the parent made. Also called after a failure, when children were killed."""

    def laps(self, record_count: int) -> float | None:  # noqa: ARG002 (for those that have a ring)
        """How often so many records went round the ring, at the least; None where there is no ring of ours."""
        return None


def queue_length(size_bytes: int, longest: int, total_bytes: int) -> int:
    """Return how many records a bounded queue may hold: `longest`, or what fits in `total_bytes`, at least 4."""
    return max(4, min(longest, total_bytes // size_bytes))
