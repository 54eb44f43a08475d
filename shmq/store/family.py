"""A broker that one tree of processes shares: where queues without a name live, and not a moment longer.

Owns: its place in /dev/shm, the locks that say who has it and each of its queues, and removing what nobody has.
Must never: remove what a process still has, or what belongs to another user.
Sits: in store, over `broker`; `gc` calls it. Layout: `alive` (shared by the processes that use the family), `queues/`,
its broker, and `holds/TOPIC`, shared by whoever has that queue. These locks are an open file's: forked children have
them too, spawned ones are passed the descriptor. So a queue on its way to a child is held; those of the dead are not.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterator

from shmq.errors import ShmqError, StorageError

from . import files
from .broker import DEFAULT_TIMEOUT_MS, SHARED_MEMORY, memory_directory, open_broker, read_identity

_log = logging.getLogger(__name__)

_FAMILY = re.compile(r"shmq-family-[0-9a-f]{16}")
_UNFINISHED = re.compile(r"\.(shmq-family-[0-9a-f]{16})\.new-[0-9a-f]+")
_MAKING_TRIES = 8


class Family:
    """A family's directory, as one process holds it.

    Attributes:
        directory: Absolute. Those who inherit the family know it by this.
        broker_directory: Its broker.
    """

    def __init__(self, directory: str, hold: int) -> None:
        self.directory = directory
        self.broker_directory = os.path.join(directory, "queues")
        self._hold = hold

    @classmethod
    def make(cls) -> Family:
        """Found a family, after removing those that are dead. Raises: StorageError, StorageFullError."""
        for problem in collect_families()[1]:
            _log.warning("a dead family of queues stays: %s", problem)
        directory = os.path.join(SHARED_MEMORY, f"shmq-family-{secrets.token_hex(8)}")
        holds = []

        def fill(unfinished: str) -> None:
            os.mkdir(os.path.join(unfinished, "holds"), 0o700)
            alive = os.path.join(unfinished, "alive")
            files.write_whole(alive, b"", durable=False)
            holds.append(files.share_lock(alive, DEFAULT_TIMEOUT_MS))  # held before anybody can see the directory

        files.make_directory(directory, fill)
        family = cls(directory, holds[0])
        open_broker(family.broker_directory).close()
        return family

    @classmethod
    def join(cls, directory: str) -> Family:
        """Hold a family that is there, since this process has one of its queues. Raises: StorageError: it is gone."""
        return cls(directory, files.share_lock(os.path.join(directory, "alive"), DEFAULT_TIMEOUT_MS))

    def hold(self, topic: str) -> int:
        """Begin to hold a queue that nobody has yet; a descriptor, which whoever closes the last copy of lets go of.

        Raises:
            StorageError, StorageFullError: the file cannot be made.
        """
        path = self._hold_path(topic)
        for tries_left in reversed(range(_MAKING_TRIES)):
            files.write_whole(path, b"", durable=False)
            try:
                return files.share_lock(path, DEFAULT_TIMEOUT_MS)
            except StorageError:  # a collector came between the two lines above
                if not tries_left:
                    raise
        raise AssertionError  # not reached

    @contextlib.contextmanager
    def last_of(self, topic: str) -> Iterator[bool]:
        """Yield whether nobody has a queue any more; if so, nobody can get it, and its hold is gone afterwards."""
        path = self._hold_path(topic)
        with files.storage_errors(path, "cannot be removed"), files.try_lock(path) as unused:
            yield unused
            if unused:
                os.unlink(path)

    def is_held(self, topic: str) -> bool:
        """Return whether any process has a queue. Raises: StorageError."""
        path = self._hold_path(topic)
        with files.storage_errors(path, "cannot be looked at"), files.try_lock(path) as unused:
            return not unused and os.path.exists(path)

    def topics(self) -> list[str]:
        """Return the names of the queues there are, whether somebody has them or not."""
        with files.storage_errors(self.directory, "cannot be listed"):
            return os.listdir(os.path.join(self.directory, "holds"))

    def leave(self) -> None:
        """Let go of the family, and remove it if nobody else has it. Whatever was open of it is closed before."""
        os.close(self._hold)
        try:
            remove_if_dead(self.directory)
        except ShmqError as error:
            _log.warning("a dead family of queues stays: %s", error)

    def _hold_path(self, topic: str) -> str:
        return os.path.join(self.directory, "holds", topic)


def collect_families() -> tuple[list[str], list[str]]:
    """Remove the families of this user that no process has.

    Returns:
        Paths that are gone, and what could not be collected and why.
    """
    removed: list[str] = []
    problems: list[str] = []
    with files.storage_errors(SHARED_MEMORY, "cannot be listed"):
        entries = sorted(os.listdir(SHARED_MEMORY))
    for name in entries:
        try:
            if match := _UNFINISHED.fullmatch(name):
                removed += files.remove_unfinished(os.path.join(SHARED_MEMORY, match[1]))
            elif _FAMILY.fullmatch(name):
                removed += remove_if_dead(os.path.join(SHARED_MEMORY, name))
        except ShmqError as error:
            problems.append(str(error))
    return removed, problems


def remove_if_dead(directory: str) -> list[str]:
    """Remove a family and all that its broker has in /dev/shm, if no process has it; return what is gone.

    Raises:
        StorageError: something of it cannot be removed.
    """
    if not _is_ours(directory):
        return []
    with files.storage_errors(directory, "cannot be removed"):
        alive = os.path.join(directory, "alive")
        with files.try_lock(alive) as unused:
            if not unused or _has_holds(directory):
                return []
            removed = _remove_instance(directory)
            # A death from here on leaves a name that says that nobody wants it.
            leaving = os.path.join(SHARED_MEMORY, f".{os.path.basename(directory)}.new-0")
            os.rename(directory, leaving)
            files.remove_tree(leaving)
            return [*removed, directory]


def _has_holds(directory: str) -> bool:
    """Whether some process has, or is just getting, one of the queues."""
    holds = os.path.join(directory, "holds")
    for name in os.listdir(holds):
        with files.try_lock(os.path.join(holds, name)) as unused:
            if not unused:
                return True
    return False


def _remove_instance(directory: str) -> list[str]:
    """Remove what the broker of a dead family has elsewhere in /dev/shm."""
    try:
        instance = read_identity(os.path.join(directory, "queues", "broker.json")).instance
    except ShmqError:  # its founder died before there was one, or it is damaged
        return []
    removed = []
    for name in os.listdir(SHARED_MEMORY):
        path = os.path.join(SHARED_MEMORY, name)
        if name.startswith(f"sem.shmq-{instance}-"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
                removed.append(path)
    if os.path.isdir(memory_directory(instance)):
        files.remove_tree(memory_directory(instance))
        removed.append(memory_directory(instance))
    return removed


def _is_ours(directory: str) -> bool:
    try:
        status = os.lstat(directory)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
