"""Arrays that are written where they are read: nothing is copied by anybody.

A peer here gives a call that writes one array, all of whose words are a number, and an iterator over arrays as they
are read. Made in the parent, pickled to both children, as in `bench.peers.base`.
"""

import ctypes
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from bench.peers.base import Channel
from bench.peers.iceoryx import Iceoryx2
from bench.peers.shmq_topic import ShmqMemory

Write = Callable[[int], object]
WORD_BYTES = 8
DTYPE: Any = "uint64"
SPINS = 1000  # some 50 us
SEGMENT_ARRAYS, SEGMENTS = 4, 4  # at least so many arrays a segment, so many segments


class InPlace(ABC):
    """One row of the table."""

    name: ClassVar[str]
    usage: ClassVar[str]

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    @property
    def words(self) -> int:
        """Length of an array."""
        return self.channel.size_bytes // WORD_BYTES

    @abstractmethod
    def open_writer(self) -> Write:
        """Open this end and return the call that writes one array, waiting while there is no room."""

    @abstractmethod
    def open_reader(self) -> Iterator[Any]:
        """Open this end and return the arrays, in order; each is good until the next one is asked for."""

    def close(self) -> None:  # noqa: B027 (optional to override)
        """Close the end that this process opened."""

    def remove(self) -> None:  # noqa: B027 (optional to override)
        """Remove what the parent made."""


class OneRegion(InPlace):
    """The least that can be: one region of memory, which two processes hand back and forth by a flag."""

    name = "one region"
    usage = "numpy over one shared mmap; a flag, polled (cell_load, cell_store); no queue, no second region"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._path = channel.memory / "region"
        with self._path.open("wb") as file:
            file.truncate(mmap.PAGESIZE + channel.size_bytes)

    def open_writer(self) -> Write:
        from shmq import _native

        memory, region = self._map()
        load, store = _native.cell_load, _native.cell_store

        def write(number: int) -> None:
            spin_while(load, memory, 1)
            region.fill(number)
            store(memory, 0, 1)

        return write

    def open_reader(self) -> Iterator[Any]:
        from shmq import _native

        memory, region = self._map()
        load, store = _native.cell_load, _native.cell_store
        while True:
            spin_while(load, memory, 0)
            yield region
            store(memory, 0, 0)

    def _map(self) -> tuple[mmap.mmap, Any]:
        """The flag in a page of its own, then the region."""
        import numpy as np

        with self._path.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        return memory, np.frombuffer(memory, DTYPE, self.words, mmap.PAGESIZE)


def spin_while(load: Callable[[Any, int], int], memory: Any, flag: int) -> None:
    """Wait until the flag is another; let others run now and then, or they might be who it waits for."""
    while True:
        for _ in range(SPINS):
            if load(memory, 0) != flag:
                return
        os.sched_yield()


class ShmqInPlace(InPlace):
    """A typed topic in /dev/shm. `retention="consumed"`: a full ring holds the producer back, nothing is dropped."""

    name = "shmq-in-place"
    usage = "Producer.reserve / Consumer.poll_arrays, typed topic, storage=memory, no CRC; no copies"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._shmq = TypedTopic(channel)

    def open_writer(self) -> Write:
        reserve, topic = self._shmq.open_producer().reserve, self._shmq.topic

        def write(number: int) -> None:
            with reserve(topic, 1) as array:
                array.fill(number)

        return write

    def open_reader(self) -> Iterator[Any]:
        poll_arrays = self._shmq.open_consumer().poll_arrays
        while True:
            for batch in poll_arrays(0).values():
                yield from batch.items

    def close(self) -> None:
        self._shmq.close()

    def remove(self) -> None:
        self._shmq.remove()


class TypedTopic(ShmqMemory):
    """The topic and the clients of ShmqInPlace."""

    name = "shmq-typed"
    modes = frozenset()

    def _configs(self) -> dict[str, object]:
        self.segment_bytes = max(2 << 20, SEGMENT_ARRAYS * self.channel.size_bytes)
        self.retention_bytes = SEGMENTS * self.segment_bytes
        ring = {"segment_bytes": self.segment_bytes, "retention_bytes": self.retention_bytes}
        item = {"dtype": DTYPE, "shape": str(self.channel.size_bytes // WORD_BYTES)}
        return {**self.configs, **ring, **item, "max_message_bytes": 2 * self.channel.size_bytes, "crc": False}

    def open_producer(self) -> Any:
        """Open and return the producer."""
        self.open_sender()
        return self._client

    def open_consumer(self) -> Any:
        """Open and return the consumer."""
        self._open_consumer()
        return self._client


class IceoryxInPlace(InPlace):
    """Loaned chunks as numpy arrays; the arrays over chunks are kept, since chunks come again."""

    name = "iceoryx2-in-place"
    usage = "loan_slice_uninit, numpy over it, send / receive in a loop, numpy over it; no copies"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._iceoryx = Iceoryx2(channel)
        self._views: dict[int, Any] = {}

    def open_writer(self) -> Write:
        size_bytes, view = self.channel.size_bytes, self._view
        loan = self._iceoryx.open_publisher().loan_slice_uninit

        def write(number: int) -> None:
            receivers = 0
            while not receivers:
                sample = loan(size_bytes)
                view(sample.payload_ptr).fill(number)
                receivers = sample.assume_init().send()

        return write

    def open_reader(self) -> Iterator[Any]:
        receive, view = self._iceoryx.open_subscriber().receive, self._view
        while True:
            sample = receive()
            if sample is not None:
                yield view(sample.payload_ptr)

    def _view(self, address: int) -> Any:
        found = self._views.get(address)
        if found is None:
            import numpy as np

            chunk: Any = (ctypes.c_uint8 * self.channel.size_bytes).from_address(address)
            found = np.frombuffer(chunk, DTYPE)
            self._views[address] = found
        return found

    def close(self) -> None:
        self._views.clear()
        self._iceoryx.close()


IN_PLACE: tuple[type[InPlace], ...] = (ShmqInPlace, OneRegion, IceoryxInPlace)
