"""The partitions that a share consumer reads: all of its topics', each through the group's window.

Owns: subscribing, being a member, noticing new topics and partitions, letting go of what is read no longer.
Must never: wait for another member: whoever comes first makes a window, under the administrators' lock.
Sits: over connection, store and the core's ConsumerCore; under `settling`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from shmq import _native
from shmq.config import ShareConsumerConfig
from shmq.connection import Connection
from shmq.errors import IllegalArgumentError, ShmqError, UnknownTopicOrPartitionError
from shmq.positions import alone
from shmq.share.held import Held
from shmq.store import Group, Shares, TopicMeta
from shmq.store.names import check_topic_name
from shmq.types import TopicPartition

_log = logging.getLogger(__name__)

_LOOK_EVERY_NS = 1_000_000_000


class SharePlaces(_native.ConsumerCore):
    """The part of ShareConsumer that is about topics and partitions."""

    config: ShareConsumerConfig
    _connection: Connection
    _process: _native.Process
    _client_id: str
    _held: dict[TopicPartition, Held]
    _busy: dict[TopicPartition, Held]
    """Those of them that have records."""
    _group: Group | None = None
    _topics: tuple[str, ...] = ()
    _member = ""
    """The path of this member's file; "" if it is none."""
    _topic_ids: dict[str, int]
    _stamps: tuple[tuple[str, int], ...] = ()
    _look_at_ns = 0

    # -- subscribing --------------------------------------------------------------------------------------------------

    @alone
    def subscribe(self, topics: Iterable[str]) -> None:
        """Read all partitions of these topics, together with the other members of the group, and no others.

        What was acknowledged of other topics is settled, the rest of it released. Partitions that come later are
        noticed within a second; so is a topic that was deleted and made again.

        Raises:
            InconsistentGroupProtocolError: the group's name is a consumer group's.
            UnknownTopicOrPartitionError: a topic does not exist and may not be created; nothing was changed.
            IllegalArgumentError: no topics, or the dead-letter topic, whose records would come back for ever.
        """
        names = self._checked_topics(topics)
        metas = [self._connection.topic(name) for name in names]
        group, member = self._shares().join(self.config.group_id, self._process, self._client_id, names)
        try:
            fresh = self._open_missing(group, metas)
        except BaseException:
            self._shares().leave(member)
            raise
        before, self._member, self._group, self._topics = self._member, member, group, names
        if before:
            self._shares().leave(before)
        self._part_with([key for key in self._held if key.topic not in names])
        self._add(fresh, metas)
        self._stamps = ()
        self._look_at_ns = time.monotonic_ns() + _LOOK_EVERY_NS
        self._attention_at_ns = 1  # at once: something may be acknowledged of what was polled before

    @alone
    def subscription(self) -> set[str]:
        """Return the names of the topics that this consumer reads."""
        return set(self._topics)

    @alone
    def unsubscribe(self) -> None:
        """Settle what was acknowledged, release the rest, and be a member of the group no longer."""
        self._end_subscription()

    # -- called by the core -------------------------------------------------------------------------------------------

    def _on_deleted(self, reader: _native.Reader) -> None:
        """Its topic is gone: say so once. If it is made again, it is read again."""
        key = reader.key
        self._forget(key)
        self._stamps = ()
        raise UnknownTopicOrPartitionError(*key, deleted=True)

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _shares(self) -> Shares:
        return Shares(self._connection.broker, self.config.request_timeout_ms)

    def _checked_topics(self, topics: Iterable[str]) -> tuple[str, ...]:
        if isinstance(topics, str) or not isinstance(topics, Iterable):
            raise TypeError(f"topics must be a list of names, not {topics!r}")
        names = tuple(dict.fromkeys(map(check_topic_name, topics)))
        if not names:
            raise IllegalArgumentError("subscribe to at least one topic; unsubscribe() for none")
        if self.config.dead_letter_topic in names:
            raise IllegalArgumentError(
                f"{self.config.dead_letter_topic!r} is this consumer's dead_letter_topic, too: what it gives up would "
                "come back for ever; name another"
            )
        return names

    def _open_missing(self, group: Group, metas: Iterable[TopicMeta]) -> dict[TopicPartition, Held]:
        """Open the partitions of these topics that are not open yet, or are another topic's of the same name."""
        fresh: dict[TopicPartition, Held] = {}
        try:
            for meta in metas:
                known = self._topic_ids.get(meta.name) == meta.topic_id
                for number in range(meta.partitions):
                    key = TopicPartition(meta.name, number)
                    if not known or key not in self._held:
                        fresh[key] = self._open(group, meta, key)
        except BaseException:
            for held in fresh.values():
                held.reader.close()
            raise
        return fresh

    def _open(self, group: Group, meta: TopicMeta, key: TopicPartition) -> Held:
        number = key.partition
        window = self._shares().window(group, meta, number, self._process, self.config.auto_offset_reset)
        reader = _native.Reader(self._connection.partition(meta, number), key, self.config.check_crcs)
        try:
            reader.share(window, group.number)
        except BaseException:
            reader.close()
            raise
        return Held(reader)

    def _add(self, fresh: dict[TopicPartition, Held], metas: Iterable[TopicMeta]) -> None:
        for key in fresh.keys() & self._held.keys():  # a topic of the same name that was deleted
            self._forget(key)
        self._held.update(fresh)
        self._readers.extend(held.reader for held in fresh.values())
        self._topic_ids |= {meta.name: meta.topic_id for meta in metas}

    def _forget(self, key: TopicPartition) -> None:
        self._busy.pop(key, None)
        held = self._held.pop(key, None)
        if held is not None:
            self._drop(held.reader)
            self._readers.remove(held.reader)
            held.reader.close()

    def _part_with(self, keys: Iterable[TopicPartition]) -> None:
        """Let go of partitions: settle what was said of their records, and release the others."""
        raise NotImplementedError

    def _end_subscription(self) -> None:
        try:
            self._part_with(list(self._held))
        finally:
            self._topics, self._topic_ids, self._look_at_ns = (), {}, 0
            member, self._member = self._member, ""
            if member:
                self._shares().leave(member)

    def _look_around(self) -> None:
        """Read partitions that are new, too."""
        self._look_at_ns = time.monotonic_ns() + _LOOK_EVERY_NS
        if self._group is None:
            return
        try:
            stamps = tuple(each for each in self._connection.topics.stamps() if each[0] in self._topics)
            if stamps != self._stamps:
                metas = [self._connection.topics.load(name) for name, _ in stamps]
                self._add(self._open_missing(self._group, metas), metas)
                self._stamps = stamps
        except ShmqError as error:  # deleted just now, or no room for a window: again in a second
            _log.warning("share group %r: looking for new partitions: %s", self.config.group_id, error)
