"""Lists of records in one call: `send_many`, a list as one item of a queue, faster-fifo's `put_many`."""

from collections.abc import Iterable, Iterator

from bench.children import CONTEXT
from bench.peers.base import Channel, Mode, Peer, Send, queue_length
from bench.peers.fasterfifo import FasterFifo
from bench.peers.shmq_topic import ShmqMemory


class ShmqMany(ShmqMemory):
    """One batch a list. The consumer is the same as for records sent one by one."""

    name = "shmq-many"
    modes = frozenset({Mode.BULK})
    usage = "Producer.send_many / Consumer.poll(500), storage=memory, no CRC; copies: in, out"

    def send_all(self, send: Send, values: Iterable[bytes]) -> None:  # noqa: ARG002
        self._client.send_many(self.topic, values)


class MpQueueLists(Peer):
    """A list is one item: pickled, sent and unpickled at once."""

    name = "mp-queue-lists"
    module = "multiprocessing"
    modes = frozenset({Mode.BULK})
    usage = "put / get of whole lists; copies: pickle, pipe in, pipe out, unpickle"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._queue = CONTEXT.Queue(queue_length(channel.size_bytes * channel.list_length, 10_000, 16 << 20))

    def open_sender(self) -> Send:
        return self._queue.put

    def send_all(self, send: Send, values: Iterable[bytes]) -> None:
        send(values)  # type: ignore[arg-type]

    def open_receiver(self) -> Iterator[bytes]:
        return self._values()

    def _values(self) -> Iterator[bytes]:
        get = self._queue.get
        while True:
            yield from get()

    def remove(self) -> None:
        self._queue.close()
        self._queue.cancel_join_thread()


class FasterFifoLists(FasterFifo):
    """`put_many` takes a list that fits its ring; the receiver takes as many as the list has."""

    name = "faster-fifo-lists"
    modes = frozenset({Mode.BULK})
    usage = "put_many / get_many, no pickling (dumps, loads=bytes); copies: in, out to a buffer, bytes"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel, 4 * channel.size_bytes * channel.list_length)

    def open_sender(self) -> Send:
        send: Send = self._queue.put_many
        return send

    def send_all(self, send: Send, values: Iterable[bytes]) -> None:
        send(values)  # type: ignore[arg-type]

    def _values(self) -> Iterator[bytes]:
        get_many, most = self._queue.get_many, self.channel.list_length
        while True:
            yield from get_many(max_messages_to_get=most)
