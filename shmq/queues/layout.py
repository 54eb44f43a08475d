"""How a queue lies on the log: one topic with one partition, a window that says what is taken, a group's hold, words.

Owns: making what of these is missing, finding them again, and removing them.
Must never: change what is there to fit what is asked for; it says that it does not fit.
Sits: in queues, over the store; `places` says in which broker.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from shmq import _native
from shmq.config import TopicConfig
from shmq.connection import Connection
from shmq.errors import (
    IllegalStateError,
    InvalidConfigurationError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from shmq.store import QUEUE, Broker, Group, Groups, TopicMeta, Topics, doorbells

from .words import make_words

GROUP = "shmq-queues"
"""The group whose windows are those of the queues of a broker."""
RECORDS, CURSOR = 0, 1  # kinds of windows
SEGMENT_BYTES = 1 << 20
MIN_BYTES = 4 * 65536
"""Least `max_bytes`: a ring of some segments."""

_UNIT_BYTES = 65536
_MOST_SEGMENTS = 16_000
_MOST_ITEMS = (1 << 47) - 1


@dataclass(frozen=True)
class Shape:
    """What a queue is made with.

    Attributes:
        maxsize: Most items that are not taken; 0 is no limit.
        redeliver: Whether an item is given again when its taker dies.
        max_bytes: Most bytes of items that are not taken; None: what /dev/shm has.
    """

    maxsize: int = 0
    redeliver: bool = False
    max_bytes: int | None = None

    @classmethod
    def checked(cls, maxsize: object, redeliver: object, max_bytes: object) -> Shape:
        """Return what was asked for. Raises: TypeError, ValueError: it cannot be."""
        if not hasattr(maxsize, "__index__"):
            raise TypeError(f"maxsize must be int, not {type(maxsize).__name__}")
        if max_bytes is not None:
            if isinstance(max_bytes, bool) or not hasattr(max_bytes, "__index__"):
                raise TypeError(f"max_bytes must be int or None, not {type(max_bytes).__name__}")
            max_bytes = int(max_bytes)
            if max_bytes < MIN_BYTES:
                raise ValueError(f"max_bytes={max_bytes}: a queue needs at least {MIN_BYTES} bytes")
        return cls(max(0, min(int(maxsize), _MOST_ITEMS)), bool(redeliver), max_bytes)

    def topic_config(self) -> TopicConfig:
        """Return the options of the topic that such a queue lies in."""
        total = self.max_bytes or _shared_memory_bytes()
        smallest = -(-total // _MOST_SEGMENTS // _UNIT_BYTES) * _UNIT_BYTES  # a ring has a number of places
        segment_bytes = max(min(SEGMENT_BYTES, total // 4), smallest) // _UNIT_BYTES * _UNIT_BYTES
        return TopicConfig.parse(
            {
                "storage": "memory",
                "retention": "consumed",
                "segment_bytes": segment_bytes,
                "retention_bytes": max(total // segment_bytes, 2) * segment_bytes,
            }
        )


@dataclass(frozen=True)
class Layout:
    """A queue that lies there."""

    meta: TopicMeta
    group: Group

    @property
    def window_path(self) -> str:
        """The window's file."""
        return self.group.window_path(self.meta, 0)

    @property
    def words_path(self) -> str:
        """The file of `Words`."""
        return os.path.join(self.meta.directory, "queue.words")

    @property
    def blobs_directory(self) -> str:
        """Where items lie that are too large for the log."""
        return os.path.join(self.meta.directory, "blobs")

    def window(self) -> _native.Window:
        """Map the window anew. Raises: FileNotFoundError: there is none; CorruptSegmentError, StorageError."""
        return _native.Window(self.window_path, self.meta.topic_id, 0)


def lay_out(connection: Connection, topic: str, shape: Shape) -> Layout:
    """Find a queue, and make what of it is missing.

    Raises:
        IllegalStateError: the topic is there and is no queue's, or a queue of another shape.
        InvalidTopicError: no topic can have this name.
        StorageError, StorageFullError: it cannot be made.
    """
    meta = _topic(connection.topics, topic, shape)
    if meta.config.retention != "consumed" or meta.partitions != 1:
        raise IllegalStateError(
            f"topic {topic!r} has retention={meta.config.retention!r} and {meta.partitions} partitions; a queue needs "
            "'consumed' and 1: take another name"
        )
    layout = Layout(meta, Groups(connection.broker).make(GROUP, QUEUE))
    if not (os.path.exists(layout.window_path) and os.path.exists(layout.words_path)):
        with connection.broker.administration():
            _complete(connection, layout, shape)
    return layout


def remove(broker: Broker, topic: str, timeout_ms: float) -> None:
    """Delete a queue with everything in it. Errors: `Topics.delete`."""
    topics = Topics(broker, timeout_ms)
    meta = topics.find(topic)
    topics.delete(topic)  # window, words and blobs lie beside its partition, in memory
    doorbells.unlink(bell_name(broker, meta))


def bell_name(broker: Broker, meta: TopicMeta) -> str:
    """Return the name of the semaphore for those in join(); it goes with the broker's doorbells at the latest."""
    return f"/shmq-{broker.identity.instance}-join-{meta.topic_id:016x}"


def _topic(topics: Topics, topic: str, shape: Shape) -> TopicMeta:
    try:
        return topics.load(topic)
    except UnknownTopicOrPartitionError:
        with contextlib.suppress(TopicAlreadyExistsError):  # another process was faster
            return topics.create(topic, 1, shape.topic_config())
        return topics.load(topic)


def _complete(connection: Connection, layout: Layout, shape: Shape) -> None:
    """With the administrators' lock: first the hold, so that nothing goes before somebody could take it."""
    partition = connection.partition(layout.meta, 0)
    begin = partition.offsets()[0]
    if layout.group.number not in partition.holds():
        partition.hold(layout.group.number, begin)
    kind = RECORDS if shape.redeliver else CURSOR
    _native.create_window(layout.window_path, layout.meta.topic_id, 0, begin, kind, max_items=shape.maxsize)
    os.makedirs(layout.blobs_directory, mode=0o700, exist_ok=True)
    make_words(layout.words_path)


def check_shape(topic: str, window: _native.Window, shape: Shape) -> None:
    """Refuse a queue that is there and was made otherwise. Raises: InvalidConfigurationError."""
    if shape.maxsize and shape.maxsize != window.max_items:
        problem = f"queue {topic!r} was made with {window.max_items}; give that, or leave it out"
        raise InvalidConfigurationError("maxsize", str(shape.maxsize), problem)
    if shape.redeliver and window.kind != RECORDS:
        raise InvalidConfigurationError("redeliver", "True", f"queue {topic!r} was made without; leave it out")


def _shared_memory_bytes() -> int:
    status = os.statvfs("/dev/shm")
    return max(MIN_BYTES, status.f_blocks * status.f_frsize)
