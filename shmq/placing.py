"""Where a record goes: serializers, partitioners and limits, for each way of sending.

Owns: the user's serializers and partitioner, called once per record, and the limits that hold before an append.
Must never: append.
Sits: over the core's ProducerCore; under arrays and producer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shmq import _native
from shmq.config import ProducerConfig
from shmq.connection import Connection
from shmq.errors import MessageSizeTooLargeError
from shmq.partitioner import Cluster, as_partitioner, check_choice
from shmq.serde import Buffer, Header, Serialize, as_buffer, bind_serializer


class Placing(_native.ProducerCore):
    """The part of Producer that is about serializers and partitions."""

    config: ProducerConfig
    _connection: Connection
    _patience_ms: int
    """How long an append waits for room."""

    def _init_placing(self, config: ProducerConfig) -> None:
        self._key_serializer: Serialize | None = bind_serializer(config.key_serializer, "key_serializer")
        self._value_serializer: Serialize | None = bind_serializer(config.value_serializer, "value_serializer")
        self._partitioner = None if config.partitioner is None else as_partitioner(config.partitioner)
        self._batch_bytes: dict[str, int] = {}  # by topic, for partitioners that want to know of new batches

    def _serialized(
        self, topic: str, headers: Sequence[Header], key: Any, value: Any
    ) -> tuple[Buffer | None, Buffer | None]:
        if self._key_serializer is not None:
            key = self._key_serializer(topic, headers, key)
        if self._value_serializer is not None:
            value = self._value_serializer(topic, headers, value)
        return as_buffer(key, topic, "the key"), as_buffer(value, topic, "the value")

    def _pick(
        self,
        handle: _native.Topic,
        key: Any,
        key_bytes: Buffer | None,
        value: Any,
        value_bytes: Buffer | None,
        partition: int | None,
        record_bytes: int,
    ) -> int:
        """Choose the partition of one record."""
        if self._partitioner is None or partition is not None:
            return self._choose(handle, key_bytes, partition, record_bytes)
        partitions = len(handle.appenders)
        cluster = Cluster({handle.name: partitions})
        chosen = self._partitioner.partition(handle.name, key, key_bytes, value, value_bytes, cluster)
        number = check_choice(chosen, handle.name, partitions)
        if key_bytes is None and hasattr(self._partitioner, "on_new_batch"):
            total = self._batch_bytes.get(handle.name, 0) + record_bytes
            if total >= self.config.batch_size:
                self._partitioner.on_new_batch(handle.name, cluster, number)
            self._batch_bytes[handle.name] = 0 if total >= self.config.batch_size else total
        return number

    def _check_sizes(self, handle: _native.Topic, partition: int, sizes: list[int]) -> None:
        """Refuse what is too large before anything is appended."""
        of_topic = handle.appenders[partition].max_message_bytes
        limit, name = min((self.config.max_request_size, "max_request_size"), (of_topic, "max_message_bytes"))
        if max(sizes, default=0) > limit:
            size = next(each for each in sizes if each > limit)
            raise MessageSizeTooLargeError(handle.name, partition, size, limit, name)
