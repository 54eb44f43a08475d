"""A client's hold on a broker: the open directory, this process's slot, and the partitions it has mapped.

Owns: what a producer and a consumer have in common, and letting go of it when the process ends.
Must never: outlive a fork; a child makes its own.
Sits: over store; under producer and consumer.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Sequence
from multiprocessing import util

from shmq import _native
from shmq.store import Broker, TopicMeta, Topics, broker_directory, open_broker, open_partition

_open: weakref.WeakSet[Connection] = weakref.WeakSet()


class Connection:
    """An open broker, a process slot in it, and its topics.

    Args:
        bootstrap_servers: `"shm://name"`, `"shm:///directory"`, or None for the default; see the store's `address`.
        timeout_ms: Longest wait for administrators of the same broker.
        auto_create: Whether `topic` makes a topic that does not exist.

    Raises:
        NotABrokerError, UnsupportedVersionError, StorageError: what lies there is not a broker that can be used.
        TooManyProcessesError: every process slot of the broker is taken.
    """

    def __init__(
        self, bootstrap_servers: str | Sequence[str] | None, *, timeout_ms: float, auto_create: bool = False
    ) -> None:
        self.pid = os.getpid()
        self.broker: Broker = open_broker(broker_directory(bootstrap_servers), timeout_ms=timeout_ms)
        self.topics = Topics(self.broker, timeout_ms)
        self._auto_create = auto_create
        try:
            self.process = _native.Process(self.broker.directory, self.broker.instance)
        except BaseException:
            self.broker.close()
            raise
        _open.add(self)
        # Children of multiprocessing leave without running atexit, but they do run its own finalizers.
        self._finalizer = util.Finalize(None, _close_all, exitpriority=0)

    def topic(self, name: str) -> TopicMeta:
        """Return a topic, made if there is none and `auto_create` allows it. Errors: `Topics.load_or_create`."""
        return self.topics.load_or_create(name) if self._auto_create else self.topics.load(name)

    def partition(self, meta: TopicMeta, number: int) -> _native.Partition:
        """Map a partition's control file. Raises: CorruptSegmentError, UnsupportedVersionError, StorageError."""
        return open_partition(self.process, meta, number)

    def close(self) -> None:
        """Give the slot back, unless it is the parent's; a second time does nothing."""
        _open.discard(self)
        self._finalizer.cancel()
        self.process.close()
        if self.pid == os.getpid():
            self.broker.close()


def _close_all() -> None:
    """Free the slots and doorbells of clients that nobody closed; the kernel frees the locks, but not the names."""
    for each in list(_open):
        if each.pid == os.getpid():
            each.close()


atexit.register(_close_all)
