"""Which partition a record goes to.

Owns: murmur2 as Kafka's Java client has it, kafka-python's two partitioners, and calling a user's own one.
Must never: change where a key goes: a topic keeps its keys in their partitions for as long as it lives.
Sits: left of the producer, which asks only when `send` was given no partition.
"""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

Buffer = bytes | bytearray | memoryview

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_UINT32 = 0xFFFFFFFF
_INT32_MAX = 0x7FFFFFFF


def murmur2(data: Buffer) -> int:
    """Return the 32-bit MurmurHash2 of `data` with Kafka's seed, as a number of 0 or more.

    Source: Austin Appleby's MurmurHash2; seed and use as in org.apache.kafka.common.utils.Utils.murmur2.
    """
    view = memoryview(data).cast("B")
    whole = len(view) & ~3
    h = _SEED ^ len(view)
    for pos in range(0, whole, 4):
        k = int.from_bytes(view[pos : pos + 4], "little") * _MULTIPLIER & _UINT32
        k = (k ^ k >> 24) * _MULTIPLIER & _UINT32
        h = (h * _MULTIPLIER & _UINT32) ^ k
    if whole < len(view):
        h = (h ^ int.from_bytes(view[whole:], "little")) * _MULTIPLIER & _UINT32
    h = (h ^ h >> 13) * _MULTIPLIER & _UINT32
    return h ^ h >> 15


def partition_of_key(key: Buffer, partitions: int) -> int:
    """Return the partition of a serialized key among `partitions`, as Kafka's Java client and kafka-python do."""
    return (murmur2(key) & _INT32_MAX) % partitions


class Cluster:
    """What a partitioner may ask: the topics it was told of, and their partitions. All partitions are available.

    Source: the part of kafka-python's ClusterMetadata that partitioners use.
    """

    def __init__(self, partition_counts: Mapping[str, int]) -> None:
        self._partition_counts = dict(partition_counts)

    def topics(self) -> set[str]:
        """Return the names of the topics."""
        return set(self._partition_counts)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return the numbers of a topic's partitions, None if there is no such topic."""
        count = self._partition_counts.get(topic)
        return None if count is None else set(range(count))

    def available_partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return the same: a partition of a local broker is always there."""
        return self.partitions_for_topic(topic)


class Partitioner(ABC):
    """Base of partitioners; the signature is kafka-python's."""

    @abstractmethod
    def partition(
        self, topic: str, key: Any, serialized_key: Buffer | None, value: Any, serialized_value: Any, cluster: Cluster
    ) -> int:
        """Return the partition of a record.

        Args:
            topic: Its topic.
            key: Its key as `send` was given it; `serialized_key` as bytes. None without one.
            value: Its value as `send` was given it; `serialized_value` as bytes.
            cluster: The partitions there are.

        Raises:
            ValueError: `cluster` does not know the topic.
        """


class DefaultPartitioner(Partitioner):
    """By murmur2 of the key; without a key, any partition at random. Source: kafka-python's class of this name."""

    def partition(
        self,
        topic: str,
        key: Any,  # noqa: ARG002  # the signature is kafka-python's
        serialized_key: Buffer | None,
        value: Any,  # noqa: ARG002
        serialized_value: Any,  # noqa: ARG002
        cluster: Cluster,
    ) -> int:
        """Return the partition; see `Partitioner.partition`."""
        count = _partition_count(topic, cluster)
        return random.randrange(count) if serialized_key is None else partition_of_key(serialized_key, count)


class StickyPartitioner(DefaultPartitioner):
    """By murmur2 of the key; without a key, one partition per topic until `on_new_batch` moves on. Thread-safe.

    Source: KIP-480, and kafka-python's class of this name.
    """

    def __init__(self) -> None:
        self._current: dict[str, int] = {}
        self._lock = threading.Lock()

    def partition(
        self,
        topic: str,
        key: Any,  # noqa: ARG002  # the signature is kafka-python's
        serialized_key: Buffer | None,
        value: Any,  # noqa: ARG002
        serialized_value: Any,  # noqa: ARG002
        cluster: Cluster,
    ) -> int:
        """Return the partition; see `Partitioner.partition`."""
        count = _partition_count(topic, cluster)
        if serialized_key is not None:
            return partition_of_key(serialized_key, count)
        with self._lock:
            if topic not in self._current:
                self._current[topic] = random.randrange(count)
            return self._current[topic]

    def on_new_batch(self, topic: str, cluster: Cluster, prev_partition: int) -> None:
        """Move records without a key on to another partition, unless another thread has moved them already."""
        count = _partition_count(topic, cluster)
        with self._lock:
            if self._current.get(topic) == prev_partition and count > 1:
                self._current[topic] = (prev_partition + random.randrange(1, count)) % count


class CallablePartitioner(Partitioner):
    """A function `f(key_bytes, all_partitions, available_partitions)`, as kafka-python before 3 took."""

    def __init__(self, function: Callable[[Buffer | None, list[int], list[int]], int]) -> None:
        self._function = function

    def partition(
        self,
        topic: str,
        key: Any,  # noqa: ARG002  # the signature is kafka-python's
        serialized_key: Buffer | None,
        value: Any,  # noqa: ARG002
        serialized_value: Any,  # noqa: ARG002
        cluster: Cluster,
    ) -> int:
        """Return what the function returns."""
        partitions = list(range(_partition_count(topic, cluster)))
        return self._function(serialized_key, partitions, list(partitions))


def as_partitioner(configured: Any) -> Any:
    """Return an object with `Partitioner.partition` for what the `partitioner` option may be.

    Args:
        configured: None (a new `StickyPartitioner`), an object with such a method (itself), or a function of
            (key_bytes, all_partitions, available_partitions).
    """
    if configured is None:
        return StickyPartitioner()
    if callable(getattr(configured, "partition", None)):
        return configured
    return CallablePartitioner(configured)


def check_choice(chosen: object, topic: str, partitions: int) -> int:
    """Return what a user's partitioner chose. Raises: ValueError: it is no partition of the topic."""
    if isinstance(chosen, bool) or not hasattr(chosen, "__index__"):
        raise ValueError(f"the partitioner chose {chosen!r} for topic {topic!r}; it must return a partition's number")
    number = int(chosen.__index__())
    if not 0 <= number < partitions:
        raise ValueError(
            f"the partitioner chose {number} for topic {topic!r}, which has partitions 0..{partitions - 1}"
        )
    return number


def _partition_count(topic: str, cluster: Cluster) -> int:
    partitions = cluster.partitions_for_topic(topic)
    if partitions is None:
        raise ValueError(f"topic {topic!r} is not among those of the cluster: {sorted(cluster.topics())}")
    return len(partitions)
