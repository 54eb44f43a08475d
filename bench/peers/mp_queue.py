"""multiprocessing.Queue: pickled by a feeder thread into a pipe, behind a lock."""

from collections.abc import Iterator

from bench.children import CONTEXT
from bench.peers.base import Channel, Mode, Peer, Send, queue_length


class MpQueue(Peer):
    """Bounded, since an unbounded one piles up in the sender (`put` returns before the pipe took anything)."""

    name = "mp-queue"
    module = "multiprocessing"
    modes = frozenset({Mode.THROUGHPUT, Mode.ASLEEP})
    usage = "put / get; copies: pickle, pipe in, pipe out, unpickle"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._queue = CONTEXT.Queue(queue_length(channel.size_bytes, 10_000, 16 << 20))

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
        self._queue.cancel_join_thread()
