"""Brokers behind a socket, for perspective: Redis streams and RabbitMQ. `bench.servers` starts their servers."""

from collections.abc import Iterable, Iterator
from typing import Any

from bench.peers.base import Channel, Mode, Peer, Send

LOOPBACK = "127.0.0.1"
READ_COUNT = 500  # as max_poll_records is for ours
FIELD = b"v"
WAIT_MS = 1000


class RedisStream(Peer):
    """A stream is a log, as a topic is: what was read stays. Nothing is saved to disk."""

    name = "redis-stream"
    module = "redis"
    package = "redis"
    modes = frozenset({Mode.THROUGHPUT, Mode.ASLEEP})
    usage = "XADD, a round trip each / XREAD COUNT 500 BLOCK; loopback, nothing on disk, nothing trimmed"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._client: Any = None

    def open_sender(self) -> Send:
        add, name = self._connect().xadd, self.channel.name

        def send(value: bytes) -> None:
            add(name, {FIELD: value})

        return send

    def open_receiver(self) -> Iterator[bytes]:
        return self._values(self._connect().xread)

    def _values(self, read: Any) -> Iterator[bytes]:
        name, last = self.channel.name, b"0"
        while True:
            for _, entries in read({name: last}, count=READ_COUNT, block=WAIT_MS) or ():
                for last, fields in entries:  # noqa: B007  # where to go on
                    yield fields[FIELD]

    def _connect(self) -> Any:
        import redis

        self._client = redis.Redis(LOOPBACK, self.channel.port, protocol=2)
        return self._client

    def close(self) -> None:
        self._client.close()


class RedisPipelined(RedisStream):
    """As many XADDs in one round trip as the benchmark's pool of values has."""

    name = "redis-stream-pipelined"
    modes = frozenset({Mode.THROUGHPUT})
    usage = "XADD, 1,021 in a pipeline / XREAD COUNT 500 BLOCK; loopback, nothing on disk, nothing trimmed"

    def send_all(self, send: Send, values: Iterable[bytes]) -> None:  # noqa: ARG002
        name = self.channel.name
        with self._client.pipeline(transaction=False) as pipeline:
            for value in values:
                pipeline.xadd(name, {FIELD: value})
            pipeline.execute()


class RabbitMq(Peer):
    """A classic queue: what was read is gone. No confirms on either side, so a record may be lost; nothing on disk."""

    name = "rabbitmq"
    module = "pika"
    package = "pika"
    modes = frozenset({Mode.THROUGHPUT, Mode.ASLEEP})
    usage = "basic_publish without confirms / consume with auto_ack; loopback, a transient classic queue"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._connection: Any = None

    def open_sender(self) -> Send:
        publish, name = self._connect().basic_publish, self.channel.name

        def send(value: bytes) -> None:
            publish("", name, value)

        return send

    def open_receiver(self) -> Iterator[bytes]:
        return self._values(self._connect())

    def _values(self, channel: Any) -> Iterator[bytes]:
        for _, _, body in channel.consume(self.channel.name, auto_ack=True):
            yield body

    def _connect(self) -> Any:
        import pika

        parameters = pika.ConnectionParameters(LOOPBACK, self.channel.port, heartbeat=0)
        self._connection = pika.BlockingConnection(parameters)
        channel = self._connection.channel()
        channel.queue_declare(self.channel.name)
        return channel

    def close(self) -> None:
        self._connection.close()


BROKERS: tuple[type[Peer], ...] = (RedisStream, RedisPipelined, RabbitMq)
