"""Consumer: reads the records of partitions, its own or those that its group gave it.

Owns: options, pausing, waking up, what the broker has, and closing.
Must never: be used by two threads at once (only `wakeup` may come from another), or cross a fork.
Sits: over subscription and arrays. Source: KafkaConsumer of kafka-python.
"""

from __future__ import annotations

import itertools
import math
from types import TracebackType
from typing import Any

from shmq import _native
from shmq.arrays.reading import ArrayReading
from shmq.config import ConsumerConfig, checked_timeout_ms
from shmq.connection import Connection
from shmq.errors import IllegalStateError, UnknownTopicOrPartitionError
from shmq.positions import alone
from shmq.serde import bind_deserializer, close_serdes
from shmq.types import TopicPartition

_LEAVE_MS = 5000
_numbers = itertools.count(1)


class Consumer(ArrayReading):
    """Reads records.

    Args:
        *topics: Topics to `subscribe` to; none to `subscribe` or `assign` later.
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
        self._wanted, self._item_types = {}, {}
        self._deserialize_key = bind_deserializer(config.key_deserializer, "key_deserializer")
        super().__init__(
            max_poll_records=config.max_poll_records,
            fetch_min_bytes=config.fetch_min_bytes,
            fetch_max_wait_ms=math.ceil(config.fetch_max_wait_ms),
            fetch_max_bytes=max(1, config.fetch_max_bytes),
            max_partition_fetch_bytes=max(1, config.max_partition_fetch_bytes),
            spin_us=int(config.spin_us),
            iteration_timeout_ms=config.consumer_timeout_ms,
            key_deserializer=self._deserialize_key,
            value_deserializer=bind_deserializer(config.value_deserializer, "value_deserializer"),
        )
        self._connection = Connection(
            config.bootstrap_servers, timeout_ms=config.request_timeout_ms, auto_create=config.allow_auto_create_topics
        )
        self._process = self._connection.process
        self._values_in_place = config.values == "memoryview"
        if "max_pinned_bytes" in configs:
            _native.set_kept_limit(config.max_pinned_bytes)
        try:
            self._init_group()
            if topics:
                self.subscribe(topics)
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
        """Return counts since this consumer was made; {} if `metrics_enabled` is off.

        `kept-segments` and `kept-bytes` are of now and of the whole process: what its views keep from being reused.
        """
        if not self.config.metrics_enabled or self._readers is None:
            return {}
        kept_segments, kept_bytes = _native.kept()
        return {
            "consumer-metrics": {
                "records-consumed-total": self._received,
                "bytes-consumed-total": self._received_bytes,
                "sleep-total": self._slept,
                "sleep-rescued-total": self._rescued,
                "claims-healed-total": self._healed_before + sum(reader.healed for reader in list(self._readers)),
                "kept-segments": kept_segments,
                "kept-bytes": kept_bytes,
            }
        }

    def close(self, autocommit: bool = True, timeout_ms: float | None = None) -> None:
        """Commit, leave the group, and let go of the partitions and the broker; a second time does nothing.

        Args:
            autocommit: False: do not commit, even if `enable_auto_commit` says so.
            timeout_ms: Longest wait for the coordinator to take note; None: 5 seconds. It learns of it anyway.

        Raises:
            ConcurrentUseError: another thread is inside, or this is a signal handler in the middle of a call; call
                `wakeup` instead, and close when the call has ended.
            IllegalStateError: this is a rebalance listener.
        """
        if self._readers is None:
            return
        timeout_s = checked_timeout_ms(_LEAVE_MS if timeout_ms is None else timeout_ms) / 1000
        if self._is_inherited():
            self._abandon_group()
            self._let_go()
        else:
            self._alone(self._end, autocommit, timeout_s)

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Consumer {self._client_id} {self._connection.broker.directory}>"

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _end(self, autocommit: bool, timeout_s: float) -> None:
        if self._rebalancing:
            raise IllegalStateError("close() from a rebalance listener; close when poll() has returned")
        try:
            self._leave(autocommit=autocommit, timeout_s=timeout_s)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        readers = list(self._readers)
        self._shut()
        for reader in readers:
            reader.close()
        self._close_group()
        self._connection.close()
        close_serdes(self.config.key_deserializer, self.config.value_deserializer)
