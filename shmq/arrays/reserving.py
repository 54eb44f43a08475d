"""Space in the log that is filled in place: reserved, then published or given up.

Owns: when the array may be written, and what becomes of it at the end.
Must never: publish what was not filled to its end: an exception gives it up.
Sits: over the core's Reservation; made by `sending`.
"""

from __future__ import annotations

import contextlib
import math
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

    metadata: BatchMetadata | None = None
    copied = False

    def __init__(
        self,
        producer: Placing,
        handle: _native.Topic,
        partition: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        count: int,
        keys: list[bytes | None] | None,
        timestamp_ms: int,
    ) -> None:
        self._producer, self._handle, self._partition = producer, handle, partition
        self._shape, self._dtype, self._count = shape, dtype, count
        self._keys, self._timestamp_ms = keys, timestamp_ms
        self._nbytes = math.prod(shape) * dtype.itemsize
        self._pid, self._is_used = os.getpid(), False
        self._reservation: _native.Reservation | None = None
        self._array: np.ndarray[Any, Any] | None = None

    def __enter__(self) -> np.ndarray[Any, Any]:
        """Reserve. Errors: those of `send`; RecordListTooLargeError: no segment can hold so much."""
        import numpy as np

        if self._is_used:
            raise IllegalStateError("this reservation was used already; reserve() again")
        self._check_process()
        self._producer._check()
        appender = self._handle.appenders[self._partition]
        try:
            self._reservation = appender.reserve(self._nbytes, self._count, self._producer._patience_ms)
        except UnknownTopicOrPartitionError:  # deleted; it may be created again: look for it anew next time
            self._producer._forget(self._handle.name)
            raise
        self._is_used = True
        memory: Any = self._reservation
        self._array = np.frombuffer(memory, self._dtype).reshape(self._shape)
        return self._array

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish, or give the space up after an exception. Errors: those of `send`; ForkedError: the parent's."""
        reservation, array = self._reservation, self._array
        assert reservation is not None
        assert array is not None
        self._reservation = self._array = None  # who keeps this for its metadata keeps no memory
        array.flags.writeable = False
        if error is not None:
            self._give_up(reservation)
            return
        self._check_process()
        try:
            self._producer._check()
            placed = reservation.publish(self._producer._patience_ms, self._keys, self._timestamp_ms)
        except BaseException as failure:
            self._give_up(reservation)
            if isinstance(failure, UnknownTopicOrPartitionError):
                self._producer._forget(self._handle.name)
            raise
        self._producer._sent += self._count
        self._producer._sent_bytes += self._nbytes
        self.copied = reservation.copied
        self.metadata = BatchMetadata(self._handle.name, self._partition, placed[0], self._count, placed[1])

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise ForkedError("reservation", self._pid, os.getpid())

    def _give_up(self, reservation: _native.Reservation) -> None:
        """Nobody will read it. In a forked child, it is the parent's to say so."""
        if self._pid == os.getpid():
            with contextlib.suppress(ShmqError):
                reservation.cancel()
