"""shmq: Kafka's log at shared-memory speed inside one host.

Owns: the public names.
Must never: do anything but name them, and say so where the core is missing.
Sits: rightmost; nothing inside the package imports from here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

try:
    from shmq._native import ConsumerRecord
except ImportError as error:
    raise ImportError(
        f"the C core of shmq is not beside its sources in {__path__[0]}: run Python in another directory, if shmq is "
        f"installed, or build it here with `pip install -e .` ({error})"
    ) from None
from shmq.admin import Admin
from shmq.consumer import Consumer
from shmq.listener import ConsumerRebalanceListener
from shmq.partitioner import DefaultPartitioner, Partitioner, StickyPartitioner
from shmq.producer import Producer
from shmq.serde import Deserializer, Serializer
from shmq.store import temporary_broker
from shmq.types import (
    AcknowledgeType,
    BatchMetadata,
    ConfigResource,
    ConfigResourceType,
    ConsumerGroupMetadata,
    NewPartitions,
    NewTopic,
    OffsetAndMetadata,
    OffsetAndTimestamp,
    RecordMetadata,
    TopicPartition,
)

if TYPE_CHECKING:
    from shmq.arrays import ArrayBatch
    from shmq.executor import Executor
    from shmq.pipelines import Join, Latest
    from shmq.queues import JoinableQueue, Queue, ShutDown, SimpleQueue, get_context
    from shmq.share import ShareConsumer

__version__ = "0.1.0"

_LATER = {
    "ArrayBatch": "shmq.arrays",
    "Executor": "shmq.executor",
    "Join": "shmq.pipelines",
    "JoinableQueue": "shmq.queues",
    "Latest": "shmq.pipelines",
    "Queue": "shmq.queues",
    "ShareConsumer": "shmq.share",
    "ShutDown": "shmq.queues",
    "SimpleQueue": "shmq.queues",
    "get_context": "shmq.queues",
}
"""Rooms that many programs do without, the coordinator among them: imported when one of their names is asked for."""

__all__ = [
    "AcknowledgeType",
    "Admin",
    "ArrayBatch",
    "BatchMetadata",
    "ConfigResource",
    "ConfigResourceType",
    "Consumer",
    "ConsumerGroupMetadata",
    "ConsumerRebalanceListener",
    "ConsumerRecord",
    "DefaultPartitioner",
    "Deserializer",
    "Executor",
    "Join",
    "JoinableQueue",
    "Latest",
    "NewPartitions",
    "NewTopic",
    "OffsetAndMetadata",
    "OffsetAndTimestamp",
    "Partitioner",
    "Producer",
    "Queue",
    "RecordMetadata",
    "Serializer",
    "ShareConsumer",
    "ShutDown",
    "SimpleQueue",
    "StickyPartitioner",
    "TopicPartition",
    "get_context",
    "temporary_broker",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _LATER.keys())
