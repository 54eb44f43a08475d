"""faster-fifo: a ring of bytes in shared memory behind a process-shared mutex and condition variables."""

from collections.abc import Iterator

from bench.peers.base import Channel, Mode, Peer, Send

ONCE_BYTES = 1000 * 1000  # the ring size of its own README
RECORDS_A_CALL = 100  # as in its README and its comparison tests


def as_is(value: bytes) -> bytes:
    """The custom serializer that its README allows: nothing to do for bytes."""
    return value


class FasterFifo(Peer):
    """One record a call on both sides. `loads=bytes` makes the copy that the receiver keeps."""

    name = "faster-fifo"
    module = "faster_fifo"
    package = "faster-fifo"
    modes = frozenset({Mode.THROUGHPUT, Mode.ASLEEP})
    usage = "put / get, no pickling (dumps, loads=bytes); copies: in, out to a buffer, bytes"

    def __init__(self, channel: Channel, least_bytes: int = 0) -> None:
        from faster_fifo import Queue

        super().__init__(channel)
        ring_bytes = max(ONCE_BYTES, 16 * channel.size_bytes, least_bytes)
        self._queue = Queue(ring_bytes, dumps=as_is, loads=bytes)

    def open_sender(self) -> Send:
        send: Send = self._queue.put
        return send

    def open_receiver(self) -> Iterator[bytes]:
        return self._values()

    def _values(self) -> Iterator[bytes]:
        get = self._queue.get
        while True:
            yield get()


class FasterFifoMany(FasterFifo):
    """The receiver takes up to 100 records a call."""

    name = "faster-fifo-many"
    modes = frozenset({Mode.THROUGHPUT})
    usage = "put / get_many(100), no pickling (dumps, loads=bytes); copies: in, out to a buffer, bytes"

    def _values(self) -> Iterator[bytes]:
        get_many = self._queue.get_many
        while True:
            yield from get_many(max_messages_to_get=RECORDS_A_CALL)
