"""What a consumer commits for its group, and what the group has committed.

Owns: commit calls, automatic commits and their callbacks.
Must never: commit for a partition that the consumer has let go of.
Sits: over positions and committed; under subscription. Source: KafkaConsumer of kafka-python.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from shmq import _native
from shmq.committed import CommittedOffsets
from shmq.errors import CommitFailedError, IllegalArgumentError, IllegalStateError, ShmqError
from shmq.futures import PendingRecord
from shmq.positions import Positions, alone
from shmq.store import Groups, TopicMeta
from shmq.types import OffsetAndMetadata, TopicPartition

_log = logging.getLogger(__name__)

CommitCallback = Callable[[dict[TopicPartition, OffsetAndMetadata], Exception | None], object]


class Owned(NamedTuple):
    """A partition that a consumer may commit: in which topic, and with which epoch."""

    meta: TopicMeta
    epoch: int


class Commits(Positions):
    """The part of Consumer that is about committed offsets."""

    _process: _native.Process
    _committed: CommittedOffsets | None
    _owned: dict[TopicPartition, Owned]
    _holding: dict[TopicPartition, _native.Reader]
    """Readers of topics whose producers wait for this group."""

    def _init_commits(self) -> None:
        group_id = self.config.group_id
        self._committed, self._owned, self._holding = None, {}, {}
        self._answers: list[tuple[CommitCallback, dict[TopicPartition, OffsetAndMetadata], Exception | None]] = []
        if group_id is not None:
            self._committed = CommittedOffsets(Groups(self._connection.broker).make(group_id))

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

    # -- helpers ------------------------------------------------------------------------------------------------------

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
        failure: CommitFailedError | None = None
        for key, what in offsets.items():
            owned = self._owned.get(key)
            if owned is None:
                failure = CommitFailedError(group.group.name, *key, "it is not assigned to this consumer")
                continue
            try:
                group.commit(owned.meta, key[1], owned.epoch, what)  # a plain tuple is a partition, too
                self._let_go_up_to(key, what)
            except CommitFailedError as error:
                failure = error
        if failure is not None:
            raise failure

    def _let_go_up_to(self, key: TopicPartition, what: OffsetAndMetadata) -> None:
        """Producers that wait for this group need not keep what it has committed."""
        reader = self._holding.get(key)
        if reader is not None and what.offset is not None:
            reader.move_hold(what.offset)

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
