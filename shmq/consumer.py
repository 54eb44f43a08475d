"""Consumer: reads the records of assigned partitions.

Owns: options, pausing, waking up, what the broker has, and closing.
Must never: be used by two threads at once (only `wakeup` may come from another), or cross a fork.
Sits: over positions. Source: KafkaConsumer of kafka-python.
"""

from __future__ import annotations

import itertools
from types import TracebackType
from typing import Any

from shmq.config import ConsumerConfig
from shmq.connection import Connection
from shmq.errors import UnknownTopicOrPartitionError
from shmq.positions import Positions, alone
from shmq.serde import bind_deserializer, close_serdes
from shmq.types import TopicPartition

_numbers = itertools.count(1)


class Consumer(Positions):
    """Reads records from the partitions assigned to it.

    Args:
        *topics: Topics whose partitions are all assigned at once; none to `assign` later.
        **configs: kafka-python's names and defaults; see the options table in the README.

    Raises:
        KafkaConfigurationError: an unknown option, or a value that cannot be.
        UnknownTopicOrPartitionError: a topic does not exist and may not be created.
        NotABrokerError, StorageError, TooManyProcessesError: see `Connection`.

    Iterating over it gives record after record, and ends when none came for `consumer_timeout_ms`.
    """

    def __init__(self, *topics: str, **configs: Any) -> None:
        self.config = ConsumerConfig.parse(configs)
        config = self.config
        self._client_id = config.client_id or f"shmq-consumer-{next(_numbers)}"
        self._wanted = {}
        super().__init__(
            max_poll_records=config.max_poll_records,
            fetch_min_bytes=config.fetch_min_bytes,
            fetch_max_wait_ms=int(config.fetch_max_wait_ms),
            fetch_max_bytes=max(1, config.fetch_max_bytes),
            max_partition_fetch_bytes=max(1, config.max_partition_fetch_bytes),
            spin_us=int(config.spin_us),
            iteration_timeout_ms=config.consumer_timeout_ms,
            key_deserializer=bind_deserializer(config.key_deserializer, "key_deserializer"),
            value_deserializer=bind_deserializer(config.value_deserializer, "value_deserializer"),
        )
        self._connection = Connection(
            config.bootstrap_servers, timeout_ms=config.request_timeout_ms, auto_create=config.allow_auto_create_topics
        )
        self._process = self._connection.process
        try:
            if topics:
                metas = [self._connection.topic(name) for name in topics]
                self.assign([TopicPartition(meta.name, number) for meta in metas for number in range(meta.partitions)])
        except BaseException:
            self.close()
            raise

    # -- flow --------------------------------------------------------------------------------------------------------

    @alone
    def pause(self, *partitions: TopicPartition) -> None:
        """Let `poll` and iteration pass these partitions by until `resume`."""
        for reader in [self._reader(place) for place in partitions]:
            reader.paused = True
        self._note_pauses()

    @alone
    def resume(self, *partitions: TopicPartition) -> None:
        """Read these partitions again."""
        for reader in [self._reader(place) for place in partitions]:
            reader.paused = False
        self._note_pauses()

    @alone
    def paused(self) -> set[TopicPartition]:
        """Return the partitions that are paused."""
        return {reader.key for reader in self._readers if reader.paused}

    def wakeup(self) -> None:
        """End the `poll` under way in another thread, or else the next one, with WakeupError; signal handlers may."""
        self._set_wakeup(self._process)

    # -- the broker --------------------------------------------------------------------------------------------------

    @alone
    def topics(self) -> set[str]:
        """Return the names of the broker's topics."""
        return set(self._connection.topics.names())

    @alone
    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return the numbers of a topic's partitions, None if there is no such topic."""
        try:
            return set(range(self._connection.topics.load(topic).partitions))
        except UnknownTopicOrPartitionError:
            return None

    def bootstrap_connected(self) -> bool:
        """Return True until `close`: a local broker is always there."""
        return self._readers is not None

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return counts since this consumer was made; {} if `metrics_enabled` is off."""
        if not self.config.metrics_enabled or self._readers is None:
            return {}
        return {
            "consumer-metrics": {
                "records-consumed-total": self._received,
                "bytes-consumed-total": self._received_bytes,
                "sleep-total": self._slept,
                "sleep-rescued-total": self._rescued,
                "claims-healed-total": self._healed_before + sum(reader.healed for reader in list(self._readers)),
            }
        }

    def close(self, autocommit: bool = True, timeout_ms: float | None = None) -> None:  # noqa: ARG002  # Kafka's
        """Let go of the partitions and the broker; a second time does nothing.

        Args:
            autocommit: No effect without a group.
            timeout_ms: No effect: nothing is waited for.

        Raises:
            ConcurrentUseError: another thread is inside; `wakeup` it first.
        """
        if self._readers is None:
            return
        if self._is_inherited():
            self._let_go()
        else:
            self._alone(self._let_go)

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Consumer {self._client_id} {self._connection.broker.directory}>"

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _let_go(self) -> None:
        readers = list(self._readers)
        self._shut()
        for reader in readers:
            reader.close()
        self._connection.close()
        close_serdes(self.config.key_deserializer, self.config.value_deserializer)
