"""The public face: `concurrent.futures.Executor` over a pool.

Owns: arguments and their checks, `map`, the end of the interpreter.
Must never: be referred to by its own pool or its threads, so that one that nobody holds can end.
Sits: rightmost in its room.
"""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import multiprocessing
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from . import manager
from .cells import MOST_STARTS
from .pool import Pool

_Result = TypeVar("_Result")


class Executor(concurrent.futures.Executor):
    """`ProcessPoolExecutor` that goes on when a worker is killed.

    A task whose worker died runs again, up to `retries` times; then its future, and no other, fails with
    `WorkerDiedError`, which says which process died of what. A task may have had effects before its worker died, so
    by default it is not run again. Otherwise it behaves like `ProcessPoolExecutor`, and differs in this:

    - `cancel()` succeeds until a worker has started the task, and `running()` says whether one has.
    - A result that cannot be unpickled fails its own future only.
    - Arrays and other large buffers travel through shared memory, without a copy through pickle, both ways.
    - Workers end when the process that made the pool is gone, in the middle of a task too.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        retries: int = 0,
    ) -> None:
        """Make a pool; processes are started with the first task.

        Args:
            max_workers: Most worker processes at once; default: as many as there are CPUs for this process.
            mp_context: How they are started, from `multiprocessing.get_context` or `shmq.get_context`; default:
                multiprocessing's, or "spawn" if `max_tasks_per_child` is given. With "fork" all are started at once,
                before the pool has threads; only one that replaces a dead worker is forked later.
            initializer: Called in each worker before its first task. If it raises, the pool is broken.
            initargs: Its arguments.
            max_tasks_per_child: A worker ends after so many tasks, and is replaced; not with "fork".
            retries: How often a task may be started again because its worker died, 0 to 4094.

        Raises:
            ValueError, TypeError: an argument that cannot be.

        Source: ProcessPoolExecutor.
        """
        workers = _default_workers() if max_workers is None else max_workers
        if workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if isinstance(retries, bool) or not isinstance(retries, int):
            raise TypeError(f"retries must be an integer, not {type(retries).__name__}")
        if not 0 <= retries < MOST_STARTS:
            raise ValueError(f"retries must be between 0 and {MOST_STARTS - 1}, not {retries}")
        if mp_context is None:
            mp_context = multiprocessing.get_context(None if max_tasks_per_child is None else "spawn")
        _check_tasks_per_child(max_tasks_per_child, mp_context)
        self._max_workers = workers
        self._mp_context = mp_context
        self._pool = Pool(mp_context, workers, retries, initializer, initargs, max_tasks_per_child, manager.run)
        self._collected = weakref.ref(self, functools.partial(_let_go, self._pool))
        _pools.add(self._pool)

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> Future[_Result]:
        """Have `fn(*args, **kwargs)` called in a worker.

        Arguments are pickled here and now, unless thousands of tasks, or 64 MiB of arguments, are waiting already.

        Returns:
            Its future, which fails with: what `fn` raised (its cause is the traceback in the worker); what pickling
            raised; `StorageFullError`, if /dev/shm has no room for the arguments; `WorkerDiedError`.

        Raises:
            RuntimeError: after `shutdown`, or when the interpreter ends.
            BrokenProcessPool: the initializer failed, or workers die before they are set up.
            ForkedError: the pool was made by the parent of this process.
            OSError: no worker could be started.

        Source: Executor.submit.
        """
        return self._pool.submit((fn, args, kwargs))

    def map(
        self,
        fn: Callable[..., _Result],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[_Result]:
        """Return an iterator over `fn(*each)` for each of `zip(*iterables)`, in their order.

        Args:
            timeout: Seconds from now until the last result; TimeoutError from the iterator after that.
            chunksize: So many calls are one task, and are retried or lost as one.

        Raises:
            ValueError: `chunksize` below 1.

        Source: ProcessPoolExecutor.map.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        chunks = _chunks(zip(*iterables, strict=False), chunksize)
        return _each_of(super().map(functools.partial(_call_each, fn), chunks, timeout=timeout))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; workers end when there are none left.

        Args:
            wait: Until then.
            cancel_futures: Cancel the tasks that no worker has started.

        Source: Executor.shutdown.
        """
        pool = self._pool
        if pool.is_forked():
            return  # it is the parent's to end
        pool.close()
        if cancel_futures:
            pool.cancel_all()
        if wait and pool.manager is not None and pool.manager is not threading.current_thread():
            pool.manager.join()

    # Names that others look at in ProcessPoolExecutor.

    @property
    def _processes(self) -> dict[int, BaseProcess]:
        return self._pool.crew.processes

    @property
    def _broken(self) -> str:
        return self._pool.broken

    @property
    def _executor_manager_thread(self) -> threading.Thread | None:
        return self._pool.manager

    @property
    def _call_queue(self) -> Any:
        return self._pool.tasks


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _let_go(pool: Pool, _: object) -> None:
    """The executor was collected: its tasks are finished, then the pool ends. No lock, in a collector's callback."""
    pool.is_closing = True
    pool.crew.ring()


def _at_exit() -> None:
    """Wait for all tasks, as ProcessPoolExecutor does. Called before the interpreter joins its threads."""
    mine = [(each, each.manager) for each in _pools if each.manager is not None and not each.is_forked()]
    for pool, _ in mine:
        pool.is_exiting = True
        pool.close()
    for _, thread in mine:
        thread.join()


threading._register_atexit(_at_exit)  # type: ignore[attr-defined]


def _default_workers() -> int:
    return len(os.sched_getaffinity(0))


def _check_tasks_per_child(tasks: int | None, context: BaseContext) -> None:
    if tasks is None:
        return
    if not isinstance(tasks, int):
        raise TypeError("max_tasks_per_child must be an integer")
    if tasks <= 0:
        raise ValueError("max_tasks_per_child must be >= 1")
    if context.get_start_method() == "fork":
        raise ValueError(
            "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method;"
            " supply a different mp_context."
        )


def _chunks(calls: Iterator[tuple[Any, ...]], chunksize: int) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(itertools.islice(calls, chunksize)):
        yield chunk


def _call_each(fn: Callable[..., Any], chunk: list[tuple[Any, ...]]) -> list[Any]:
    return [fn(*args) for args in chunk]


def _each_of(lists: Iterator[list[_Result]]) -> Iterator[_Result]:
    """The elements of lists, none of which is kept."""
    for each in lists:
        each.reverse()
        while each:
            yield each.pop()
