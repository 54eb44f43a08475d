"""The thread of the parent that turns messages into results of futures.

Owns: what a message means, a death's among them, and the end of a pool.
Must never: run code of the user's with the pool's lock held, or leave a future to wait for a task that nobody will run.
Sits: over the pool.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import InvalidStateError
from concurrent.futures.process import BrokenProcessPool
from traceback import format_exc
from typing import Any

from shmq.errors import WorkerDiedError

from . import messages
from .future import TaskFuture
from .pool import Pool

SPARE_STARTS = 3
"""So many workers, beyond one for each place in the pool, may die in a row before one gets through its initializer."""
_MOST_MESSAGES = 1000


def run(pool: Pool) -> None:
    """Manage a pool until it is closed and everything is settled, or until it breaks."""
    manager = _Manager(pool)
    try:
        while not pool.is_finished():
            manager.handle([*map(messages.parse, pool.results.get_many(_MOST_MESSAGES))])
            pool.refill()
        for _ in pool.crew.workers:
            pool.tasks.put(messages.form(messages.STOP, 0))
        pool.crew.end()
    except _BrokenError as broken:
        _break(pool, *broken.args)
    except BaseException:  # nobody else would end the waiting of those who hold futures
        _break(pool, "the thread that looks after the workers has failed; this is a fault in shmq", format_exc())
    pool.release()


class _BrokenError(Exception):
    """The pool cannot go on. Its arguments: why, and a traceback or ""."""


class _Manager:
    """What the thread does with messages, and what it knows between two of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._failed_starts = 0
        self._failures: dict[int, str] = {}

    def handle(self, batch: list[tuple[int, int, Any]]) -> None:
        """Settle what has a result; then see to the workers: what a dead one had sent lies before its death."""
        settled = [number for kind, number, _ in batch if kind <= messages.ERROR]
        futures = iter(self._pool.settle(settled))
        for kind, number, body in batch:
            if kind > messages.ERROR:
                self._note(kind, number, body)
            elif future := next(futures):  # None: the second result of a task that was started twice
                _resolve(future, kind, body)

    def _note(self, kind: int, number: int, body: Any) -> None:
        if kind == messages.UNWANTED:
            self._pool.free_cancelled(number)
        elif kind == messages.READY:
            self._failed_starts = 0
            self._pool.crew.workers[number].is_ready = True
        elif kind == messages.BROKEN:
            self._failures[number] = messages.unpack(body)  # it is still to flush what it has logged
        elif kind == messages.DIED:
            self._bury(number)

    def _bury(self, number: int) -> None:
        """Fail what a dead worker was the last to be allowed to run, and replace it."""
        worker, lost = self._pool.bury(number)
        pid, exit_code = worker.process.pid or 0, worker.exit_code()
        for future, starts in lost:
            _fail(future, WorkerDiedError(pid, exit_code, starts))
        if number in self._failures:
            raise _BrokenError("the initializer has failed, so the pool cannot be used", self._failures[number])
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts > self._pool.max_workers + SPARE_STARTS:
                last = WorkerDiedError(pid, exit_code)
                raise _BrokenError(
                    f"{self._failed_starts} workers in a row died before they had run the initializer; the last: {last}"
                )
        try:
            self._pool.replace()
        except OSError as error:
            raise _BrokenError(f"no worker could be started: {error}", format_exc()) from error


def _resolve(future: TaskFuture, kind: int, body: Any) -> None:
    if kind == messages.ERROR:
        _fail(future, messages.unpack_error(body))
        return
    try:
        future.set_result(messages.unpack(body))
    except InvalidStateError:  # somebody else has set it
        return
    except BaseException as error:  # unpickling may raise anything, SystemExit for one
        _fail(future, error)


def _fail(future: TaskFuture, error: BaseException) -> None:
    with contextlib.suppress(InvalidStateError):
        future.set_exception(error)


def _break(pool: Pool, why: str, traceback: str = "") -> None:
    for future in pool.break_down(why):
        error = BrokenProcessPool(why)
        error.__cause__ = messages.remote_traceback(traceback) if traceback else None
        _fail(future, error)
    pool.crew.dissolve()
