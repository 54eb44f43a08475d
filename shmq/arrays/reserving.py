"""Space in the log that is filled in place: reserved, then published or given up.

Owns: when the array may be written, and what becomes of it at the end.
Must never: publish what was not filled to its end: an exception gives it up.
Sits: over the core's Reservation; made by `sending`.
"""

from __future__ import annotations

import contextlib
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any

from shmq import _native
from shmq.errors import ForkedError, IllegalStateError, ShmqError, UnknownTopicOrPartitionError
from shmq.placing import Placing
from shmq.types import BatchMetadata

if TYPE_CHECKING:
    import numpy as np


class Reserved:
    """A context manager: entering it gives the array, leaving it publishes, an exception gives the space up.

    Attributes:
        metadata: Where the records went; None before, and if nothing was published.
        copied: Whether publishing had to copy them, since the log had gone on to another segment.

    Used once. Afterwards the array can be read, and not written any more; other views of it that were made inside
    must not be, since what was published does not change.
    """

    __slots__ = (
        "_array",
        "_connection",
        "_count",
        "_dtype",
        "_handle",
        "_is_used",
        "_keys",
        "_nbytes",
        "_partition",
        "_placed",
        "_producer",
        "_reservation",
        "_shape",
        "_timestamp_ms",
        "copied",
    )

    def __init__(
        self,
        producer: Placing,
        handle: _native.Topic,
        partition: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        nbytes: int,
        count: int,
        keys: list[bytes | None] | None,
        timestamp_ms: int,
    ) -> None:
        self._producer, self._handle, self._partition = producer, handle, partition
        self._shape, self._dtype, self._nbytes, self._count = shape, dtype, nbytes, count
        self._keys, self._timestamp_ms = keys, timestamp_ms
        self._connection, self._is_used = producer._connection, False
        self._placed: tuple[int, int] | None = None
        self.copied = False

    @property
    def metadata(self) -> BatchMetadata | None:
        """Where the records went."""
        if self._placed is None:
            return None
        return BatchMetadata(self._handle.name, self._partition, self._placed[0], self._count, self._placed[1])

    def __enter__(self) -> np.ndarray[Any, Any]:
        """Reserve. Errors: those of `send`; RecordListTooLargeError: no segment can hold so much."""
        import numpy as np

        producer = self._producer
        if self._is_used:
            raise IllegalStateError("this reservation was used already; reserve() again")
        producer._check()
        if producer._connection is not self._connection:  # this is a forked child, where it has opened another
            raise ForkedError("reservation", self._connection.pid, os.getpid())
        try:
            reservation = self._handle.appenders[self._partition].reserve(
                self._nbytes, self._count, producer._patience_ms
            )
        except UnknownTopicOrPartitionError:  # deleted; it may be created again: look for it anew next time
            producer._forget(self._handle.name)
            raise
        self._is_used, self._reservation = True, reservation
        memory: Any = reservation
        self._array = np.frombuffer(memory, self._dtype).reshape(self._shape)
        return self._array

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish, or give the space up after an exception. Errors: those of `send`; ForkedError: the parent's."""
        producer, reservation, array = self._producer, self._reservation, self._array
        del self._reservation, self._array  # who keeps this for its metadata keeps no memory
        array.setflags(write=False)
        if error is not None:
            self._give_up(reservation)
            return
        try:
            producer._check()
            self._placed = reservation.publish(producer._patience_ms, self._keys, self._timestamp_ms)
        except BaseException as failure:
            self._give_up(reservation)
            if isinstance(failure, UnknownTopicOrPartitionError):
                producer._forget(self._handle.name)
            raise
        producer._sent += self._count
        producer._sent_bytes += self._nbytes
        self.copied = reservation.copied

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _give_up(self, reservation: _native.Reservation) -> None:
        """Nobody will read it. In a forked child it is the parent's, who says what becomes of it."""
        with contextlib.suppress(ShmqError):
            reservation.cancel()
