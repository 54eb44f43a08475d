"""Where records go that are rejected, or were delivered too often: a topic, with headers that say why.

Owns: the producer for it, the names of the headers, and reading them again.
Must never: settle a record: it is done only after its dead letter is in the log.
Sits: over the producer; under `settling`, and the command that replays dead letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shmq import _native
from shmq.config import ShareConsumerConfig
from shmq.config.checks import INT32_MAX
from shmq.connection import Connection
from shmq.errors import KafkaConfigurationError, KafkaTimeoutError, UnknownTopicOrPartitionError
from shmq.producer import Producer
from shmq.serde import Header
from shmq.store.names import check_topic_name

PREFIX = "shmq.dead."
_FIRST = f"{PREFIX}topic"
_LONGEST_WAIT_MS = 1000.0
_LONGEST_REASON = 1000
"""In characters."""


@dataclass(frozen=True)
class Origin:
    """Where a dead letter came from, and why it died."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    delivery_count: int
    reason: str
    group_id: str

    def headers(self) -> list[Header]:
        """Return it as headers, which `split_headers` reads."""
        return [(f"{PREFIX}{name}", str(value).encode()) for name, value in vars(self).items()]


def split_headers(headers: Sequence[tuple[str, bytes | None]]) -> tuple[list[tuple[str, bytes | None]], Origin | None]:
    """Return the headers that a record had when it died, and where that was; None if it is no dead letter.

    What died twice has two sets, the later one behind.
    """
    at = max((index for index, (name, _) in enumerate(headers) if name == _FIRST), default=-1)
    if at < 0:
        return list(headers), None
    found = {name.removeprefix(PREFIX): (value or b"").decode(errors="replace") for name, value in headers[at:]}
    try:
        numbers = {name: int(found[name]) for name in ("partition", "offset", "timestamp", "delivery_count")}
        origin = Origin(topic=found["topic"], reason=found["reason"], group_id=found["group_id"], **numbers)
    except (KeyError, ValueError):
        return list(headers), None
    return list(headers[:at]), origin


class DeadLetters:
    """The dead-letter topic of a share consumer. Opened when it is needed first."""

    def __init__(self, topic: str, config: ShareConsumerConfig, connection: Connection) -> None:
        self.topic = check_topic_name(topic)
        self._config, self._address = config, f"shm://{connection.broker.directory}"
        self._producer: Producer | None = None
        try:
            item_type = connection.topic(topic).config.item_type
        except UnknownTopicOrPartitionError as error:
            raise KafkaConfigurationError("dead_letter_topic", repr(topic), str(error)) from None
        if item_type is not None:
            problem = f"has items of {item_type}, and items have no headers; name a topic without a dtype"
            raise KafkaConfigurationError("dead_letter_topic", repr(topic), problem)

    def send(self, record: _native.ConsumerRecord, reason: str, delivery_count: int) -> None:
        """Append a record's dead letter; as every append, it is in the log when this returns.

        Raises:
            KafkaTimeoutError, UnknownTopicOrPartitionError, StorageFullError, ...: it is not, see `Producer.send`.
        """
        origin = Origin(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            delivery_count,
            reason[:_LONGEST_REASON],
            self._config.group_id,
        )
        try:
            self._open().send(self.topic, record.value, record.key, [*record.headers, *origin.headers()])
        except KafkaTimeoutError as error:
            error.add_note(f"{self.topic!r} is the dead-letter topic of share group {self._config.group_id!r}")
            raise

    def close(self) -> None:
        """Let go of the topic."""
        if self._producer is not None:
            self._producer.close()

    def _open(self) -> Producer:
        if self._producer is None:
            # The locks of all records that were taken with this one run meanwhile: do not wait for long.
            wait_ms = min(_LONGEST_WAIT_MS, self._config.acquisition_lock_duration_ms / 3)
            self._producer = Producer(
                bootstrap_servers=self._address,
                max_block_ms=wait_ms,
                max_request_size=INT32_MAX,
                allow_auto_create_topics=False,
                request_timeout_ms=self._config.request_timeout_ms,
            )
        return self._producer
