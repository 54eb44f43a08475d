"""shmq: Kafka's log at shared-memory speed inside one host.

Owns: the public names.
Must never: do anything but name them, and say so where the core is missing.
Sits: rightmost; nothing inside the package imports from here.
"""

from __future__ import annotations

try:
    from shmq._native import ConsumerRecord
except ImportError as error:
    raise ImportError(
        f"the C core of shmq is not beside its sources in {__path__[0]}: run Python in another directory, if shmq is "
        f"installed, or build it here with `pip install -e .` ({error})"
    ) from None
from shmq.admin import Admin
from shmq.consumer import Consumer
from shmq.executor import Executor
from shmq.listener import ConsumerRebalanceListener
from shmq.partitioner import DefaultPartitioner, Partitioner, StickyPartitioner
from shmq.producer import Producer
from shmq.queues import JoinableQueue, Queue, ShutDown, SimpleQueue, get_context
from shmq.serde import Deserializer, Serializer
from shmq.share import ShareConsumer
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

__version__ = "0.1.0"

__all__ = [
    "AcknowledgeType",
    "Admin",
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
    "JoinableQueue",
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
