"""The worker processes of a pool, and the thread that notices when one dies.

Owns: starting workers, what was started, and waking the manager.
Must never: decide what a death means.
Sits: under the pool, whose lock protects it.

The watching thread sleeps until a worker dies or somebody rings, and puts that into the queue of results: so the
manager waits for one thing only, and reads of a death after all that the dead worker had sent.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from . import messages, worker

_NO_EXIT_CODE_S = 10.0
_GRACE_S = 5.0
_RETRY_S = 0.1


class Worker:
    """A worker process that was started. `is_ready`: its initializer has returned."""

    def __init__(self, number: int, process: BaseProcess, death: int) -> None:
        self.number = number
        self.process = process
        self.death = death
        """What is readable when it is dead, -1 after that was closed."""
        self.is_ready = False

    def exit_code(self) -> int | None:
        """Return that of a dead worker: negative for a signal; None if somebody else has taken it."""
        if self.process.exitcode is None:  # a fork server reports it a little later
            self.process.join(_NO_EXIT_CODE_S)
        return self.process.exitcode

    def close(self) -> None:
        """Let go of the descriptor; a second time does nothing."""
        death, self.death = self.death, -1
        if death not in (-1, self.process.sentinel):
            os.close(death)


class Crew:
    """All workers that were started and whose death was not yet read of."""

    def __init__(self, context: BaseContext, orders: worker.Orders) -> None:
        self.workers: dict[int, Worker] = {}
        self.processes: dict[int, BaseProcess] = {}
        self._context: Any = context
        self._orders = orders
        self._started = 0
        self._bell = _Bell()
        self._is_over = False
        self._deaths = select.epoll()
        self._deaths.register(self._bell.descriptor, select.EPOLLIN)
        self._numbers: dict[int, int] = {}
        self._watcher = threading.Thread(target=self._watch, name="shmq-crew-watch", daemon=True)

    def hire(self) -> None:
        """Start one worker. Raises: whatever starting a process raises, OSError for one."""
        self._started += 1
        number = self._started
        process = self._context.Process(target=worker.main, args=(self._orders, number), name=f"shmq-worker-{number}")
        process.start()
        death = _descriptor_of_death(process)
        self.workers[number] = Worker(number, process, death)
        self.processes[process.pid] = process
        self._numbers[death] = number
        self._deaths.register(death, select.EPOLLIN)

    def dismiss(self, number: int) -> Worker:
        """Forget a worker that is dead."""
        dead = self.workers.pop(number)
        self.processes.pop(dead.process.pid or 0, None)
        return dead

    def watch(self) -> None:
        """Start the watching thread. Raises: RuntimeError, if no thread can be started."""
        self._watcher.start()

    def ring(self) -> None:
        """Have the manager look at the flags of the pool. From anywhere: a collector's callback, a signal handler."""
        self._bell.ring()

    def dissolve(self) -> None:
        """End all workers, whatever they do, and stop watching."""
        for each in [*self.workers.values()]:
            each.process.terminate()
        for each in [*self.workers.values()]:
            each.process.join(_GRACE_S)
            if each.process.is_alive():
                each.process.kill()
        self.end()

    def end(self) -> None:
        """Wait until all workers have left, and stop watching."""
        for each in [*self.workers.values()]:
            each.process.join()
        self._is_over = True
        self._bell.ring()
        if self._watcher.ident is not None:
            self._watcher.join()
        for each in self.workers.values():
            each.close()

    def _watch(self) -> None:
        while not self._is_over:
            for descriptor, _ in self._deaths.poll():
                if descriptor == self._bell.descriptor:
                    self._bell.clear()
                    self._report(messages.form(messages.WAKE, 0))
                elif descriptor in self._numbers:
                    self._deaths.unregister(descriptor)
                    number = self._numbers.pop(descriptor)
                    self.workers[number].close()
                    self._report(messages.form(messages.DIED, number))

    def _report(self, message: messages.Message) -> None:
        """Put it into the results. It must arrive, so a full /dev/shm is waited out."""
        while not self._is_over:
            with contextlib.suppress(queue.Full):
                self._orders.results.put(message)
                return
            threading.Event().wait(_RETRY_S)


class _Bell:
    """A descriptor that can be waited for, which is closed only when nobody can ring it any more."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._pid = os.getpid()

    def ring(self) -> None:
        if os.getpid() == self._pid:  # a forked child has inherited the same eventfd
            with contextlib.suppress(BlockingIOError):
                os.eventfd_write(self.descriptor, 1)

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)

    def __del__(self) -> None:
        os.close(self.descriptor)


def _descriptor_of_death(process: BaseProcess) -> int:
    """Return what becomes readable when it dies.

    Not its sentinel, where the kernel has pidfds (5.3): what the worker forks would keep that open.
    """
    try:
        return os.pidfd_open(process.pid or 0)
    except OSError:
        return process.sentinel
