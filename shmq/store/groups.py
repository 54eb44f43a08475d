"""Where a broker keeps a group: its directory, its number, and the names of the files in it.

Owns: names of groups, their directories, giving each a number of its own, and that no two kinds share a name.
Must never: know what a member or a generation is; `state.json` belongs to the coordinator, offsets and window files to
the core.
Sits: in store. Layout: `groups/NAME/group.json` (name, number, kind); of a consumer group `state.json`, and
`TOPIC-ID.offsets` for each topic; of the others `TOPIC-ID.PARTITION.window` for each partition of a topic on disk.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from shmq.errors import (
    CorruptRecordError,
    GroupIdNotFoundError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
)

from . import files
from .broker import Broker
from .meta import TopicMeta

_log = logging.getLogger(__name__)

MAX_GROUP_CHARACTERS = 1024
MAX_GROUPS = (1 << 22) - 1  # a group's number has 22 bits in a control file
_LONGEST_FILE_NAME = 200
_GROUP_FILE = "group.json"

CONSUMER, SHARE, QUEUE = "consumer", "share", "queue"
"""Kinds of groups: those that the coordinator assigns partitions to, those whose members all read all of them, and the
one whose windows are those of the broker's queues."""


@dataclass(frozen=True)
class Group:
    """A group that exists: its name, its number within the broker, its directory, and its kind."""

    name: str
    number: int
    directory: str
    kind: str = CONSUMER

    @property
    def state_path(self) -> str:
        """The coordinator's file about it."""
        return os.path.join(self.directory, "state.json")

    def offsets_path(self, topic: str, topic_id: int) -> str:
        """The file of its committed offsets in one topic."""
        return os.path.join(self.directory, f"{topic}-{topic_id:016x}.offsets")

    def window_path(self, meta: TopicMeta, partition: int) -> str:
        """The file that says who has taken which records of one partition, and which are done.

        That of a topic in memory lies beside its records, and comes to nothing with them when the machine reboots.
        """
        if meta.in_memory:
            return os.path.join(meta.directory, f"{self.number}.{partition}.window")
        return os.path.join(self.directory, f"{meta.name}-{meta.topic_id:016x}.{partition}.window")

    def note_path(self, meta: TopicMeta, partition: int, epoch: int, offset: int) -> str:
        """The file of the metadata that was committed with one offset."""
        return os.path.join(self.directory, f"{meta.name}-{meta.topic_id:016x}.{partition}.{epoch}.{offset}.note")


class Groups:
    """The groups of a broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._directory = os.path.join(broker.directory, "groups")

    def find(self, name: str) -> Group | None:
        """Return a group, None if there is none. Errors: `load`."""
        path = self._path(check_group_name(name))
        return _read(path) if os.path.exists(os.path.join(path, _GROUP_FILE)) else None

    def load(self, name: str, kind: str | None = None) -> Group:
        """Return a group.

        Raises:
            GroupIdNotFoundError: there is none of this name.
            InconsistentGroupProtocolError: there is, but it is not of this kind.
            InvalidGroupIdError: there cannot be.
            CorruptRecordError: its file is damaged.
        """
        group = self.find(name)
        if group is None:
            raise GroupIdNotFoundError(name)
        return group if kind is None else _of_kind(group, kind)

    def make(self, name: str, kind: str = CONSUMER) -> Group:
        """Return a group, made if there is none. Raises: StorageFullError, KafkaTimeoutError; see `load`."""
        group = self.find(name)
        if group is not None:
            return _of_kind(group, kind)
        with self._broker.administration():
            return self.make_here(name, kind)

    def make_here(self, name: str, kind: str) -> Group:
        """The same for who holds the administrators' lock."""
        group = self.find(name)
        return self._make(name, kind) if group is None else _of_kind(group, kind)

    def all(self, kind: str | None = None) -> Iterator[Group]:
        """Yield every group there is, or all of a kind, by name; a damaged one is passed by, with a warning."""
        try:
            entries = sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return
        for entry in entries:
            path = os.path.join(self._directory, entry)
            if os.path.exists(os.path.join(path, _GROUP_FILE)):
                try:
                    group = _read(path)
                except CorruptRecordError as error:
                    _log.warning("%s", error)
                    continue
                if kind in (None, group.kind):
                    yield group

    def delete(self, group: Group) -> None:
        """Forget a group and all that it has committed; nobody may be in it."""
        with self._broker.administration():
            self.delete_here(group)

    def delete_here(self, group: Group) -> None:
        """The same for who holds the administrators' lock."""
        with files.storage_errors(group.directory, "cannot be removed"):
            os.unlink(os.path.join(group.directory, _GROUP_FILE))  # from here on it is not there
            shutil.rmtree(group.directory)

    def _path(self, name: str) -> str:
        quoted = quote(name, safe="").replace(".", "%2E")
        if len(quoted) > _LONGEST_FILE_NAME:
            quoted = "%" + hashlib.sha256(name.encode()).hexdigest()
        return os.path.join(self._directory, quoted)

    def _make(self, name: str, kind: str) -> Group:
        taken = {group.number for group in self.all()}
        number = 0
        while not number or number in taken:  # not the next one: that of a damaged file is not known
            number = 1 + secrets.randbelow(MAX_GROUPS)
        group = Group(name, number, self._path(name), kind)
        text = json.dumps({"name": name, "number": number, "kind": kind}).encode()
        with files.storage_errors(group.directory, "cannot be made"):
            os.makedirs(group.directory, mode=0o700, exist_ok=True)
        files.write_whole(os.path.join(group.directory, _GROUP_FILE), text, durable=False)
        return group


def check_group_name(name: object) -> str:
    """Return `name` if a group can have it: any text that is not empty.

    Raises:
        TypeError: it is not text.
        InvalidGroupIdError: it breaks a rule; the message says which.
    """
    if not isinstance(name, str):
        raise TypeError(f"a group's name must be str, not {type(name).__name__}")
    if not name:
        raise InvalidGroupIdError(name, "it is empty")
    if len(name) > MAX_GROUP_CHARACTERS:
        raise InvalidGroupIdError(name, f"it has {len(name)} characters, {MAX_GROUP_CHARACTERS} are allowed")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidGroupIdError(name, f"it is no text: {error.reason}") from None
    return name


def _of_kind(group: Group, kind: str) -> Group:
    if group.kind != kind:
        raise InconsistentGroupProtocolError(
            group.name, f"it is a {group.kind} group, not a {kind} group; take another name, or delete that one first"
        )
    return group


def _read(directory: str) -> Group:
    path = os.path.join(directory, _GROUP_FILE)
    with files.storage_errors(path, "cannot be read"), open(path, "rb") as file:
        text = file.read(65536)
    try:
        stored: Any = json.loads(text)
        group = Group(str(stored["name"]), int(stored["number"]), directory, str(stored.get("kind", CONSUMER)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptRecordError(path, f"no name and number of a group ({error!r})") from None
    if not 0 < group.number <= MAX_GROUPS:
        raise CorruptRecordError(path, f"number {group.number} is out of range; 1..{MAX_GROUPS} are allowed")
    return group
