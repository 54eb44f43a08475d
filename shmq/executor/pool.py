"""The state of a pool: which tasks there are, and where each of them is.

Owns: the tasks that wait and those in the queue, how many of them and how many bytes may be there at once; the lock.
Must never: run code of the user's with the lock held, or know the Executor: nobody else may keep that alive.
Sits: between the Executor, which submits, and the manager, which settles.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import Any, NoReturn

from shmq import packing
from shmq.errors import ForkedError
from shmq.queues import Queue

from . import calls, messages, worker
from .cells import SLOTS, Cells
from .crew import Crew, Worker
from .future import UNSENT, WITHDRAWN, TaskFuture

MOST_BYTES = 64 << 20
"""Of arguments in the queue at once, unless workers would be idle; more of them wait as objects in the parent."""
_ROW = 32
"""Tasks that are sent together, where workers have so many and some more to do before."""
_ROW_BYTES = 4096
"""Messages of this size are not put beside: so a row is small enough to be appended whole, or not at all."""


class Pool:
    """Tasks on their way: in `backlog` as objects, then in the queue and `pending` until they are settled."""

    def __init__(
        self,
        context: BaseContext,
        max_workers: int,
        retries: int,
        initializer: Any,
        initargs: tuple[Any, ...],
        max_tasks_per_child: int | None,
        manage: Callable[[Pool], None],
    ) -> None:
        self.lock = threading.RLock()  # a signal handler may submit or cancel while its own thread holds it
        self.max_workers = max_workers
        self.retries = retries
        self.tasks = Queue(redeliver=True)
        self.results = Queue(redeliver=False)
        self.cells = Cells()
        orders = worker.Orders(
            self.tasks, self.results, self.cells, initializer, initargs, max_tasks_per_child, retries
        )
        self.crew = Crew(context, orders)
        self.pending: dict[int, TaskFuture] = {}
        self.backlog: deque[TaskFuture] = deque()
        self.manager: threading.Thread | None = None
        self.is_closing = False
        self.is_exiting = False
        self.broken = ""
        self._hires_at_once = context.get_start_method() == "fork"  # before there are threads
        self._pid = os.getpid()
        self._serial = 0
        self._slots = deque(range(SLOTS))
        self._bytes = 0
        self._cancelled: dict[int, int] = {}
        self._outbox: list[bytes] = []
        self._is_flushing = False
        self._unsent: list[tuple[int, Exception]] = []
        self._plenty = _ROW + 8 * max_workers
        self._packed: calls.Parts | None = None
        self._manage = manage

    # What the Executor calls.

    def submit(self, call: calls.Call) -> TaskFuture:
        """Put a task into the queue, or behind the others that wait for room there; see `Executor.submit`."""
        if self.is_closing or os.getpid() != self._pid:
            self._refuse()
        future = TaskFuture(self, call)
        packed = None
        if self._slots and not self.backlog:
            try:
                packed = calls.pack(call)
            except Exception as error:
                future.set_exception(error)
                return future
        try:
            large = self._admit(future, packed)
        except BaseException as error:
            self._give_up(future, error)
            raise
        if large is not None:
            self._send(future, large)
        if self._unsent:
            self._fail_unsent()
        return future

    def is_forked(self) -> bool:
        """Whether this is a child of the process that made the pool."""
        return os.getpid() != self._pid

    def withdraw(self, future: TaskFuture) -> bool | None:
        """Keep a task from being started. None: it was cancelled before; False: it was started, or is settled."""
        with self.lock:
            if future.task == WITHDRAWN:
                return None
            if future.task == UNSENT:
                if future.done():
                    return False
            elif self.pending.get(future.task) is not future or not self.cells.cancel(future.task):
                return False
            else:
                self._cancelled[future.task] = self.pending.pop(future.task).sent_bytes
            future.task = WITHDRAWN
            future.call = None
        if self.is_closing:
            self.crew.ring()
        return True

    def is_started(self, future: TaskFuture) -> bool:
        """Whether a worker has started the task, and it is not settled."""
        return future.task >= 0 and self.cells.is_started(future.task)

    def close(self) -> None:
        """No new tasks; the manager ends when those that are there are settled."""
        with self.lock:
            self.is_closing = True
            if self.manager is None:
                self.release()
        self.crew.ring()

    def cancel_all(self) -> None:
        """Cancel every task that was not started."""
        with self.lock:
            futures = [*self.pending.values(), *self.backlog]
        for future in futures:
            future.cancel()

    # What the manager calls.

    def settle(self, tasks: list[int]) -> list[TaskFuture | None]:
        """Take tasks out, and let their slots to others; None for one that was settled before."""
        with self.lock:
            return [self._settle(task) for task in tasks]

    def bury(self, number: int) -> tuple[Worker, list[tuple[TaskFuture, int]]]:
        """Forget a dead worker; return it, and the tasks that were lost with it, with how often each was started."""
        with self.lock:
            started = [(task, self.cells.starts_by(task, number)) for task in self.pending]
            lost = [(self.pending[task], starts) for task, starts in started if starts > self.retries]
            for future, _ in lost:
                self._settle(future.task)
            return self.crew.dismiss(number), lost

    def free_cancelled(self, task: int) -> None:
        """A cancelled task was taken out of the queue: its room may be used again."""
        with self.lock:
            sent_bytes = self._cancelled.pop(task, None)
            if sent_bytes is not None:
                self._free(task, sent_bytes)

    def refill(self) -> None:
        """Put tasks into the queue that waited for room there."""
        while future := self._first_waiting():
            call = future.call
            if call is None:  # it was cancelled just now
                continue
            try:
                packed = self._packed or calls.pack(call)
            except BaseException as error:
                self._give_up(future, error)
                continue
            with self.lock:
                if future.task != UNSENT:
                    continue
                if not self._reserved(future, packed):
                    self._packed = packed
                    break
                large = self._post(future, packed)
            if large is not None:
                self._send(future, large)
        if self._outbox:
            with self.lock:
                self._flush()
        if self._unsent:
            self._fail_unsent()

    def is_finished(self) -> bool:
        """Whether nothing is left to do, and nothing can come."""
        with self.lock:
            return self.is_closing and not self.pending and not self.backlog

    def replace(self) -> None:
        """Start workers for those that died, if there is work for them, or if they are all started at once."""
        with self.lock:
            if not self.is_closing or self.pending or self.backlog:
                self._hire()

    def break_down(self, why: str) -> list[TaskFuture]:
        """No task will be run any more; return those that were not settled."""
        with self.lock:
            self.broken = why
            self.is_closing = True
            left = [*self.pending.values(), *self.backlog]
            self.pending.clear()
            self.backlog.clear()
        return left

    def release(self) -> None:
        """Close both queues."""
        self.tasks.close()
        self.results.close()

    # Inside.

    def _refuse(self) -> NoReturn:
        if self.is_forked():
            raise ForkedError("executor", self._pid, os.getpid())
        if self.broken:
            raise BrokenProcessPool(self.broken)
        when = "interpreter shutdown" if self.is_exiting else "shutdown"
        raise RuntimeError(f"cannot schedule new futures after {when}")

    def _admit(self, future: TaskFuture, packed: calls.Parts | None) -> messages.Message | None:
        """Give it a place in the queue, or in the backlog; return what is to be sent without the lock."""
        large = None
        with self.lock:
            if self.is_closing:
                self._refuse()
            if self.manager is None:
                self._start()
            if packed is not None and not self.backlog and self._reserved(future, packed):
                large = self._post(future, packed)
            else:
                if not self.pending:
                    self.crew.ring()  # no result will make the manager look at the backlog
                self.backlog.append(future)
            if len(self.crew.workers) < self.max_workers:
                self._hire()
        return large

    def _start(self) -> None:
        if self._hires_at_once:
            self._hire()
        manager = threading.Thread(target=self._manage, args=(self,), name="shmq-executor")
        try:
            self.crew.watch()
            manager.start()
        except RuntimeError as error:
            self.broken, self.is_closing = f"no thread could be started to look after the workers: {error}", True
            self.crew.dissolve()
            raise BrokenProcessPool(self.broken) from error
        self.manager = manager

    def _hire(self) -> None:
        """Start as many workers as are wanted. Those that cannot be started are only missed if there are no others."""
        tasks = len(self.pending) + len(self.backlog)
        wanted = self.max_workers if self._hires_at_once and not self.is_closing else min(tasks, self.max_workers)
        while len(self.crew.workers) < wanted:
            try:
                self.crew.hire()
            except OSError:
                if not self.crew.workers:
                    raise
                return

    def _reserved(self, future: TaskFuture, packed: calls.Parts) -> bool:
        """Take room in the queue for a task; False if there is none now."""
        size = packing.size_of(packed)
        if not self._slots or (self._bytes + size > MOST_BYTES and len(self.pending) > self.max_workers):
            return False
        self._serial += 1
        future.task = task = self._serial * SLOTS + self._slots.popleft()
        future.call = None
        future.sent_bytes = size
        self._bytes += size
        self.pending[task] = future
        self.cells.offer(task)
        return True

    def _post(self, future: TaskFuture, packed: calls.Parts) -> messages.Message | None:
        """Send a small message, or put it beside for as long as the workers have plenty; return a large one."""
        message = messages.form(messages.CALL, future.task, packed)
        if not isinstance(message, bytes):
            self._flush()
            return message
        outbox = self._outbox
        outbox.append(message)
        if len(self.pending) - len(outbox) < self._plenty or len(outbox) >= _ROW or len(message) >= _ROW_BYTES:
            self._flush()
        return None

    def _flush(self) -> None:
        """Send what was put beside, in one row, which wakes workers only once."""
        if self._is_flushing:  # then this is a signal handler's doing, or a collector's, in the middle of what follows
            return
        self._is_flushing = True
        try:
            while row := self._outbox[:_ROW]:
                try:
                    self._put_row(row)
                except Exception as error:
                    self._unsent += [(messages.parse(message)[1], error) for message in row]
                del self._outbox[: len(row)]  # if Ctrl-C comes in between, it is sent again: see Cells.start()
        finally:
            self._is_flushing = False

    def _put_row(self, row: list[bytes]) -> None:
        if len(row) == 1:
            self.tasks.put(row[0])
        else:
            self.tasks.put_many(row)

    def _fail_unsent(self) -> None:
        while self._unsent:
            task, error = self._unsent.pop()
            for future in self.settle([task]):
                if future is not None:
                    future.set_exception(error)

    def _send(self, future: TaskFuture, message: messages.Message) -> None:
        try:
            self.tasks.put(message)
        except BaseException as error:
            self._give_up(future, error)
            if not isinstance(error, Exception):
                raise

    def _give_up(self, future: TaskFuture, error: BaseException) -> None:
        """A task that cannot be sent."""
        with self.lock:
            if future.task >= 0:
                self._settle(future.task)
            else:
                future.task, future.call = WITHDRAWN, None
        with contextlib.suppress(InvalidStateError):
            future.set_exception(error)

    def _first_waiting(self) -> TaskFuture | None:
        """Return the first task of the backlog that is still to be sent, if there may be room."""
        while self.backlog and self.backlog[0].task != UNSENT:
            self.backlog.popleft()
            self._packed = None
        return self.backlog[0] if self.backlog and self._slots else None

    def _settle(self, task: int) -> TaskFuture | None:
        future = self.pending.pop(task, None)
        if future is not None:
            self.cells.free(task)
            self._free(task, future.sent_bytes)
        return future

    def _free(self, task: int, sent_bytes: int) -> None:
        self._slots.append(task % SLOTS)
        self._bytes -= sent_bytes
