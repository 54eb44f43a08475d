"""iceoryx2: publish / subscribe of loaned shared-memory chunks, without locks; its subscribers poll."""

import ctypes
from collections.abc import Iterator
from typing import Any

from bench.peers.base import Channel, Mode, Peer, Send, queue_length


class Iceoryx2(Peer):
    """A slice of bytes, as in its dynamic data example. Without overflow and with its default of retrying until
    delivered, `send` waits for a slow subscriber. One that has not connected yet it does not wait for: `send` then
    says 0 receivers, and the record must be sent again (bench lost records at the start before it did so)."""

    name = "iceoryx2"
    module = "iceoryx2"
    package = "iceoryx2"
    modes = frozenset({Mode.THROUGHPUT, Mode.POLLING})
    usage = "loan_slice_uninit + memmove + send / receive in a loop + string_at; copies: in, out"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._buffer_size = queue_length(channel.size_bytes, 1024, 16 << 20)
        self._held: list[Any] = []

    def open_sender(self) -> Send:
        return make_send(self.open_publisher(), self.channel.size_bytes)

    def open_receiver(self) -> Iterator[bytes]:
        return receive_from(self.open_subscriber())

    def open_publisher(self) -> Any:
        """Open this end and return what chunks are loaned from."""
        import iceoryx2 as iox2

        publisher = (
            self._open_service()
            .publisher_builder()
            .initial_max_slice_len(self.channel.size_bytes)
            .backpressure_strategy(iox2.BackpressureStrategy.RetryUntilDelivered)
            .create()
        )
        self._held.append(publisher)
        return publisher

    def open_subscriber(self) -> Any:
        """Open this end and return what chunks come from."""
        subscriber = self._open_service().subscriber_builder().create()
        self._held.append(subscriber)
        return subscriber

    def _open_service(self) -> Any:
        import iceoryx2 as iox2

        iox2.set_log_level(iox2.LogLevel.Error)
        config = iox2.config.default()
        config.global_cfg.root_path = iox2.Path.new(str(self.channel.memory))
        config.global_cfg.prefix = iox2.FileName.new(f"{self.channel.memory.name}_")
        node = iox2.NodeBuilder.new().config(config).create(iox2.ServiceType.Ipc)
        service = (
            node.service_builder(iox2.ServiceName.new(self.channel.name))
            .publish_subscribe(iox2.Slice[ctypes.c_uint8])
            .enable_safe_overflow(False)
            .subscriber_max_buffer_size(self._buffer_size)
            .max_publishers(1)
            .max_subscribers(1)
            .open_or_create()
        )
        self._held += [node, service]
        return service

    def close(self) -> None:
        while self._held:
            self._held.pop()


def make_send(publisher: Any, size_bytes: int) -> Send:
    """Return the call that copies one value into a loaned chunk and sends it."""
    loan, move = publisher.loan_slice_uninit, ctypes.memmove

    def send(value: bytes) -> None:
        receivers = 0
        while not receivers:
            sample = loan(size_bytes)
            move(sample.payload_ptr, value, size_bytes)
            receivers = sample.assume_init().send()

    return send


def receive_from(subscriber: Any) -> Iterator[bytes]:
    """Return the values of a subscriber, polling without a pause."""
    receive, string_at = subscriber.receive, ctypes.string_at
    while True:
        sample = receive()
        if sample is not None:
            yield string_at(sample.payload_ptr, sample.header.number_of_elements)
