"""Being a member of a group: what a consumer subscribes to, and what it was assigned.

Owns: subscribing, carrying out assignments between two polls, calling the listener.
Must never: read a partition that is not this member's.
Sits: over commits and membership; under consumer. Source: KafkaConsumer of kafka-python.

Everything here happens in the consumer's own thread: the core calls `_on_attention` at the beginning of a poll, and
while one waits, when the membership has news or it is time to commit.
"""

from __future__ import annotations

import logging
import re
import time
import weakref
from collections.abc import Iterable, Sequence

from shmq import _native
from shmq.commits import Commits, Owned
from shmq.committed import CommittedOffsets
from shmq.errors import (
    FencedInstanceIdError,
    IllegalArgumentError,
    IllegalStateError,
    ShmqError,
    UnknownTopicOrPartitionError,
)
from shmq.groups.events import Place
from shmq.listener import ConsumerRebalanceListener
from shmq.membership import Membership, Target
from shmq.positions import alone
from shmq.store.names import check_topic_name
from shmq.types import ConsumerGroupMetadata, TopicPartition

_log = logging.getLogger(__name__)

_LEAVE_S = 5.0


class Subscription(Commits):
    """The part of Consumer that is about groups."""

    _client_id: str

    def _init_group(self) -> None:
        """Called once, before anything else here."""
        self._topics: tuple[str, ...] = ()
        self._pattern: str | None = None
        self._listener: ConsumerRebalanceListener | None = None
        self._membership: Membership | None = None
        self._generation = -1
        self._fatal: ShmqError | None = None
        self._rebalancing = False
        self._init_commits()

    # -- subscribing --------------------------------------------------------------------------------------------------

    @alone
    def subscribe(
        self,
        topics: Iterable[str] = (),
        pattern: str | None = None,
        listener: ConsumerRebalanceListener | None = None,
    ) -> None:
        """Read these topics: as a member of the group, or all of their partitions if there is no `group_id`.

        The coordinator assigns the partitions; `poll` takes them over. Another call replaces the subscription.

        Args:
            topics: Names. One that does not exist is read once it does, and made if `allow_auto_create_topics`.
            pattern: Instead of names: a regular expression that names match from their beginning; topics that come
                later, too.
            listener: Told of each partition that comes and goes, in the thread that polls.

        Raises:
            IllegalStateError: partitions were assigned by hand.
            IllegalArgumentError: both or none of topics and pattern, or a pattern that is none.
        """
        names = self._checked_topics(topics, pattern)
        if listener is not None and not isinstance(listener, ConsumerRebalanceListener):
            raise TypeError("listener must be a ConsumerRebalanceListener")
        if not self._topics and self._pattern is None and self._readers:
            raise IllegalStateError("partitions were assigned by assign(); unsubscribe() first")
        if self.config.allow_auto_create_topics:
            for name in names:
                self._connection.topic(name)
        self._listener, self._fatal = listener, None
        self._topics, self._pattern = names, pattern
        if self._committed is None:
            self._assign_all()
            return
        if self._membership is None:
            self._membership = self._new_membership()
        self._membership.subscribe(names, pattern)

    @alone
    def subscription(self) -> set[str] | None:
        """Return the names of the topics that this consumer is subscribed to, None if it is to none."""
        return set(self._names()) or (None if self._pattern is None else set())

    def _names(self) -> Sequence[str]:
        if self._pattern is None:
            return self._topics
        return [name for name in self._connection.topics.names() if re.match(self._pattern, name)]

    @alone
    def unsubscribe(self) -> None:
        """Read nothing any more, and leave the group; commits before that as `enable_auto_commit` says."""
        self._leave(autocommit=True, timeout_s=_LEAVE_S)
        self._replace([])

    @alone
    def assign(self, partitions: Iterable[TopicPartition | tuple[str, int]]) -> None:
        """Read these partitions and no others, outside of any rebalancing. Those assigned before keep their positions.

        Args:
            partitions: `TopicPartition`s. One that is new, or whose topic was deleted and made again, begins where the
                group committed it last, if there is a `group_id` and such a commit; else where `auto_offset_reset`
                says, as of now.

        Raises:
            IllegalStateError: it is subscribed to topics, as a member of a group.
            UnknownTopicOrPartitionError: there is no such topic, or it has no such partition; nothing was changed.
            TooManyReadersError: a topic with `retention=consumed` has all the readers that it can have.
        """
        if self._membership is not None:
            raise IllegalStateError("it is subscribed to topics; unsubscribe() first")
        self._replace(partitions)
        self._topics, self._pattern = (), None
        if self._committed is not None:
            self._own_by_hand(self._committed)

    # -- what others know ----------------------------------------------------------------------------------------------

    def group_metadata(self) -> ConsumerGroupMetadata:
        """Return what the group knows this consumer as, at the moment."""
        group_id, instance_id = self.config.group_id, self.config.group_instance_id
        if self._membership is None:
            return ConsumerGroupMetadata(group_id, group_instance_id=instance_id)
        member_id, generation = self._membership.member_id, self._generation
        state = "stable" if generation >= 0 else "joining"
        return ConsumerGroupMetadata(group_id, generation, member_id, instance_id, state)

    # -- called by the core -------------------------------------------------------------------------------------------

    def _on_attention(self) -> None:
        """There are news, or it is time to commit."""
        if self._rebalancing:
            return  # the listener polls
        self._call_back()
        if self._membership is not None:
            self._take_news(self._membership)
        if self._fatal is not None:
            raise self._fatal
        if self._attention_at_ns and time.monotonic_ns() >= self._attention_at_ns:
            self._plan_commit()
            self._auto_commit(self._consumed())

    def _on_deleted(self, reader: _native.Reader) -> None:
        if self._membership is None:
            super()._on_deleted(reader)
        reader.paused = True  # the coordinator takes it away as soon as it notices
        self._note_pauses()

    # -- assignments --------------------------------------------------------------------------------------------------

    def _take_news(self, membership: Membership) -> None:
        news = membership.take()
        try:
            if news.expelled is not None:
                self._be_expelled(membership, news.expelled)
            elif news.error is not None:
                self._fatal = news.error
            elif news.target is not None:
                self._take_over(membership, news.target)
        except BaseException:
            membership.put_back(news)
            raise

    def _take_over(self, membership: Membership, target: Target) -> None:
        """Let go of what the target does not have, then take what it has anew."""
        owned = self._owned_epochs()
        lost = {place for place, epoch in owned.items() if target.epochs.get(place, epoch) != epoch}
        going = owned.keys() - target.epochs.keys()
        is_new = target.generation != self._generation
        self._generation = target.generation
        if lost:
            self._lose(set(map(_key_of, lost)))
        if going:
            self._let_go_of(set(map(_key_of, going)))
        kept = self._owned_epochs()
        coming = {place: epoch for place, epoch in target.epochs.items() if place not in kept}
        arrived = self._take(coming)
        membership.own(list(self._owned_epochs()), target.number)
        self._plan_commit()
        if not target.epochs and is_new:
            _log.info(
                "group %r: there are more members than partitions; %s idles", membership.group_id, self._client_id
            )
        if is_new or coming:
            self._tell("on_partitions_assigned", sorted(arrived))

    def _owned_epochs(self) -> dict[Place, int]:
        """What is owned, in the coordinator's terms."""
        return {Place(key.topic, owned.meta.topic_id, key.partition): owned.epoch for key, owned in self._owned.items()}

    def _take(self, epochs: dict[Place, int]) -> set[TopicPartition]:
        """Read these, too, from where the group committed. One whose topic is gone is left out: it will be revoked."""
        opened: dict[TopicPartition, _native.Reader] = {}
        owned: dict[TopicPartition, Owned] = {}
        try:
            for place, epoch in epochs.items():
                try:
                    meta, key = self._connection.topics.load(place.topic), _key_of(place)
                    if meta.topic_id == place.topic_id:
                        opened[key] = self._open(key)
                        owned[key] = Owned(meta, epoch)
                except UnknownTopicOrPartitionError:
                    continue
        except BaseException:
            for reader in opened.values():
                reader.close()
            raise
        for key, reader in opened.items():
            if owned[key].meta.config.retention == "consumed" and reader.hold(self._group().group.number):
                self._holding[key] = reader
        self._readers.extend(opened.values())
        self._owned.update(owned)
        self._note_pauses()
        return set(opened)

    def _let_go_of(self, keys: set[TopicPartition]) -> None:
        try:
            self._auto_commit({key: what for key, what in self._consumed().items() if key in keys})
        finally:
            try:
                self._tell("on_partitions_revoked", sorted(keys))
            finally:
                self._drop_places(keys)

    def _lose(self, keys: set[TopicPartition]) -> None:
        """They are another's already: what was read of them and not committed is read there again."""
        _log.warning(
            "group %r: lost %s", self.config.group_id, ", ".join(f"{key.topic}-{key.partition}" for key in keys)
        )
        try:
            self._tell("on_partitions_lost", sorted(keys))
        finally:
            self._drop_places(keys)

    def _drop_places(self, keys: set[TopicPartition]) -> None:
        for reader in [reader for reader in self._readers if reader.key in keys]:
            self._readers.remove(reader)
            self._holding.pop(reader.key, None)
            self._part_with(reader)
        for key in keys:
            self._owned.pop(key, None)
        self._note_pauses()

    def _be_expelled(self, membership: Membership, reason: str) -> None:
        self._generation = -1
        if reason == "instance":
            instance = self.config.group_instance_id
            self._fatal = FencedInstanceIdError(
                membership.group_id, f"another consumer has taken the group_instance_id {instance!r}; close this one"
            )
        else:
            what = {
                "session": f"it gave no sign of life for session_timeout_ms={self.config.session_timeout_ms:g}",
                "poll": f"it did not poll for max_poll_interval_ms={self.config.max_poll_interval_ms:g}",
            }.get(reason, reason)
            _log.warning(
                "group %r: %s was expelled, since %s; it joins again", membership.group_id, self._client_id, what
            )
            membership.join_anew()
        if self._owned:
            self._lose(set(self._owned))

    def _tell(self, method: str, places: list[TopicPartition]) -> None:
        """Call the listener, which may use this consumer."""
        if self._listener is None:
            return
        self._rebalancing = True
        try:
            self._lend(getattr(self._listener, method), places)
        finally:
            self._rebalancing = False

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _new_membership(self) -> Membership:
        me, process = weakref.ref(self), self._process

        def look() -> tuple[int, bool] | None:
            consumer = me()
            return None if consumer is None else (consumer._polls, consumer._is_inside)

        def nudge() -> None:
            consumer = me()
            if consumer is not None:
                consumer._nudge(process)

        return Membership(self._connection.broker, self.config, self._client_id, look, nudge)

    def _leave(self, *, autocommit: bool, timeout_s: float) -> None:
        """Commit, tell the listener, let go, and tell the coordinator."""
        membership, self._membership = self._membership, None
        try:
            if self._owned and autocommit:
                self._auto_commit(self._consumed())
            self._call_back()
            if self._owned and membership is not None:
                self._tell("on_partitions_revoked", sorted(self._owned))
        finally:
            self._drop_places(set(self._owned))
            self._topics, self._pattern, self._listener = (), None, None
            self._generation, self._attention_at_ns = -1, 0
            if membership is not None:
                membership.leave(timeout_s, for_good=False)

    def _own_by_hand(self, committed: CommittedOffsets) -> None:
        """What was assigned by hand can be committed until the coordinator gives it to a member of the group."""
        metas = {name: self._connection.topics.load(name) for name in {reader.key.topic for reader in self._readers}}
        before = self._owned.copy()
        for reader in self._readers:
            meta, owned = metas[reader.key.topic], before.pop(reader.key, None)
            if owned is None or owned.meta.topic_id != meta.topic_id:
                self._owned[reader.key] = Owned(meta, committed.epoch(meta, reader.key.partition))
        for key in before:
            del self._owned[key]
        self._plan_commit()

    def _close_group(self) -> None:
        if self._committed is not None:
            self._committed.close()

    def _abandon_group(self) -> None:
        """In a forked child: the membership is the parent's."""
        if self._membership is not None:
            self._membership.abandon()

    def _assign_all(self) -> None:
        """Without a group: every partition of the topics that there are."""
        metas = [self._connection.topics.load(name) for name in self._names()]
        self._replace([TopicPartition(meta.name, number) for meta in metas for number in range(meta.partitions)])

    def _checked_topics(self, topics: Iterable[str], pattern: str | None) -> tuple[str, ...]:
        if isinstance(topics, str):
            raise TypeError(f"topics must be a list of names, not the text {topics!r}")
        names = tuple(topics or ())
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"topics must be a list of names, not of {type(name).__name__}")
        names = tuple(dict.fromkeys(map(check_topic_name, names)))
        if bool(names) == (pattern is not None):
            raise IllegalArgumentError("subscribe to topics, or to a pattern: one of them")
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise IllegalArgumentError(f"pattern {pattern!r} is no regular expression: {error}") from None
        return names

    def _is_reader_of_its_own(self) -> bool:
        return self._membership is None


def _key_of(place: Place) -> TopicPartition:
    return TopicPartition(place.topic, place.partition)
