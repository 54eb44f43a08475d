"""The plain values that go in and out of the public API.

Owns: their fields, in kafka-python's order and with its defaults, so that code which unpacks them moves unchanged.
Must never: hold behaviour beyond checking and naming. `ConsumerRecord` is a C type of the native core.
Sits: left of config and everything that does something.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class OffsetAndMetadata(NamedTuple):
    """A position to commit: `offset` is the next record to read; `metadata` is the user's own note."""

    offset: int | None = None
    metadata: str = ""
    leader_epoch: int | None = -1


class OffsetAndTimestamp(NamedTuple):
    """The first record at or after a time: its offset and its own timestamp in milliseconds since 1970."""

    offset: int
    timestamp: int
    leader_epoch: int | None = None


class ConsumerGroupMetadata(NamedTuple):
    """What a group knows a consumer as. `state` is "unjoined", "joining" or "stable"."""

    group_id: str | None
    generation_id: int = -1
    member_id: str = ""
    group_instance_id: str | None = None
    state: str = "unjoined"


class RecordMetadata(NamedTuple):
    """Where one record went. Sizes are in bytes, -1 for what was None; `timestamp` is in milliseconds since 1970."""

    topic: str
    partition: int
    topic_partition: TopicPartition
    offset: int
    timestamp: int
    checksum: int | None
    serialized_key_size: int
    serialized_value_size: int
    serialized_header_size: int


class BatchMetadata(NamedTuple):
    """Where one claim of `Producer.send_many` went: offsets `base_offset` up to, without, `base_offset + count`."""

    topic: str
    partition: int
    base_offset: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody asks of a record of fields
    timestamp: int


class NewTopic:
    """A topic to create.

    Args:
        name: 1 to 249 of `a-z A-Z 0-9 . _ -`.
        num_partitions: 1 or more; -1 takes the default, 1.
        replication_factor: 1 or -1; more needs replicas, which do not exist yet.
        replica_assignments: Broker numbers by partition; only broker 0 exists here.
        topic_configs: Topic options, under Kafka's dotted or our underscore names.

    Source: NewTopic of kafka-python.
    """

    def __init__(
        self,
        name: str,
        num_partitions: int = -1,
        replication_factor: int = -1,
        replica_assignments: Mapping[int, Sequence[int]] | None = None,
        topic_configs: Mapping[str, object] | None = None,
    ) -> None:
        self.name = name
        self.num_partitions = num_partitions
        self.replication_factor = replication_factor
        self.replica_assignments = dict(replica_assignments or {})
        self.topic_configs = dict(topic_configs or {})


class NewPartitions:
    """How many partitions a topic shall have in all. Source: NewPartitions of kafka-python."""

    def __init__(self, total_count: int, new_assignments: Sequence[Sequence[int]] | None = None) -> None:
        self.total_count = total_count
        self.new_assignments = new_assignments


class AcknowledgeType(IntEnum):
    """What becomes of a record that a share consumer was given, by Kafka's number.

    ACCEPT: it was processed, and is done. RELEASE: it could not be processed now; another delivery, perhaps to another
    consumer. REJECT: it cannot be processed at all. RENEW: it is still being processed; its lock begins anew.
    """

    ACCEPT = 1
    RELEASE = 2
    REJECT = 3
    RENEW = 4


class ConfigResourceType(IntEnum):
    """What a configuration belongs to, by Kafka's number. Only topics have one here."""

    UNKNOWN = 0
    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


class ConfigResource:
    """A thing whose options are to be read or changed.

    Args:
        resource_type: A `ConfigResourceType`, or its name in any case: "topic".
        name: The topic's name.
        configs: Option names to read, None for all; or values by name to set.

    Raises:
        ValueError: there is no such resource type.

    Source: ConfigResource of kafka-python.
    """

    def __init__(
        self,
        resource_type: ConfigResourceType | str,
        name: str,
        configs: Mapping[str, object] | Iterable[str] | None = None,
    ) -> None:
        if isinstance(resource_type, str):
            known = ConfigResourceType.__members__
            if resource_type.upper() not in known:
                raise ValueError(f"resource_type {resource_type!r}: no such type; one of {', '.join(known)}")
            resource_type = known[resource_type.upper()]
        self.resource_type = ConfigResourceType(resource_type)
        self.name = name
        self.configs = configs

    def __repr__(self) -> str:
        return f"ConfigResource({self.resource_type.name}, {self.name!r}, {self.configs!r})"


class AlterConfigOp(IntEnum):
    """What to do with an option: set it, or DELETE it, which brings its default back."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


class ConfigFilterType(IntEnum):
    """Which options `Admin.describe_configs` shows."""

    ALL = 0
    DYNAMIC = 1
    MODIFIED = 2
    DEFAULT = 3
    STATIC = 4
