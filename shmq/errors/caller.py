"""Errors by the caller: an option, a name, a size or an offset that cannot be, or a handle used where it must not be.

Owns: their names (kafka-python's where it has one), Kafka's codes and the wording.
Must never: be raised without saying which value, which limit and what to do.
Sits: beside `world`, which holds the errors that are nobody's mistake.
"""

from __future__ import annotations

from .base import IllegalStateError, RetriableError, ShmqError, valued


@valued
class KafkaConfigurationError(ShmqError, ValueError):
    """An option has no such name, or not such a value. `value` is the value as text, "" where it does not matter."""

    option: str
    value: str
    problem: str

    def __str__(self) -> str:
        return f"{self.option}={self.value}: {self.problem}" if self.value else f"{self.option}: {self.problem}"


class InvalidConfigurationError(KafkaConfigurationError):
    """A topic option has no such name, or not such a value."""

    error_code = 40


@valued
class InvalidTopicError(ShmqError, ValueError):
    """A name that no topic can have."""

    error_code = 17
    topic: str
    rule: str

    def __str__(self) -> str:
        shown = self.topic if len(self.topic) <= 60 else self.topic[:57] + "..."
        return f"{shown!r} cannot name a topic: {self.rule}"


@valued
class TopicAlreadyExistsError(ShmqError):
    """A topic of this name exists."""

    error_code = 36
    topic: str

    def __str__(self) -> str:
        return f"topic {self.topic!r} exists; use it, delete it first, or take another name"


@valued
class InvalidPartitionsError(ShmqError, ValueError):
    """A number of partitions that this topic cannot have."""

    error_code = 37
    topic: str
    wanted: int
    rule: str

    def __str__(self) -> str:
        return f"topic {self.topic!r} cannot have {self.wanted} partitions: {self.rule}"


@valued
class InvalidReplicationFactorError(ShmqError, ValueError):
    """More copies of a partition than can be kept."""

    error_code = 38
    topic: str
    wanted: int

    def __str__(self) -> str:
        return (
            f"topic {self.topic!r}: replication_factor {self.wanted} was asked for, 1 is possible: "
            "replicas do not exist yet; use 1 or -1"
        )


@valued
class UnknownTopicOrPartitionError(RetriableError):
    """No such topic, or it has no such partition, or it was deleted. Retriable, as in Kafka: it may be made yet."""

    error_code = 3
    topic: str
    partition: int | None = None
    partitions: int | None = None
    hint: str = ""
    deleted: bool = False

    def __str__(self) -> str:
        if self.deleted:
            where = self.topic if self.partition is None else f"{self.topic}-{self.partition}"
            again = "make it again (readers: assign() or subscribe() again)"
            return f"{where}: the topic was deleted; {again}, or close this handle"
        if self.partitions is not None:
            where = f"{self.topic}-{self.partition}"
            return f"{where} does not exist: the topic has {self.partitions} partitions, counted from 0"
        hint = f"{self.hint} Else" if self.hint else ";"
        return f"topic {self.topic!r} does not exist{hint} create it with `shmq topics create {self.topic}`"


@valued
class MessageSizeTooLargeError(ShmqError):
    """One record is larger than a limit. `limit` is the option that sets it."""

    error_code = 10
    topic: str
    partition: int
    record_bytes: int
    limit_bytes: int
    limit: str = "max_message_bytes"

    def __str__(self) -> str:
        return (
            f"{self.topic}-{self.partition}: a record of {self.record_bytes} bytes, but {self.limit} allows "
            f"{self.limit_bytes}; nothing was appended; split it, or raise {self.limit}"
        )


class RecordListTooLargeError(MessageSizeTooLargeError):
    """One append is larger than a segment can hold."""

    error_code = 18


@valued
class TopicTypeError(ShmqError, TypeError):
    """Something that is not what the items of a topic are, or a call that needs items of a topic that has none.

    `wanted` is what the topic has, `given` what was given, and `advice` what to do, all as text.
    """

    error_code = 87
    topic: str
    wanted: str
    given: str
    advice: str

    def __str__(self) -> str:
        return f"topic {self.topic!r} has {self.wanted}, not {self.given}; {self.advice}"


@valued
class OffsetOutOfRangeError(ShmqError):
    """An offset that the partition no longer has, or does not have yet."""

    error_code = 1
    topic: str
    partition: int
    offset: int
    begin: int
    end: int

    def __str__(self) -> str:
        return (
            f"{self.topic}-{self.partition}: offset {self.offset} is outside {self.begin}..{self.end}; "
            "choose one in that range, or let auto_offset_reset choose 'earliest' or 'latest' when you read"
        )


@valued
class NoOffsetForPartitionError(ShmqError):
    """A partition has no position, and `auto_offset_reset="none"` forbids choosing one."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return (
            f"{self.topic}-{self.partition} has no position and auto_offset_reset is 'none'; "
            "seek() first, or set it to 'earliest' or 'latest'"
        )


@valued
class ClosedError(IllegalStateError):
    """A handle was used after `close()`."""

    what: str

    def __str__(self) -> str:
        return f"{self.what} is closed; make a new one"


@valued
class ForkedError(IllegalStateError):
    """A handle that cannot cross a fork was used in the child."""

    what: str
    pid_made: int
    pid_now: int

    def __str__(self) -> str:
        return f"{self.what} was made in process {self.pid_made} and is used in {self.pid_now}; make one after the fork"


@valued
class ConcurrentUseError(IllegalStateError):
    """Two threads, or a thread and its own signal handler, used one handle at once."""

    what: str
    thread_made: int
    thread_now: int

    def __str__(self) -> str:
        if self.thread_made == self.thread_now:
            return f"{self.what} is in use by this very thread; do not call it from a signal handler or a callback"
        return (
            f"{self.what} is in use by thread {self.thread_made} and was called by thread {self.thread_now}; "
            "give each thread its own (only wakeup() may be called from another)"
        )
