"""What a share group keeps in its directory: a window on each partition, and a file for each member.

Owns: making windows, with the hold of a group on a topic whose producers wait for it; and who is a member.
Must never: look into a window; that is the native core's. Nor make or remove one without the administrators' lock.
Sits: in store, over `groups` and `topics`. A member's file is `SLOT.EPOCH.NUMBER.member`: the slot of its process says
whether it lives, so that nobody needs to take leave.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shmq import _native
from shmq.errors import NonEmptyGroupError, UnknownTopicOrPartitionError

from . import files
from .broker import DEFAULT_TIMEOUT_MS, Broker
from .groups import SHARE, Group, Groups
from .meta import TopicMeta
from .steps import open_partition
from .topics import Topics

RECORDS = 0
"""The kind of window that has a word for each record."""
_MEMBER_FILE = re.compile(r"([0-9]+)\.([0-9]+)\.[0-9a-f]+\.member")
_LONGEST_MEMBER_BYTES = 1 << 20


@dataclass(frozen=True)
class ShareMember:
    """A share consumer: who it is for people who look, its process, and the topics that it reads."""

    client_id: str
    pid: int
    topics: tuple[str, ...]


@dataclass(frozen=True)
class SharePlace:
    """A partition on which a group has a window."""

    meta: TopicMeta
    partition: int


class Shares:
    """The share groups of a broker.

    Args:
        broker: Whose.
        timeout_ms: Longest wait for another administrator.
    """

    def __init__(self, broker: Broker, timeout_ms: float = DEFAULT_TIMEOUT_MS) -> None:
        self._broker, self._timeout_ms = broker, timeout_ms
        self._groups = Groups(broker)
        self._topics = Topics(broker, timeout_ms)

    # -- members ------------------------------------------------------------------------------------------------------

    def join(self, name: str, process: _native.Process, client_id: str, topics: tuple[str, ...]) -> tuple[Group, str]:
        """Be a member, of a group that is made if there is none; return it, and the path that `leave` takes.

        Raises:
            InconsistentGroupProtocolError: the name is a consumer group's.
        """
        with self._broker.administration(self._timeout_ms):
            group = self._groups.make_here(name, SHARE)
            for _ in self._living(group, process):  # which forgets the dead
                pass
            path = os.path.join(group.directory, f"{process.slot}.{process.epoch}.{secrets.token_hex(4)}.member")
            text = json.dumps({"client_id": client_id, "pid": os.getpid(), "topics": topics}).encode()
            files.write_whole(path, text, durable=False)
            return group, path

    def leave(self, path: str) -> None:
        """Be a member no longer; `path` is what `join` returned."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def members(self, group: Group) -> list[ShareMember]:
        """Return the members whose processes live."""
        with self._broker.process() as process:
            return list(self._living(group, process))

    def _living(self, group: Group, process: _native.Process) -> Iterator[ShareMember]:
        """Yield the living, and remove the files of the dead."""
        names = os.listdir(group.directory)  # before the slots are read: who has a file has its slot already
        living = {(slot, epoch) for slot, epoch, _, state in process.slots() if state == "live"}
        for name in sorted(names):
            match = _MEMBER_FILE.fullmatch(name)
            if match is None:
                continue
            path = os.path.join(group.directory, name)
            if (int(match[1]), int(match[2])) not in living:
                self.leave(path)
                continue
            with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError), open(path, "rb") as file:
                stored: Any = json.loads(file.read(_LONGEST_MEMBER_BYTES))
                yield ShareMember(str(stored["client_id"]), int(stored["pid"]), tuple(stored["topics"]))

    # -- windows ------------------------------------------------------------------------------------------------------

    def window(self, group: Group, meta: TopicMeta, number: int, process: _native.Process, edge: str) -> _native.Window:
        """Return a group's window on a partition; made if there is none, at the "earliest" or "latest" offset.

        Raises:
            GroupIdNotFoundError: the group was deleted meanwhile.
            StorageFullError: there is no room for it.
        """
        path = group.window_path(meta, number)
        partition = open_partition(process, meta, number)
        is_held = meta.config.retention == "consumed"
        if not os.path.exists(path) or (is_held and group.number not in partition.holds()):
            with self._broker.administration(self._timeout_ms):
                self._groups.load(group.name, SHARE)
                if not os.path.exists(path):
                    begin, end = partition.offsets()
                    make_window(group, meta, number, partition, begin if edge == "earliest" else end)
                elif is_held and group.number not in partition.holds():  # the topic was altered since it was made
                    partition.hold(group.number, _native.Window(path, meta.topic_id, number).start)
        return _native.Window(path, meta.topic_id, number)

    def places(self, group: Group) -> list[SharePlace]:
        """Return the partitions on which a group has windows, by name and number; deleted topics' are left out."""
        found = []
        for name in self._topics.names():
            with contextlib.suppress(UnknownTopicOrPartitionError):  # deleted just now
                meta = self._topics.find(name)
                numbers = range(meta.partitions)
                found += [SharePlace(meta, each) for each in numbers if os.path.exists(group.window_path(meta, each))]
        return found

    # -- administration -----------------------------------------------------------------------------------------------

    def delete(self, name: str) -> None:
        """Forget a group without members; records that were kept for it alone may go.

        Raises:
            GroupIdNotFoundError, InconsistentGroupProtocolError: there is no such share group.
            NonEmptyGroupError: it has living members.
        """
        with self._emptied(name) as (group, process):
            for place in self.places(group):
                open_partition(process, place.meta, place.partition).release(group.number)
                os.unlink(group.window_path(place.meta, place.partition))
            self._groups.delete_here(group)

    def alter(self, name: str, offsets: dict[tuple[str, int], int]) -> None:
        """Let a group without members go on at these offsets, by topic and partition; what it knew there is forgotten.

        The group is made if there is none. Offsets outside of the log are moved to its nearer end.

        Raises:
            NonEmptyGroupError: it has living members; nothing was changed.
            UnknownTopicOrPartitionError: there is no such partition; nothing was changed.
        """
        metas = {topic: self._topics.load(topic) for topic, _ in offsets}
        for topic, number in offsets:
            if not 0 <= number < metas[topic].partitions:
                raise UnknownTopicOrPartitionError(topic, number, metas[topic].partitions)
        self._groups.make(name, SHARE)
        with self._emptied(name) as (group, process):
            for (topic, number), offset in offsets.items():
                meta = metas[topic]
                partition = open_partition(process, meta, number)
                begin, end = partition.offsets()
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(group.window_path(meta, number))
                make_window(group, meta, number, partition, min(max(offset, begin), end))

    @contextlib.contextmanager
    def _emptied(self, name: str) -> Iterator[tuple[Group, _native.Process]]:
        with self._broker.administration(self._timeout_ms), self._broker.process() as process:
            group = self._groups.load(name, SHARE)
            count = sum(1 for _ in self._living(group, process))
            if count:
                raise NonEmptyGroupError(name, count)
            yield group, process


def make_window(group: Group, meta: TopicMeta, number: int, partition: _native.Partition, start: int) -> None:
    """Make a window for records from `start` on, which the topic's producers keep for the group, if they wait at all.

    The hold comes first: a death in between leaves one that the next maker sets anew.
    """
    if meta.config.retention == "consumed":
        partition.hold(group.number, start)
    _native.create_window(group.window_path(meta, number), meta.topic_id, number, start, RECORDS)
