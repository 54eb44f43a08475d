"""zeroq: a bounded lock-free queue of equal slots in shared memory."""

from collections.abc import Iterator
from typing import Any

from bench.peers.base import Channel, Mode, Peer, Send, queue_length


class ZeroQ(Peer):
    """Blocking `put` and `get` for throughput and asleep (both pause for milliseconds once they find the queue full or
    empty, so a long queue is what makes it fast). Polling: `get_nowait` after `empty`, since an exception for an empty
    queue costs ten times as much as the question; `empty` may be wrong while a slot is being filled."""

    name = "zeroq"
    module = "zeroq"
    package = "zeroq"
    modes = frozenset({Mode.THROUGHPUT, Mode.POLLING, Mode.ASLEEP})
    usage = "put / get (polling: empty + get_nowait); copies: in, out"

    def __init__(self, channel: Channel) -> None:
        from zeroq import Queue

        super().__init__(channel)
        length = 1 << (queue_length(channel.size_bytes, 65536, 16 << 20).bit_length() - 1)  # a power of two
        self._queue: Any = Queue(channel.name, channel.size_bytes, length, True)

    def __getstate__(self) -> dict[str, Any]:
        return {"channel": self.channel}

    def open_sender(self) -> Send:
        send: Send = self._attach().put
        return send

    def open_receiver(self) -> Iterator[bytes]:
        return receive_from(self._attach(), self.channel.mode is Mode.POLLING)

    def _attach(self) -> Any:
        from zeroq import Queue

        self._queue = Queue(self.channel.name, create=False)
        return self._queue

    def remove(self) -> None:
        self._queue.close()


def receive_from(queue: Any, polling: bool) -> Iterator[bytes]:
    """Return the values of a queue."""
    return poll_values(queue) if polling else take_values(queue)


def take_values(queue: Any) -> Iterator[bytes]:
    """Return the values, waiting in `get`."""
    get = queue.get
    while True:
        yield get()


def poll_values(queue: Any) -> Iterator[bytes]:
    """Return the values, asking without a pause."""
    from zeroq import Empty

    get_nowait, empty = queue.get_nowait, queue.empty
    while True:
        if empty():
            continue
        try:
            value = get_nowait()
        except Empty:
            continue
        yield value
