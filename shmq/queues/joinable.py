"""JoinableQueue: what was put, less what is done.

Owns: counting from the log, so that no death can leave the count wrong, and waking those in join().
Must never: keep a second count of what was put.
Sits: in queues, over `queue`. Source: multiprocessing.queues of CPython.
"""

from __future__ import annotations

import contextlib
from typing import Any

import posix_ipc

from shmq.errors import StorageError
from shmq.store import doorbells

from .handle import SLICE_MS
from .layout import bell_name
from .opened import Opened
from .queue import Queue
from .words import DONE, JOINERS


class JoinableQueue(Queue):
    """A Queue with multiprocessing.JoinableQueue's `task_done` and `join`.

    With `redeliver`, `task_done` is for the thread that took the item; without, for whoever likes, as there.
    """

    def task_done(self) -> None:
        """One of the items that were taken is done.

        Raises:
            ValueError: called more often than items were put, or, with `redeliver`, than this thread has taken.
        """
        opened = self._open()
        if opened.redelivers:
            super().task_done()
        elif opened.words.add_below(DONE, self._put_total()) is None:
            raise ValueError("task_done() called too many times")
        self._tell_joiners(opened)

    def join(self) -> None:
        """Wait until every item that was put is done.

        An item of a process that died before `task_done` is never done, as with multiprocessing, unless the queue
        redelivers.
        """
        if not self._unfinished():
            return
        opened = self._open()
        bell = _bell(opened, create=True)
        opened.words.add(JOINERS, 1)
        try:
            while self._unfinished():
                with contextlib.suppress(posix_ipc.BusyError):  # looks again: a death rings nobody
                    bell.acquire(SLICE_MS / 1000)
        finally:
            bell.close()
            if not opened.words.add(JOINERS, -1):
                doorbells.unlink(_bell_name(opened))

    def _drain(self) -> None:
        super()._drain()
        self._tell_joiners(self._open())

    def _unfinished(self) -> int:
        opened = self._open()
        if opened.redelivers:
            counts = self._counts()
            return counts["ready"] + counts["in_flight"] + counts["delayed"]
        return self._put_total() - opened.words.get(DONE)

    def _put_total(self) -> int:
        """Items that were ever put, those that a purge removed excepted."""
        counts = self._counts()
        return sum(counts[kind] for kind in ("ready", "in_flight", "delayed", "accepted", "rejected"))

    def _tell_joiners(self, opened: Opened) -> None:
        joiners = opened.words.get(JOINERS)
        if joiners and not self._unfinished():
            with contextlib.suppress(posix_ipc.ExistentialError):
                bell = _bell(opened, create=False)
                for _ in range(joiners - bell.value):
                    bell.release()
                bell.close()


def _bell_name(opened: Opened) -> str:
    return bell_name(opened.shared.connection.broker, opened.layout.meta)


def _bell(opened: Opened, *, create: bool) -> Any:
    """The semaphore for those in join(): there while somebody is."""
    name = _bell_name(opened)
    if not create:
        return posix_ipc.Semaphore(name)
    try:
        return posix_ipc.Semaphore(name, posix_ipc.O_CREAT, mode=0o600, initial_value=0)
    except (posix_ipc.Error, OSError) as error:
        raise StorageError(f"/dev/shm{name}", f"the semaphore for join() cannot be made: {error}") from error
