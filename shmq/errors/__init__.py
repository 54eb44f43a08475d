"""Every error that shmq raises about the state of the world.

Owns: the public list of names; kafka-python's where it has one, so that `except` clauses move with the code.
Must never: hold logic; see `base` for what an error is.
Sits: leftmost of the Python rooms.
"""

from __future__ import annotations

from .base import (
    IllegalArgumentError,
    IllegalStateError,
    InternalError,
    KafkaError,
    KafkaTimeoutError,
    RetriableError,
    ShmqError,
    WakeupError,
)
from .caller import (
    ClosedError,
    ConcurrentUseError,
    ForkedError,
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    KafkaConfigurationError,
    MessageSizeTooLargeError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RecordListTooLargeError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from .native import from_native
from .world import (
    AppendAbortedError,
    BrokerNotFoundError,
    BufferFullError,
    CorruptRecordError,
    CorruptSegmentError,
    NotABrokerError,
    StorageError,
    StorageFullError,
    TooManyProcessesError,
    TooManyReadersError,
    UnsupportedVersionError,
)

__all__ = [
    "AppendAbortedError",
    "BrokerNotFoundError",
    "BufferFullError",
    "ClosedError",
    "ConcurrentUseError",
    "CorruptRecordError",
    "CorruptSegmentError",
    "ForkedError",
    "IllegalArgumentError",
    "IllegalStateError",
    "InternalError",
    "InvalidConfigurationError",
    "InvalidPartitionsError",
    "InvalidReplicationFactorError",
    "InvalidTopicError",
    "KafkaConfigurationError",
    "KafkaError",
    "KafkaTimeoutError",
    "MessageSizeTooLargeError",
    "NoOffsetForPartitionError",
    "NotABrokerError",
    "OffsetOutOfRangeError",
    "RecordListTooLargeError",
    "RetriableError",
    "ShmqError",
    "StorageError",
    "StorageFullError",
    "TooManyProcessesError",
    "TooManyReadersError",
    "TopicAlreadyExistsError",
    "UnknownTopicOrPartitionError",
    "UnsupportedVersionError",
    "WakeupError",
    "from_native",
]
