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
from shmq.listener import ConsumerRebalanceListener
from shmq.partitioner import DefaultPartitioner, Partitioner, StickyPartitioner
from shmq.producer import Producer
from shmq.serde import Deserializer, Serializer
from shmq.store import temporary_broker
from shmq.types import (
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
    "NewPartitions",
    "NewTopic",
    "OffsetAndMetadata",
    "OffsetAndTimestamp",
    "Partitioner",
    "Producer",
    "RecordMetadata",
    "Serializer",
    "StickyPartitioner",
    "TopicPartition",
    "temporary_broker",
]
