"""Queue: multiprocessing's, on the log.

Owns: the public signatures and what they promise.
Must never: differ from multiprocessing where that is not said here.
Sits: in queues, over `base`; put() and get() are QueueCore's, in C. Source: CPython's multiprocessing and queue.
"""

from __future__ import annotations

import logging
import types
from collections.abc import Iterable
from typing import Any, ClassVar

from shmq.errors import ShmqError
from shmq.packing import Part

from .base import BaseQueue
from .layout import Shape
from .places import Place, connect, delete_queue, named_place, new_place
from .takers import ACCEPT, Taker
from .words import CLOSED_TO_ALL, DONE, OPEN_TO_GET, SHUTDOWN

_DRAIN_ITEMS = 1000
_log = logging.getLogger(__name__)


class Queue(BaseQueue):
    """A first-in, first-out queue between processes and threads, with multiprocessing.Queue's methods and exceptions.

    Args:
        maxsize: Most items in it: `put` waits while it is full. 0 or less: no limit, `put` never waits.
        ctx: Accepted, as multiprocessing.queues.Queue takes it; a queue can be passed under any start method.
        name: For processes that are not relatives: a topic of this name in the broker. It stays until `delete`.
            None: it goes to children, and is gone with the last process that has it, however that ends.
        redeliver: An item is done when the thread that took it takes the next one or calls `task_done`; if it, or its
            process, ends before, another `get` gets the item.
        max_deliveries: With `redeliver`: an item that was taken so often and never settled is given up, with a warning;
            by whoever would get it next. If the queue has a name, it is put into the queue NAME.dead.
        max_bytes: Most bytes of items in it. None: what /dev/shm has.
        bootstrap_servers: The broker of a queue with a name; see `Producer`.

    Raises:
        TypeError, ValueError: an argument cannot be.
        InvalidConfigurationError: the queue of this name was made otherwise.
        StorageError, StorageFullError: it cannot be made.

    Better than multiprocessing's: `put` itself raises what pickling raises, and returns when the item can be taken;
    counts are exact; a process killed anywhere hangs nobody; `q` itself can be waited for.
    """

    def __init__(
        self,
        maxsize: int = 0,
        *,
        ctx: Any = None,  # noqa: ARG002
        name: str | None = None,
        redeliver: bool = False,
        max_deliveries: int | None = None,
        max_bytes: int | None = None,
        bootstrap_servers: str | None = None,
    ) -> None:
        shape = Shape.checked(maxsize, redeliver, max_bytes)
        if max_deliveries is not None:
            if isinstance(max_deliveries, bool) or not hasattr(max_deliveries, "__index__"):
                raise TypeError(f"max_deliveries must be int or None, not {type(max_deliveries).__name__}")
            if max_deliveries < 1:
                raise ValueError(f"max_deliveries={max_deliveries}: 1 or more, or None for no limit")
        if name is None and bootstrap_servers is not None:
            raise ValueError("bootstrap_servers is for queues that have a name")
        place = new_place() if name is None else named_place(name, bootstrap_servers)
        super().__init__(place, shape, max_deliveries)

    def _set_up(self, place: Place, shape: Shape, max_deliveries: int | None) -> None:
        super()._set_up(place, shape, max_deliveries)
        self._dead: Queue | None = None

    # -- multiprocessing's -------------------------------------------------------------------------------------------

    def put_nowait(self, obj: Any) -> None:
        """Put an item if there is room now. Errors: `put`."""
        self.put(obj, False)

    def get_nowait(self) -> Any:
        """Take an item if there is one now. Errors: `get`."""
        return self.get(False)

    def full(self) -> bool:
        """Return whether there are `maxsize` items. Exact, at some time during the call."""
        most = self._open().window.max_items
        return bool(most) and self.qsize() >= most

    def close(self) -> None:
        """Let go of the queue in this process; a second time does nothing. What was put stays for the others."""
        if not self._closed:
            self._closed_ends |= {"reader", "writer"}
            self._close()

    def join_thread(self) -> None:
        """Do nothing: what was put is there. Raises: AssertionError: not closed, as multiprocessing has it."""
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self) -> None:
        """Do nothing: there is no thread."""

    # -- more than that ----------------------------------------------------------------------------------------------

    def put_many(self, objs: Iterable[Any], block: bool = True, timeout: float | None = None) -> None:
        """Put items in their order, which is much faster than one by one. Others may put theirs in between.

        Raises:
            As `put`, before anything was put if it is pickling; else a note says how many were put.
        """
        if self._closed:
            raise self._closed_error()
        self._put_many(objs, block, timeout)

    def get_many(self, most: int, block: bool = True, timeout: float | None = None) -> list[Any]:
        """Take up to `most` items: wait for the first as `get` does, then take what else is there.

        Returns:
            1 or more. Where one cannot be unpickled, those before it; the next call raises.

        Raises:
            ValueError: `most` is not 1 or more. And as `get`.
        """
        if most < 1:
            raise ValueError(f"most={most}: 1 or more")
        return self._get_many(most, block, timeout)

    def shutdown(self, immediate: bool = False) -> None:
        """Let `put` raise ShutDown from now on in every process, and `get` too once nothing is left.

        Args:
            immediate: Drop what is left, and let every `get` raise at once.

        Those who wait in `put` or `get` are told within 50 ms. Source: queue.Queue.shutdown of Python 3.13.
        """
        words = self._open().words
        words.raise_to(SHUTDOWN, CLOSED_TO_ALL if immediate else OPEN_TO_GET)
        if immediate:
            self._drain()

    def task_done(self) -> None:
        """With `redeliver`: the oldest item that this thread has taken and not settled is done.

        Without, it does nothing: an item is done once it is taken. (A logging.handlers.QueueListener calls it.)

        Raises:
            ValueError: there is none such.
        """
        taker: Taker | None = getattr(self._local, "taker", None)
        if not self._open().redelivers:
            return
        if taker is None or taker.owed <= 0:
            raise ValueError("task_done() called too many times")
        taker.owed -= 1
        taker.settle(1)

    @property
    def delivery_count(self) -> int:
        """How often the item was delivered that this thread took last, that time included; 0 before the first one."""
        taker: Taker | None = getattr(self._local, "taker", None)
        return 0 if taker is None else taker.delivery_count if taker.redelivers else 1

    @property
    def given_up(self) -> int:
        """How many items were given up after `max_deliveries`, by all processes together."""
        return self._counts()["rejected"]

    def delete(self) -> None:
        """Remove a queue that has a name, with everything in it; those who use it get UnknownTopicOrPartitionError.

        Raises:
            ValueError: it has no name; that goes by itself.
            UnknownTopicOrPartitionError: it is gone already.
        """
        if self._place.family is not None:
            raise ValueError("a queue without a name is removed with the last process that has it")
        shared = connect(self._place.directory)
        self.close()
        delete_queue(shared.connection.broker, self._place.topic)

    def _drain(self) -> None:
        """Take and forget what is there."""
        opened = self._open()
        taker = Taker(opened)
        while rows := taker._take_values(0.0, _DRAIN_ITEMS):
            for row in rows:
                taker.drop(row, ACCEPT)
            opened.words.add(DONE, len(rows))

    def _bury(self, packed: Part) -> None:
        """To NAME.dead. Where that cannot be, the log has at least the item's size."""
        if self._place.family is not None:
            return
        try:
            if self._dead is None:
                self._dead = Queue(name=f"{self._place.topic}.dead", bootstrap_servers=f"shm://{self._place.directory}")
            self._dead._put_packed(packed)
        except ShmqError as error:
            _log.error("an item of %d bytes that %r gives up cannot be kept: %s", len(packed), self, error)

    def _drop(self) -> None:
        if self._dead is not None:
            self._dead.close()
            self._dead = None
        super()._drop()

    def __repr__(self) -> str:
        return f"<shmq.{type(self).__name__} {self._place.topic}>"

    __class_getitem__: ClassVar[Any] = classmethod(types.GenericAlias)
