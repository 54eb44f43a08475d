"""What a worker process does: take a task, run it, send what came of it; until it is told to stop.

Owns: the loop, the initializer, signals, and noticing that the parent is gone.
Must never: run a task that `cells` does not give to it, or die of what a task raises.
Sits: beside the pool; it runs in the child.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from traceback import format_exc
from types import FrameType
from typing import Any, NamedTuple

from shmq import packing
from shmq.queues import Queue

from . import calls, messages
from .cells import Cells

_log = logging.getLogger("concurrent.futures")  # where ProcessPoolExecutor reports a failing initializer, too


class Orders(NamedTuple):
    """What a worker is told when it is started."""

    tasks: Queue
    results: Queue
    cells: Cells
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    most_tasks: int | None
    retries: int


def main(orders: Orders, number: int) -> None:
    """Be the worker with this number."""
    _end_with_the_parent()
    ctrl_c = _CtrlC()
    if orders.initializer is not None:
        try:
            ctrl_c.interrupts = True
            orders.initializer(*orders.initargs)
            ctrl_c.interrupts = False
        except BaseException:
            ctrl_c.interrupts = False
            _log.critical("Exception in initializer:", exc_info=True)
            orders.results.put(messages.form(messages.BROKEN, number, packing.dumps(format_exc())))
            return
    orders.results.put(messages.form(messages.READY, number))
    _work(orders, number, ctrl_c)


def _work(orders: Orders, number: int, ctrl_c: _CtrlC) -> None:
    tasks, results, cells, retries = orders.tasks, orders.results, orders.cells, orders.retries
    left = orders.most_tasks
    while left != 0:
        kind, task, body = messages.parse(tasks.get())
        if kind == messages.STOP:
            break
        if cells.start(task, number, retries, tasks.delivery_count > 1):
            results.put(_outcome(task, body, ctrl_c))
            if left is not None:
                left -= 1
        elif cells.is_cancelled(task):
            results.put(messages.form(messages.UNWANTED, task))
        del body  # what it holds may be large, and the next task may be long in coming
    tasks.task_done()


def _outcome(task: int, body: Any, ctrl_c: _CtrlC) -> messages.Message:
    """Run a task; return the message that says what came of it."""
    try:
        ctrl_c.interrupts = True
        function, args, kwargs = calls.unpack(body)
        message = messages.form_result(task, function(*args, **kwargs))
        ctrl_c.interrupts = False
    except BaseException as error:
        ctrl_c.interrupts = False
        return messages.form_error(task, error)
    return message


class _CtrlC:
    """Ctrl-C reaches the task that runs, if any; a worker between tasks is not disturbed by it."""

    def __init__(self) -> None:
        self.interrupts = False
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.interrupts:
            signal.default_int_handler(number, frame)


def _end_with_the_parent() -> None:
    """Leave at once when the parent is gone, in the middle of a task too: nobody would take the result."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent,), name="shmq-parent-watch", daemon=True).start()


def _watch(parent: Any) -> None:
    """Wait for the end of the parent. Its sentinel alone would not do: later workers hold a copy of it after a fork."""
    ends = select.poll()
    ends.register(parent.sentinel, select.POLLIN)
    try:
        ends.register(os.pidfd_open(parent.pid), select.POLLIN)
    except ProcessLookupError:
        os._exit(1)
    except OSError:  # an old kernel: the sentinel has to do
        pass
    ends.poll()
    os._exit(1)
