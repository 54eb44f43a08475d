"""cloudtoid-interprocess: a ring of bytes in a mapped file, a semaphore for receivers that sleep."""

from collections.abc import Iterable, Iterator
from typing import Any

from bench.peers.base import Channel, Mode, Peer, Send


class Cloudtoid(Peer):
    """`try_send` says False while the ring is full: tried again at once. `receive` sleeps, `try_receive` does not."""

    name = "cloudtoid"
    module = "cloudtoid_interprocess"
    package = "cloudtoid-interprocess"
    modes = frozenset({Mode.THROUGHPUT, Mode.POLLING, Mode.ASLEEP})
    usage = "try_send / try_receive in a loop (receive when asleep); copies: in, out"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._arguments = (channel.name, max(1 << 20, 16 * channel.size_bytes), str(channel.memory))
        self._end: Any = None

    def open_sender(self) -> Send:
        from cloudtoid_interprocess import Publisher

        self._end = Publisher(*self._arguments)
        send: Send = self._end.try_send
        return send

    def send_all(self, send: Send, values: Iterable[bytes]) -> None:
        for value in values:
            while not send(value):
                pass

    def open_receiver(self) -> Iterator[bytes]:
        from cloudtoid_interprocess import Subscriber

        self._end = Subscriber(*self._arguments)
        return self._sleep() if self.channel.mode is Mode.ASLEEP else self._poll()

    def _poll(self) -> Iterator[bytes]:
        receive = self._end.try_receive
        while True:
            value = receive()
            if value is not None:
                yield value

    def _sleep(self) -> Iterator[bytes]:
        receive = self._end.receive
        while True:
            yield receive()

    def close(self) -> None:
        self._end.close()
