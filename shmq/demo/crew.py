"""Worker processes that are watched: they end well, or the demo fails with a reason.

Owns: starting, watching and ending them, by id.
Must never: wait for a worker that is dead, or end a process that it did not start.
Sits: under `count` and `race`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess
from typing import Any

from shmq.errors import ShmqError

PATIENCE_S = 60.0
"""Longest time without any progress."""

ENDING_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}

spawn = multiprocessing.get_context("spawn")


class WorkerDiedError(ShmqError):
    """A worker ended before its work did."""


@contextlib.contextmanager
def crew(target: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> Iterator[list[SpawnProcess]]:
    """Start one process for each tuple of arguments; those that still run at the end are killed.

    A terminal sends Ctrl-C to all of them: they never see it or its like, and end when this process says so.
    """
    processes = [spawn.Process(target=target, args=each, daemon=True) for each in arguments]
    resource_tracker.ensure_running()  # here, since its start unblocks SIGINT
    try:
        _start(processes)
        yield processes
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()
                process.close()


def replace(processes: list[SpawnProcess], target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Kill the first one in the middle of its work (SIGKILL), and start another."""
    victim = processes[0]
    victim.kill()
    victim.join()
    processes[0] = spawn.Process(target=target, args=arguments, daemon=True)
    victim.close()
    _start(processes[:1])


def _start(processes: list[SpawnProcess]) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        _start_all(processes)  # the mask is inherited, and nothing runs before it is there
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_all(processes: list[SpawnProcess]) -> None:
    for process in processes:
        process.start()


def check_alive(processes: list[SpawnProcess]) -> None:
    """Raise WorkerDiedError if one ended badly."""
    for process in processes:
        if process.exitcode:
            raise WorkerDiedError(
                f"worker {process.pid} ended with status {process.exitcode} in the middle of its work"
            )


def join(processes: list[SpawnProcess]) -> None:
    """Wait for all to end by themselves."""
    for process in processes:
        process.join(PATIENCE_S)
        if process.exitcode is None:
            raise WorkerDiedError(f"worker {process.pid} did not end within {PATIENCE_S:.0f} s")
    check_alive(processes)
