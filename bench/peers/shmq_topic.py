"""shmq: one topic with one partition, public Producer.send and Consumer.poll."""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, ClassVar

from bench.peers.base import Channel, Mode, Peer, Send
from bench.scratch import SHM, remove

MIB = 1 << 20
RINGS = ((64 * 1024, 2 * MIB, 8 * MIB),)  # up to size, segment_bytes, retention_bytes: they stay in the cache
LARGE_RING = (4 * MIB, 16 * MIB)
POLL_TIMEOUT_MS = 1000
MAX_POLL_RECORDS = 500
SPIN_US = 20


class ShmqMemory(Peer):
    """A topic in /dev/shm. `retention="consumed"`: a full ring holds the producer back, nothing is dropped."""

    name = "shmq-memory"
    module = "shmq"
    package = "shmq"
    modes = frozenset({Mode.THROUGHPUT, Mode.POLLING, Mode.ASLEEP})
    usage = "Producer.send / Consumer.poll(500), storage=memory, no CRC; copies: in, out"
    configs: ClassVar[dict[str, object]] = {"storage": "memory", "retention": "consumed"}

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self.topic = channel.name
        self.broker = f"shm://{channel.disk / 'broker'}"
        self.segment_bytes, self.retention_bytes = pick_ring(channel.size_bytes)
        self._client: Any = None
        try:
            create_topic(self.broker, self.topic, self._configs())
        except BaseException:
            self.remove()  # the broker is there already; nobody else will know of it
            raise

    def _configs(self) -> dict[str, object]:
        ring = {"segment_bytes": self.segment_bytes, "retention_bytes": self.retention_bytes}
        return {**self.configs, **ring, "max_message_bytes": max(1000, 2 * self.channel.size_bytes)}

    def open_sender(self) -> Send:
        from shmq import Producer

        self._client = Producer(bootstrap_servers=self.broker, max_block_ms=60_000)
        return partial(self._client.send, self.topic)

    def send_all(self, send: Send, values: Iterable[bytes]) -> None:  # noqa: ARG002
        send_to, topic = self._client.send, self.topic  # as a user writes it, without the detour over partial
        for value in values:
            send_to(topic, value)

    def open_receiver(self) -> Iterator[bytes]:
        self._open_consumer()
        return take_values(self._client.poll, self._timeout_ms())

    def open_records(self) -> Iterator[Any]:
        """As `open_receiver`, with all that a record has beside its value."""
        self._open_consumer()
        return take_records(self._client.poll, self._timeout_ms())

    def _open_consumer(self) -> None:
        from shmq import Consumer, TopicPartition

        self._client = Consumer(
            bootstrap_servers=self.broker,
            auto_offset_reset="earliest",
            max_poll_records=MAX_POLL_RECORDS,
            spin_us=0 if self.channel.mode is Mode.ASLEEP else SPIN_US,
        )
        self._client.assign([TopicPartition(self.topic, 0)])
        self._client.poll(timeout_ms=0)  # registers this reader: from here on the producer waits for it

    def _timeout_ms(self) -> int:
        return 0 if self.channel.mode is Mode.POLLING else POLL_TIMEOUT_MS

    def close(self) -> None:
        self._client.close()

    def remove(self) -> None:
        """Remove what the broker has in /dev/shm, without asking shmq: its processes may have been killed."""
        identity = self.channel.disk / "broker" / "broker.json"
        if identity.exists():
            for path in SHM.glob(f"*shmq-{json.loads(identity.read_text())['instance']}*"):
                remove(path)

    def laps(self, record_count: int) -> float | None:
        """The values alone, without headers: the true number is higher."""
        return record_count * self.channel.size_bytes / self.retention_bytes


class ShmqDisk(ShmqMemory):
    """A topic in files, with a CRC32C per batch (the default for disk)."""

    name = "shmq-disk"
    modes = frozenset({Mode.THROUGHPUT})
    usage = "Producer.send / Consumer.poll(500), storage=disk, CRC32C; copies: in, out"
    configs: ClassVar[dict[str, object]] = {"storage": "disk", "retention": "consumed"}


class ShmqAppendOnly(ShmqMemory):
    """For `scaling`: nobody reads, the oldest segment goes."""

    name = "shmq-append"
    modes = frozenset()
    configs: ClassVar[dict[str, object]] = {"storage": "memory", "retention": "delete"}


def pick_ring(size_bytes: int) -> tuple[int, int]:
    """Return segment_bytes and retention_bytes for one record size."""
    for upto_bytes, segment_bytes, retention_bytes in RINGS:
        if size_bytes <= upto_bytes:
            return segment_bytes, retention_bytes
    return LARGE_RING


def create_topic(broker: str, topic: str, configs: dict[str, object], partitions: int = 1) -> None:
    """Create a topic."""
    from shmq import Admin, NewTopic

    with Admin(bootstrap_servers=broker) as admin:
        admin.create_topics([NewTopic(topic, partitions, replication_factor=1, topic_configs=configs)])


def find_end_offset(broker: str, topic: str) -> int:
    """Return the offset behind the last record of partition 0."""
    from shmq import Consumer, TopicPartition

    partition = TopicPartition(topic, 0)
    with Consumer(bootstrap_servers=broker) as consumer:
        end_offset: int = consumer.end_offsets([partition])[partition]
    return end_offset


def take_values(poll: Callable[[int], dict[Any, list[Any]]], timeout_ms: int) -> Iterator[bytes]:
    """Return the values that a consumer polls."""
    while True:
        for records in poll(timeout_ms).values():
            for record in records:
                yield record.value


def take_records(poll: Callable[[int], dict[Any, list[Any]]], timeout_ms: int) -> Iterator[Any]:
    """Return the records that a consumer polls."""
    while True:
        for records in poll(timeout_ms).values():
            yield from records
