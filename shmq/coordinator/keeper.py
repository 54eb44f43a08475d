"""The groups of a broker: their state machines, their files, and what follows from an event.

Owns: loading and saving states, raising epochs, and handing effects to whoever can tell the members.
Must never: tell a member anything that is not saved yet: the next coordinator must know it, too.
Sits: over the state machine, committed and store; under sessions.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from shmq import _native, wire
from shmq.committed import CommittedOffsets
from shmq.errors import CorruptRecordError, NonEmptyGroupError, ShmqError
from shmq.groups.events import Assign, Effect, Event, Expel, Place, Raise, Refuse, TopicInfo, TopicsChanged
from shmq.groups.machine import Group as Machine
from shmq.store import CONSUMER, Broker, Group, Groups, TopicMeta, Topics, files

_log = logging.getLogger(__name__)
_LONGEST_STATE_BYTES = 64 << 20
MAX_EPOCH = 0xFFFF

Tell = Callable[[str, str, wire.Message], object]
"""Sends a message to a member of a group: `tell(group, member_id, message)`; not if it is not connected."""


@dataclass
class Kept:
    """A group: its files and its machine, and what goes with it.

    Attributes:
        epochs: Which epoch is in force for each partition that was ever given away. Saved before it is put in force,
            and put in force again by the next coordinator: a death in between leaves no right with who was fenced.
        saved: What was saved last.
        pending: Effects that wait for a disk with room, each with the epochs that were meant when it came about.
    """

    files: Group
    machine: Machine
    committed: CommittedOffsets
    empty_since_ms: int | None
    epochs: dict[Place, int]
    saved: bytes = b""
    pending: list[tuple[Effect, dict[Place, int]]] = field(default_factory=list)


class Keeper:
    """All groups.

    Args:
        broker: Whose.
        term: Of this coordinator; it stands in everything that is saved.
        tell: How members are told.
    """

    def __init__(self, broker: Broker, term: int, tell: Tell) -> None:
        self._broker, self._term, self._tell = broker, term, tell
        self._store = Groups(broker)
        self._topics = Topics(broker)
        self.metas: dict[str, TopicMeta] = {}
        self._stamps: tuple[tuple[str, int], ...] = ()
        self.kept: dict[str, Kept] = {}
        self.look_at_topics()
        for group in self._store.all(CONSUMER):
            self._load(group)

    # -- groups -------------------------------------------------------------------------------------------------------

    def open(self, name: str) -> Kept:
        """Return a group, made if there is none. Raises: ShmqError: it cannot be made."""
        kept = self.kept.get(name)
        return kept if kept is not None else self._load(self._store.make(name))

    def load(self, name: str) -> Kept:
        """Return a group. Raises: GroupIdNotFoundError."""
        kept = self.kept.get(name)
        if kept is None:
            # It may have been made without us, by a consumer that assigns its partitions itself.
            kept = self._load(self._store.load(name, CONSUMER))
        return kept

    def all(self) -> list[Kept]:
        """Return every group that there is."""
        for group in self._store.all(CONSUMER):
            if group.name not in self.kept:
                self._load(group)
        return list(self.kept.values())

    def delete(self, name: str) -> None:
        """Forget a group and what it committed. Raises: NonEmptyGroupError, GroupIdNotFoundError."""
        kept = self.load(name)
        if kept.machine.members:
            raise NonEmptyGroupError(name, len(kept.machine.members))
        self.release(kept)
        kept.committed.close()
        del self.kept[name]
        self._store.delete(kept.files)

    def with_members(self) -> list[Kept]:
        """Return the groups that have members, or something that still waits to be done."""
        return [kept for kept in self.kept.values() if kept.machine.members or kept.pending]

    def shortest_timeout_ms(self) -> int:
        """Return how soon a member may be due."""
        members = [each.join for kept in self.kept.values() for each in kept.machine.members.values()]
        return min((min(each.session_timeout_ms, each.max_poll_interval_ms) for each in members), default=1 << 30)

    def forget_old_groups(self) -> None:
        """Delete the groups that have been empty for `offsets_retention_ms`."""
        retention_ms = self._broker.options().offsets_retention_ms
        for kept in self.all():
            since = kept.empty_since_ms
            if since is not None and _wall_ms() - max(since, kept.committed.newest_ms()) > retention_ms:
                _log.info("group %r was empty for offsets_retention_ms: it is forgotten", kept.files.name)
                self.delete(kept.files.name)

    def _load(self, group: Group) -> Kept:
        machine, empty_since, epochs = self._read(group)
        kept = self.kept[group.name] = Kept(group, machine, CommittedOffsets(group), empty_since, epochs)
        kept.pending = [(Raise(place), {place: epoch}) for place, epoch in epochs.items()]
        self.apply(kept, TopicsChanged(self._infos()))
        return kept

    def _read(self, group: Group) -> tuple[Machine, int | None, dict[Place, int]]:
        if not os.path.exists(group.state_path):
            return Machine(), _wall_ms(), {}
        try:
            with files.storage_errors(group.state_path, "cannot be read"), open(group.state_path, "rb") as file:
                stored = json.loads(file.read(_LONGEST_STATE_BYTES))
            epochs = {Place(topic, topic_id, number): epoch for topic, topic_id, number, epoch in stored["epochs"]}
            return Machine.from_json(stored["group"]), stored["empty_since_ms"], epochs
        except (ShmqError, ValueError, KeyError, TypeError, RecursionError) as error:
            aside = f"{group.state_path}.damaged-{_wall_ms()}"
            os.replace(group.state_path, aside)
            damage = CorruptRecordError(group.state_path, f"no state of a group ({error!r}); moved to {aside}")
            _log.error("group %r begins anew, with what it has committed: %s", group.name, damage)
            return Machine(), _wall_ms(), {}

    # -- events -------------------------------------------------------------------------------------------------------

    def apply(self, kept: Kept, event: Event) -> None:
        """Take in an event: save what it changes, then carry out what follows."""
        revision = kept.machine.revision
        effects = kept.machine.apply(event, _now_ms())
        if kept.machine.revision == revision and not effects and not kept.pending and kept.saved:
            return  # a sign of life
        for place in [effect.place for effect in effects if isinstance(effect, Raise)]:
            kept.epochs[place] = self._next_epoch(kept, place)
        kept.pending += [(effect, _epochs_of(kept, effect)) for effect in effects]
        if bool(kept.machine.members) == (kept.empty_since_ms is not None):
            kept.empty_since_ms = None if kept.machine.members else _wall_ms()
        try:
            self.save(kept)
        except ShmqError as error:
            _log.error("group %r: %s; its members wait", kept.files.name, error)
            return
        waiting, kept.pending = kept.pending, []
        for index, (effect, epochs) in enumerate(waiting):
            try:
                self._carry_out(kept, effect, epochs)
            except ShmqError as error:
                _log.error("group %r: %s; its members wait", kept.files.name, error)
                kept.pending = waiting[index:]
                return

    def save(self, kept: Kept) -> None:
        """Write down a group's state if it has changed. Raises: StorageError, StorageFullError."""
        epochs = [[*place, epoch] for place, epoch in sorted(kept.epochs.items())]
        group = kept.machine.to_json()
        state = {"term": self._term, "empty_since_ms": kept.empty_since_ms, "epochs": epochs, "group": group}
        text = json.dumps(state).encode()
        if text != kept.saved:
            _native.fault_point("coordinator.save.before")
            files.write_whole(kept.files.state_path, text, durable=False)
            _native.fault_point("coordinator.save.after")
            kept.saved = text

    def _carry_out(self, kept: Kept, effect: Effect, epochs: dict[Place, int]) -> None:
        name = kept.files.name
        if isinstance(effect, Raise):
            meta = self._meta_of(effect.place)
            if meta is not None:
                kept.committed.fence(meta, effect.place.partition, epochs[effect.place])
                self._hold_first(kept, meta, effect.place.partition)
        elif isinstance(effect, Assign):
            places = [[*place, epochs[place]] for place in effect.places]
            message = {"type": "assign", "number": effect.number, "generation": effect.generation}
            self._tell(name, effect.member_id, message | {"strategy": kept.machine.strategy or "", "places": places})
        elif isinstance(effect, Expel):
            _log.info("group %r: %s was expelled (%s)", name, effect.member_id, effect.reason)
            self._tell(name, effect.member_id, {"type": "expel", "reason": effect.reason})
        elif isinstance(effect, Refuse):
            self._tell(name, effect.member_id, {"type": "error", "error": effect.error, "detail": effect.detail})
        _native.fault_point("coordinator.effect.after")

    def _next_epoch(self, kept: Kept, place: Place) -> int:
        """After a state that was lost, the file still knows."""
        epoch = kept.epochs.get(place)
        meta = self._meta_of(place)
        if epoch is None and meta is not None:
            epoch = kept.committed.epoch(meta, place.partition)
        return (epoch or 0) % MAX_EPOCH + 1

    def hold(self, kept: Kept, meta: TopicMeta, partition: int, offset: int | None) -> None:
        """Let producers of a topic with retention "consumed" keep records from there on for a group; None: nothing."""
        if meta.config.retention == "consumed":
            with self._topics.opened(meta, [partition]) as [opened]:
                if offset is None:
                    opened.release(kept.files.number)
                else:
                    opened.hold(kept.files.number, offset)

    def _hold_first(self, kept: Kept, meta: TopicMeta, partition: int) -> None:
        """The same for a group that has just come to a partition, from where it stands."""
        if meta.config.retention != "consumed":
            return
        with self._topics.opened(meta, [partition]) as [opened]:
            if kept.files.number not in opened.holds():
                word = kept.committed.look(meta, partition)
                begin = opened.offsets()[0]
                opened.hold(kept.files.number, begin if word is None or word.offset is None else word.offset)

    def release(self, kept: Kept) -> None:
        """Keep no records for a group any more."""
        for meta in self.metas.values():
            if meta.config.retention == "consumed":
                with self._topics.opened(meta) as partitions:
                    for partition in partitions:
                        partition.release(kept.files.number)

    # -- topics -------------------------------------------------------------------------------------------------------

    def look_at_topics(self) -> None:
        """Tell the groups if there are other topics or partitions than before."""
        stamps = tuple(self._topics.stamps())
        if stamps == self._stamps:
            return
        self._stamps = stamps
        self.metas = {}
        for name, _ in stamps:
            try:
                self.metas[name] = self._topics.load(name)
            except ShmqError as error:  # deleted meanwhile, or damaged: nobody can read it
                _log.warning("topic %s: %s", name, error)
        there = {(meta.name, meta.topic_id) for meta in self.metas.values()}
        for kept in list(self.kept.values()):
            kept.epochs = {place: epoch for place, epoch in kept.epochs.items() if place[:2] in there}
            self.apply(kept, TopicsChanged(self._infos()))

    def _infos(self) -> dict[str, TopicInfo]:
        return {name: TopicInfo(meta.topic_id, meta.partitions) for name, meta in self.metas.items()}

    def _meta_of(self, place: Place) -> TopicMeta | None:
        meta = self.metas.get(place.topic)
        return meta if meta is not None and meta.topic_id == place.topic_id else None


def _epochs_of(kept: Kept, effect: Effect) -> dict[Place, int]:
    """The epochs that an effect is about, as of now: a later event may raise them before it can be carried out."""
    places = effect.places if isinstance(effect, Assign) else (effect.place,) if isinstance(effect, Raise) else ()
    return {place: kept.epochs[place] for place in places}


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
