"""Being a member of a group: what a consumer subscribes to, what it was assigned, and what it commits.

Owns: subscribing, carrying out assignments between two polls, calling the listener, committing.
Must never: read a partition that is not this member's, or commit for one that it has let go of.
Sits: over positions, membership and committed; under consumer. Source: KafkaConsumer and ConsumerCoordinator of kafka-python.

Everything here happens in the consumer's own thread: the core calls `_on_attention` at the beginning of a poll, and while
one waits, when the membership has news or it is time to commit.
"""

from __future__ import annotations

import logging
import re
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shmq import _native
from shmq.committed import CommittedOffsets
from shmq.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalArgumentError,
    IllegalStateError,
    ShmqError,
)
from shmq.futures import PendingRecord
from shmq.groups.events import Place
from shmq.listener import ConsumerRebalanceListener
from shmq.membership import Membership, News, Target
from shmq.positions import Positions, alone
from shmq.store import Groups, TopicMeta
from shmq.types import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

_log = logging.getLogger(__name__)

_LEAVE_S = 5.0
CommitCallback = Callable[[dict[TopicPartition, OffsetAndMetadata], Exception | None], object]


class Subscription(Positions):
    """The part of Consumer that is about groups."""

    _client_id: str

    def _init_group(self) -> None:
        """Called once, before anything else here."""
        group_id = self.config.group_id
        self._topics: tuple[str, ...] = ()
        self._pattern: str | None = None
        self._listener: ConsumerRebalanceListener | None = None
        self._membership: Membership | None = None
        self._committed = None if group_id is None else CommittedOffsets(Groups(self._connection.broker).make(group_id))
        self._owned: dict[Place, int] = {}
        self._metas: dict[Place, TopicMeta] = {}
        self._generation = -1
        self._fatal: ShmqError | None = None
        self._rebalancing = False
        self._answers: list[tuple[CommitCallback, dict[TopicPartition, OffsetAndMetadata], Exception | None]] = []

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
        if self._pattern is not None:
            return {name for name in self._connection.topics.names() if re.match(self._pattern, name)}
        return set(self._topics) or None

    @alone
    def unsubscribe(self) -> None:
        """Read nothing any more, and leave the group; commits before that as `enable_auto_commit` says."""
        self._leave(autocommit=True, timeout_s=_LEAVE_S)
        self._replace([])

    @alone
    def assign(self, partitions: Iterable[TopicPartition | tuple[str, int]]) -> None:
        """Read these partitions and no others, outside of any rebalancing. Those assigned before keep their positions.

        Args:
            partitions: `TopicPartition`s. One that is new begins where the group committed it last, if there is a
                `group_id` and such a commit; else where `auto_offset_reset` says, as of now.

        Raises:
            IllegalStateError: it is subscribed to topics.
            UnknownTopicOrPartitionError: there is no such topic, or it has no such partition; nothing was changed.
            TooManyReadersError: a topic with `retention=consumed` has all the readers that it can have.
        """
        if self._topics or self._pattern is not None:
            raise IllegalStateError("it is subscribed to topics; unsubscribe() first")
        self._replace(partitions)
        if self._committed is not None:
            self._own_by_hand(self._committed)

    # -- committing ---------------------------------------------------------------------------------------------------

    @alone
    def commit(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None, timeout_ms: float | None = None
    ) -> None:
        """Commit positions for the group; who reads these partitions next goes on there.

        Args:
            offsets: The next offset to read, by partition; None: everything that `poll` and iteration gave out so far.
            timeout_ms: No effect: nothing is waited for.

        Raises:
            IllegalStateError: there is no `group_id`.
            CommitFailedError: a partition is not this member's any more; the others were committed.
        """
        self._checked_timeout(0 if timeout_ms is None else timeout_ms)
        self._call_back()
        self._commit_all(self._consumed() if offsets is None else self._checked_offsets(offsets))

    @alone
    def commit_async(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None,
        callback: CommitCallback | None = None,
    ) -> PendingRecord:
        """The same, but an error goes to the future that it returns, and to `callback(offsets, error or None)`.

        A commit takes about a microsecond here, so it is done when this returns; the callback comes with the next
        `poll`, `commit` or `close`.
        """
        wanted = self._consumed() if offsets is None else self._checked_offsets(offsets)
        future, error = PendingRecord(), None
        try:
            self._commit_all(wanted)
        except ShmqError as failure:
            error = failure
        future.resolve(None if error else wanted, error)
        if callback is not None:
            self._answers.append((callback, wanted, error))
            self._nudge(self._process)
        return future

    @alone
    def committed(
        self, partition: TopicPartition, metadata: bool = False, timeout_ms: float | None = None
    ) -> int | OffsetAndMetadata | None:
        """Return what the group has committed for a partition, assigned or not; None if it never did.

        Args:
            metadata: Return all of it, with the note that was committed, not just the offset.
        """
        self._checked_timeout(0 if timeout_ms is None else timeout_ms)
        found = self._group().read(self._connection.topics.load(partition.topic), partition.partition)
        return found if metadata or found is None else found.offset

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
        lost = {place for place, epoch in self._owned.items() if target.epochs.get(place, epoch) != epoch}
        going = [place for place in self._owned if place not in target.epochs and place not in lost]
        is_new = target.generation != self._generation
        self._generation = target.generation
        if lost:
            self._lose(lost)
        if going:
            self._let_go_of(going)
        coming = {place: epoch for place, epoch in target.epochs.items() if place not in self._owned}
        arrived = self._take(coming)
        membership.own(self._owned)
        self._plan_commit()
        if not target.epochs and is_new:
            _log.info(
                "group %r: there are more members than partitions; %s idles", membership.group_id, self._client_id
            )
        if is_new or coming:
            self._tell("on_partitions_assigned", sorted(arrived))

    def _take(self, epochs: dict[Place, int]) -> set[TopicPartition]:
        """Read these, too, from where the group committed. One whose topic is gone is left out: it will be revoked."""
        opened: dict[Place, _native.Reader] = {}
        try:
            for place in epochs:
                meta = self._connection.topics.find(place.topic)
                if meta is not None and meta.topic_id == place.topic_id:
                    self._metas[place] = meta
                    opened[place] = self._open(_key(place))
        except BaseException:
            for reader in opened.values():
                reader.close()
            raise
        self._readers.extend(opened.values())
        self._owned.update({place: epochs[place] for place in opened})
        self._note_pauses()
        return {reader.key for reader in opened.values()}

    def _let_go_of(self, places: list[Place]) -> None:
        keys = {_key(place) for place in places}
        try:
            self._auto_commit({key: what for key, what in self._consumed().items() if key in keys})
        finally:
            try:
                self._tell("on_partitions_revoked", sorted(keys))
            finally:
                self._drop_places(places)

    def _lose(self, places: set[Place]) -> None:
        """They are another's already: what was read of them and not committed is read there again."""
        _log.warning("group %r: lost %s", self.config.group_id, ", ".join(f"{p.topic}-{p.partition}" for p in places))
        try:
            self._tell("on_partitions_lost", sorted(_key(place) for place in places))
        finally:
            self._drop_places(places)

    def _drop_places(self, places: Iterable[Place]) -> None:
        gone = {_key(place) for place in places}
        for reader in [reader for reader in self._readers if reader.key in gone]:
            self._readers.remove(reader)
            self._drop(reader)
            reader.close()
            self._wanted.pop(reader.key, None)
        for place in list(places):
            self._owned.pop(place, None)
            self._metas.pop(place, None)
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
                self._tell("on_partitions_revoked", sorted(map(_key, self._owned)))
        finally:
            self._drop_places(list(self._owned))
            self._topics, self._pattern, self._listener = (), None, None
            self._generation, self._attention_at_ns = -1, 0
            if membership is not None:
                membership.leave(timeout_s, for_good=False)

    def _own_by_hand(self, committed: CommittedOffsets) -> None:
        """What was assigned by hand can be committed until the coordinator gives it to a member of the group."""
        metas = {name: self._connection.topics.load(name) for name in {reader.key.topic for reader in self._readers}}
        places = {_place_of(metas[reader.key.topic], reader.key.partition) for reader in self._readers}
        for place in places - self._owned.keys():
            self._owned[place] = committed.epoch(metas[place.topic], place.partition)
            self._metas[place] = metas[place.topic]
        for place in self._owned.keys() - places:
            del self._owned[place], self._metas[place]
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
        names = self._topics
        if self._pattern is not None:
            names = tuple(name for name in self._connection.topics.names() if re.match(self._pattern, name))
        metas = [self._connection.topics.load(name) for name in names]
        self._replace([TopicPartition(meta.name, number) for meta in metas for number in range(meta.partitions)])

    def _checked_topics(self, topics: Iterable[str], pattern: str | None) -> tuple[str, ...]:
        if isinstance(topics, str):
            raise TypeError(f"topics must be a list of names, not the text {topics!r}")
        names = tuple(dict.fromkeys(topics or ()))
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"topics must be a list of names, not of {type(name).__name__}")
        if bool(names) == (pattern is not None):
            raise IllegalArgumentError("subscribe to topics, or to a pattern: one of them")
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise IllegalArgumentError(f"pattern {pattern!r} is no regular expression: {error}") from None
        return names

    def _checked_offsets(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        for place, what in offsets.items():
            if not isinstance(what, OffsetAndMetadata) or not isinstance(what.offset, int) or what.offset < 0:
                raise IllegalArgumentError(f"{place}: an OffsetAndMetadata with an offset of 0 or more, not {what!r}")
        return dict(offsets)

    def _consumed(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """What was given out so far: the next offset of every partition that has one."""
        consumed = {}
        for reader in self._readers:
            first = self._first_taken(reader)
            if first is not None or not reader.unset:
                consumed[reader.key] = OffsetAndMetadata(reader.position if first is None else first, "", -1)
        return consumed

    def _commit_all(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        group = self._group()
        owned = {_key(place): place for place in self._owned}
        failure: CommitFailedError | None = None
        for key, what in offsets.items():
            place = owned.get(key)
            if place is None:
                failure = CommitFailedError(group.group.name, *key, "it is not assigned to this consumer")
                continue
            try:
                group.commit(self._metas[place], place.partition, self._owned[place], what)
            except CommitFailedError as error:
                failure = error
        if failure is not None:
            raise failure

    def _auto_commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit if `enable_auto_commit` says so. What cannot be committed is read again: a warning, no error."""
        if not offsets or not self.config.enable_auto_commit or self._committed is None:
            return
        error: ShmqError | None = None
        try:
            self._commit_all(offsets)
        except ShmqError as failure:
            error = failure
            _log.warning("automatic commit: %s", failure)
        callback = self.config.default_offset_commit_callback
        if callback is not None:
            self._lend(callback, offsets, error)

    def _plan_commit(self) -> None:
        """Say when the next automatic commit is due."""
        wanted = self._committed is not None and self.config.enable_auto_commit and self._owned
        due = time.monotonic_ns() + int(self.config.auto_commit_interval_ms * 1e6)
        self._attention_at_ns = due if wanted else 0

    def _call_back(self) -> None:
        """Call the callbacks of earlier commits."""
        while self._answers:
            callback, offsets, error = self._answers.pop(0)
            self._lend(callback, offsets, error)

    def _group(self) -> CommittedOffsets:
        if self._committed is None:
            raise IllegalStateError("this needs a group_id; without one nothing is committed")
        return self._committed

    def _first_place(self, meta: TopicMeta, place: TopicPartition) -> int | None:
        found = None if self._committed is None else self._committed.look(meta, place.partition)
        return None if found is None else found.offset

    def _is_reader_of_its_own(self) -> bool:
        return self._membership is None


def _key(place: Place) -> TopicPartition:
    return TopicPartition(place.topic, place.partition)


def _place_of(meta: TopicMeta, partition: int) -> Place:
    return Place(meta.name, meta.topic_id, partition)
