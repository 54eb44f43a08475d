"""pyzmq over ipc: PUSH / PULL through a Unix socket, with an I/O thread on each side that batches small messages."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from bench.peers.base import Channel, Mode, Peer, Send, queue_length

ZERO_COPY_BYTES = 64 * 1024  # pyzmq's own `copy_threshold`: from here `copy=False` saves more than it costs


class PyZmq(Peer):
    """The high water mark bounds both queues; `send` waits at it, so nothing is dropped (PUSH never drops)."""

    name = "pyzmq"
    module = "zmq"
    package = "pyzmq"
    modes = frozenset({Mode.THROUGHPUT, Mode.ASLEEP})
    usage = "PUSH / PULL over ipc, send (copy=False from 64 KiB) / recv; copies: message, socket in, socket out, bytes"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._path = channel.memory / f"{channel.name}.sock"
        self._high_water_mark = queue_length(channel.size_bytes, 10_000, 1 << 20)
        self._context: Any = None

    def open_sender(self) -> Send:
        import zmq

        socket = self._open(zmq.PUSH)
        socket.connect(f"ipc://{self._path}")
        send: Send = socket.send
        if self.channel.size_bytes >= ZERO_COPY_BYTES:
            send = partial(socket.send, copy=False)
        return send

    def open_receiver(self) -> Iterator[bytes]:
        import zmq

        socket = self._open(zmq.PULL)
        socket.bind(f"ipc://{self._path}")
        return receive_from(socket)

    def _open(self, kind: int) -> Any:
        import zmq

        self._context = zmq.Context()
        socket: Any = self._context.socket(kind)
        socket.set_hwm(self._high_water_mark)
        socket.linger = 0  # the receiver has everything before either side closes
        return socket

    def close(self) -> None:
        self._context.destroy()


def receive_from(socket: Any) -> Iterator[bytes]:
    """Return the values of a PULL socket."""
    receive = socket.recv
    while True:
        yield receive()
