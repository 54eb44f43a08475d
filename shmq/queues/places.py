"""Which broker a queue lies in, and what a process holds so that it stays there.

Owns: the family that this process founded or was born into, one connection for each broker, and letting go of it all:
when a queue is collected, when the process ends, and anew in each forked child.
Must never: leave a lock held by a thread that a fork has left behind.
Sits: in queues, over `layout` and connection; under the queue classes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import weakref
from dataclasses import dataclass, field
from multiprocessing import context, reduction, util
from typing import Any

from shmq.connection import Connection
from shmq.errors import ShmqError, UnknownTopicOrPartitionError
from shmq.store import Broker, Family, broker_directory

from . import layout

_TIMEOUT_MS = 30_000
_COLLECT_FROM = 32
"""How many queues a family has before a new one is a reason to look for those that nobody has."""
_LAST = -100
"""Exit priority: after everybody else's finalizers, which may use queues yet."""

_log = logging.getLogger(__name__)


class Shared:
    """A connection that the queues of one broker share in this process; closed with the last of them."""

    def __init__(self, directory: str) -> None:
        self.connection = Connection(f"shm://{directory}", timeout_ms=_TIMEOUT_MS)
        weakref.finalize(self, self.connection.close).atexit = False


class _Process:
    """What this process has: forgotten in a forked child, families and the locks on them excepted."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.shared: weakref.WeakValueDictionary[str, Shared] = weakref.WeakValueDictionary()
        self.families: dict[str, Family] = {}
        self.own: Family | None = None
        self.places: weakref.WeakSet[Place] = weakref.WeakSet()
        self.collect_at = _COLLECT_FROM

    def family(self) -> Family:
        """The one for new queues: that of the first queue that this process got or made."""
        with self.lock:
            if self.own is None:
                self.own = Family.make()
                self._adopted(self.own)
            return self.own

    def adopt(self, directory: str) -> Family:
        """The family of a queue that came from another process."""
        with self.lock:
            family = self.families.get(directory)
            if family is None:
                family = Family.join(directory)
                self._adopted(family)
                self.own = self.own or family
            return family

    def _adopted(self, family: Family) -> None:
        self.families[family.directory] = family
        util.register_after_fork(family, _leave_at_exit)
        _leave_at_exit()


_process = _Process()


def connect(directory: str) -> Shared:
    """Return the connection that this process has to a broker. Errors: `Connection`."""
    with _process.lock:
        shared = _process.shared.get(directory)
        if shared is None:
            shared = _process.shared[directory] = Shared(directory)
        return shared


@dataclass(eq=False)
class Place:
    """Where one queue lies. Pickled while a process is spawned, it becomes that process's own hold on it.

    Attributes:
        directory: The broker's.
        topic: The queue's name there.
        family: None: the queue has a name, and stays until it is deleted.
        holds: Descriptors that keep the queue, by what for: "", and "writer" where ends are told apart.
    """

    directory: str
    topic: str
    family: Family | None = None
    holds: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _process.places.add(self)

    def drop(self, purpose: str) -> None:
        """Let go of one of the holds; a second time does nothing."""
        descriptor = self.holds.pop(purpose, None)
        if descriptor is not None:
            os.close(descriptor)

    def is_held(self, purpose: str) -> bool:
        """Whether any process has this hold."""
        assert self.family is not None
        return self.family.is_held(_hold_name(self.topic, purpose))

    def release(self) -> None:
        """Let go of the queue, and remove it if nobody else has it; a second time does nothing."""
        if self.family is None or "" not in self.holds:
            return
        for purpose in list(self.holds):
            self.drop(purpose)
        for each in self.family.topics():
            if each.partition(".")[0] == self.topic:
                _remove_unused(self.family, each)

    def __getstate__(self) -> tuple[Any, ...]:
        if self.family is None:
            return self.directory, self.topic, None, {}
        context.assert_spawning(self)
        holds = {purpose: reduction.DupFd(descriptor) for purpose, descriptor in self.holds.items()}
        return self.directory, self.topic, self.family.directory, holds

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.directory, self.topic, family, holds = state
        self.holds = {purpose: each.detach() for purpose, each in holds.items()}
        for descriptor in self.holds.values():
            os.set_inheritable(descriptor, False)
        self.family = _process.adopt(family) if family else None
        self.__post_init__()


def new_place(*purposes: str) -> Place:
    """Return a place for a queue without a name. Raises: StorageError, StorageFullError."""
    family = _process.family()
    topic = f"queue-{secrets.token_hex(6)}"
    holds = {purpose: family.hold(_hold_name(topic, purpose)) for purpose in ("", *purposes)}
    if len(names := family.topics()) >= _process.collect_at:
        for each in names:
            _remove_unused(family, each)
        _process.collect_at = max(_COLLECT_FROM, 2 * len(family.topics()))
    return Place(family.broker_directory, topic, family, holds)


def named_place(name: str, bootstrap_servers: str | None) -> Place:
    """Return where a queue with a name lies. Raises: KafkaConfigurationError: no such address."""
    return Place(broker_directory(bootstrap_servers), name)


def _hold_name(topic: str, purpose: str) -> str:
    return f"{topic}.{purpose}" if purpose else topic


def _remove_unused(family: Family, topic: str) -> None:
    """Remove a queue that nobody has; if something is in the way, whoever looks next will do it."""
    try:
        with family.last_of(topic) as unused:
            if unused:
                _delete(family, topic)
    except ShmqError as error:
        _log.debug("%s stays for now: %s", topic, error)


def _delete(family: Family, topic: str) -> None:
    """Without waiting: this may be the garbage collector's doing, in the middle of anything."""
    if "." in topic:
        return  # an end's hold: there is nothing else to it
    broker = connect(family.broker_directory).connection.broker
    with contextlib.suppress(UnknownTopicOrPartitionError):  # its maker died before it was made
        delete_queue(broker, topic, timeout_ms=0)


def delete_queue(broker: Broker, topic: str, *, timeout_ms: float = _TIMEOUT_MS) -> None:
    """Delete a queue. Raises: UnknownTopicOrPartitionError: there is none; KafkaTimeoutError, StorageError."""
    layout.remove(broker, topic, timeout_ms)


# -- the end of a process, and its children ---------------------------------------------------------------------------

forgetful: weakref.WeakSet[Any] = weakref.WeakSet()
"""Objects with `_forget()`, which drops what only this process may use: called in a forked child, and at the end."""


def _leave_at_exit(_: Any = None) -> None:
    """Children of multiprocessing run its finalizers alone, and only those that were made in them."""
    util.Finalize(None, _leave, exitpriority=_LAST)


def _leave() -> None:
    for each in list(forgetful):
        each._forget()
    for place in list(_process.places):
        place.release()
    for shared in list(_process.shared.values()):
        shared.connection.close()
    families = list(_process.families.values())
    _process.families.clear()
    _process.own = None
    for family in families:
        family.leave()


def _after_fork_in_child() -> None:
    _process.lock = threading.RLock()
    _process.shared = weakref.WeakValueDictionary()
    for each in list(forgetful):
        each._forget()
    if _process.families:
        _leave_at_exit()


os.register_at_fork(after_in_child=_after_fork_in_child)
