"""The life of topics: created, found, changed and deleted, each in one step that a death cannot split.

Owns: what may be done to a topic, and when it is refused.
Must never: change anything without the administrators' lock, or look into control and segment files.
Sits: in store, over `steps`, which does what is decided here; clients ask it where a topic lies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from shmq import _native
from shmq.config import TopicConfig, did_you_mean
from shmq.errors import (
    CorruptRecordError,
    InvalidPartitionsError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    UnsupportedVersionError,
)

from . import files
from .broker import DEFAULT_TIMEOUT_MS, Broker
from .meta import TopicMeta, read_meta, topic_id_text
from .names import check_topic_name
from .steps import TopicSteps

MAX_PARTITIONS = 10_000

_log = logging.getLogger(__name__)


class Topics:
    """The topics of one broker. Holds nothing open and remembers nothing; safe from any thread."""

    def __init__(self, broker: Broker, timeout_ms: float = DEFAULT_TIMEOUT_MS) -> None:
        self._broker = broker
        self._timeout_ms = timeout_ms
        self._steps = TopicSteps(broker)

    def names(self) -> list[str]:
        """Return the topics there are, sorted."""
        with files.storage_errors(self._broker.topics_directory, "cannot be listed"):
            return sorted(os.listdir(self._broker.topics_directory))

    def stamps(self) -> list[tuple[str, int]]:
        """Return the topics there are, each with a number that changes when it is altered or made anew."""
        stamps = []
        for name in self.names():
            with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                stamps.append((name, os.stat(os.path.join(self._steps.directory(name), "meta.json")).st_mtime_ns))
        return stamps

    def load(self, name: str) -> TopicMeta:
        """Return a topic. One in memory whose part of /dev/shm is gone, as after a reboot, is made anew, empty.

        Raises:
            InvalidTopicError: no topic can have this name.
            UnknownTopicOrPartitionError: there is none; the message has the nearest name.
            CorruptRecordError, UnsupportedVersionError: its meta.json is damaged or newer than this code.
        """
        meta = self.find(name)
        if meta.in_memory and not os.path.isdir(meta.directory):
            with self._administration():
                return self._found_with_memory(name)
        return meta

    def find(self, name: str) -> TopicMeta:
        """Return what a topic's meta.json says, without looking after its partitions. Errors: `load`."""
        check_topic_name(name)
        meta = read_meta(self._steps.directory(name), self._broker.memory_directory)
        if meta is None:
            raise UnknownTopicOrPartitionError(name, hint=did_you_mean(name, self.names()))
        return meta

    def load_or_create(self, name: str) -> TopicMeta:
        """Return a topic, made with one partition and default options if there was none. Errors: `load`, `create`."""
        try:
            return self.load(name)
        except UnknownTopicOrPartitionError:
            with contextlib.suppress(TopicAlreadyExistsError):  # another process was faster
                return self.create(name, 1, TopicConfig.parse({}))
            return self.load(name)

    def create(self, name: str, partitions: int, config: TopicConfig, *, validate_only: bool = False) -> TopicMeta:
        """Create a topic.

        Args:
            name: See `names.check_topic_name`.
            partitions: 1 or more.
            config: Its options.
            validate_only: Check everything and create nothing.

        Raises:
            InvalidTopicError, InvalidPartitionsError: it cannot be so.
            TopicAlreadyExistsError: there is one.
            StorageError, StorageFullError: it could not be created; nothing is left of it.
        """
        check_topic_name(name)
        _check_partitions(name, partitions)
        with self._administration():
            if os.path.lexists(self._steps.directory(name)):
                raise TopicAlreadyExistsError(name)
            topic_id = secrets.randbits(64) or 1
            directory = self._steps.directory(name)
            if config.storage == "memory":
                directory = os.path.join(self._broker.memory_directory, topic_id_text(topic_id))
            meta = TopicMeta(name, topic_id, partitions, config, config.ring_slots, _now_ms(), directory)
            if not validate_only:
                self._steps.create(meta)
            return meta

    def delete(self, name: str) -> int | None:
        """Delete a topic with all its records; processes that use it get UnknownTopicOrPartitionError.

        Returns:
            Its id; None if its meta.json was too damaged to tell.

        Raises:
            UnknownTopicOrPartitionError: there is none.
        """
        check_topic_name(name)
        with self._administration():
            topic_id = None
            try:
                topic_id = self.find(name).topic_id
            except (CorruptRecordError, UnsupportedVersionError) as damage:
                _log.warning("deleting %s all the same: %s", name, damage)
            self._steps.delete(name, topic_id or secrets.randbits(64))
            return topic_id

    def add_partitions(self, name: str, total: int, *, validate_only: bool = False) -> TopicMeta:
        """Give a topic more partitions, `total` in all. Keys that hash to a new one move there, as in Kafka.

        Raises:
            InvalidPartitionsError: `total` is not more than there are.
            UnknownTopicOrPartitionError: there is no such topic.
            StorageError, StorageFullError: they could not be created; the topic is as before.
        """
        with self._administration():
            before = self._found_with_memory(name)
            _check_partitions(name, total)
            if total <= before.partitions:
                raise InvalidPartitionsError(name, total, f"it has {before.partitions}; only more are possible")
            after = replace(before, partitions=total)
            if not validate_only:
                self._steps.add_partitions(before, after)
            return after

    def alter(
        self, name: str, changes: Mapping[str, object], reset: Collection[str] = (), *, validate_only: bool = False
    ) -> TopicMeta:
        """Change a topic's options; processes that use it go by the new ones from their next segment or append on.

        Args:
            name: The topic.
            changes: See `TopicConfig.parse`.
            reset: Options that shall follow their defaults again.
            validate_only: Check everything and change nothing.

        Raises:
            InvalidConfigurationError: they cannot be so.
            UnknownTopicOrPartitionError: there is no such topic.
            CorruptSegmentError: a partition is damaged; nothing was changed.
        """
        with self._administration():
            before = self._found_with_memory(name)
            after = replace(before, config=before.config.altered(changes, reset, before.ring_slots))
            if not validate_only:
                self._steps.alter(after)
            return after

    def recover(self) -> list[str]:
        """Finish what dead administrators had begun, and return what was found. Every operation does this first."""
        with self._broker.administration(self._timeout_ms):
            return self._steps.recover()

    def opened(
        self, meta: TopicMeta, numbers: Iterable[int] | None = None
    ) -> contextlib.AbstractContextManager[list[_native.Partition]]:
        """Open a topic's partitions, all by default, for a while. Raises: what the native core finds wrong with one."""
        return self._steps.opened(meta, numbers)

    def _found_with_memory(self, name: str) -> TopicMeta:
        """With the lock held: return a topic, whose part of /dev/shm is made if it is missing."""
        meta = self.find(name)
        if meta.in_memory and not os.path.isdir(meta.directory):
            self._steps.create_in_memory(meta)
        return meta

    @contextlib.contextmanager
    def _administration(self) -> Iterator[None]:
        with self._broker.administration(self._timeout_ms):
            self._steps.recover()
            yield


def _check_partitions(name: str, wanted: object) -> None:
    if isinstance(wanted, bool) or not isinstance(wanted, int):
        raise TypeError(f"topic {name!r}: the number of partitions must be int, not {type(wanted).__name__}")
    if not 1 <= wanted <= MAX_PARTITIONS:
        raise InvalidPartitionsError(name, wanted, f"1..{MAX_PARTITIONS} is allowed")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
