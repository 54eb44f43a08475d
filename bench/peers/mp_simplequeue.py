"""multiprocessing.SimpleQueue: pickled by the caller into a pipe, behind a lock."""

from collections.abc import Iterator

from bench.children import CONTEXT
from bench.peers.base import Channel, Mode, Peer, Send


class MpSimpleQueue(Peer):
    """Bounded by the pipe (64 KiB in Linux)."""

    name = "mp-simplequeue"
    module = "multiprocessing"
    modes = frozenset({Mode.THROUGHPUT, Mode.ASLEEP})
    usage = "put / get; copies: pickle, pipe in, pipe out, unpickle"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._queue = CONTEXT.SimpleQueue()

    def open_sender(self) -> Send:
        return self._queue.put

    def open_receiver(self) -> Iterator[bytes]:
        return self._values()

    def _values(self) -> Iterator[bytes]:
        get = self._queue.get
        while True:
            yield get()

    def remove(self) -> None:
        self._queue.close()
