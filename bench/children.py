"""Measured processes: started fresh, talked to over a pipe, always ended, by their id.

Every wait of the parent is bounded. A child whose parent dies is killed by the kernel. Children are spawned, not
forked, so that they carry nothing of the parent (its progress bar runs a thread).
"""

import contextlib
import ctypes
import multiprocessing
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

CONTEXT = multiprocessing.get_context("spawn")
PR_SET_PDEATHSIG = 1
END_TIMEOUT_S = 5.0

Role = Callable[..., None]


class ChildError(Exception):
    """A child raised, ended without an answer, or took too long."""


@dataclass(frozen=True)
class Failure:
    """What a child sends in place of an answer."""

    reason: str
    details: str


@dataclass(eq=False)
class Child:
    """One running process, the parent's end of its pipe, and the answers not yet asked for."""

    name: str
    process: Any
    pipe: Connection
    answers: deque[Any]

    def tell(self, message: object) -> None:
        """Send the child one message."""
        self.pipe.send(message)


class Children:
    """The processes of one measurement: `with Children() as children` leaves none behind."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End every child: those that were not told to end, or a run that failed, by SIGKILL."""
        deadline_s = time.monotonic() + (END_TIMEOUT_S if error is None else 0.0)
        for child in self._children:
            child.process.join(max(0.0, deadline_s - time.monotonic()))
            self.kill(child)
            child.pipe.close()

    def start(self, name: str, role: Role, *arguments: object) -> Child:
        """Start a process that runs `role(pipe, *arguments)`."""
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=run_role, args=(role, theirs, arguments), name=name, daemon=True)
        process.start()
        theirs.close()
        child = Child(name, process, ours, deque())
        self._children.append(child)
        return child

    def kill(self, child: Child) -> None:
        """End one child now, if it still runs."""
        if child.process.is_alive():
            child.process.kill()
        child.process.join(END_TIMEOUT_S)

    def expect(self, child: Child, timeout_s: float) -> Any:
        """Return the next answer of `child`; raise ChildError if any child fails, ends, or time runs out.

        A role ends only when it is told to, so that one which is gone early never passes unnoticed.
        """
        deadline_s = time.monotonic() + timeout_s
        while not child.answers:
            live = {other.pipe: other for other in self._children if not other.pipe.closed}
            ready = wait(list(live), max(0.0, deadline_s - time.monotonic()))
            if not ready:
                raise ChildError(f"{child.name} gave no answer within {timeout_s:.0f} s")
            for pipe in ready:
                self._receive(live[pipe])  # type: ignore[index]
        return child.answers.popleft()

    def _receive(self, child: Child) -> None:
        try:
            answer = child.pipe.recv()
        except (EOFError, ConnectionError):
            child.process.join(END_TIMEOUT_S)
            child.pipe.close()
            raise ChildError(f"{child.name} ended without an answer, status {child.process.exitcode}") from None
        if isinstance(answer, Failure):
            raise ChildError(f"{child.name}: {answer.reason}\n{answer.details}")
        child.answers.append(answer)


def run_role(role: Role, pipe: Connection, arguments: tuple[object, ...]) -> None:
    """Run in the child: die with the parent, do the role, report what it raises."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends us
    try:
        role(pipe, *arguments)
    except BaseException as error:
        with contextlib.suppress(OSError):
            pipe.send(Failure(f"{type(error).__name__}: {error}", traceback.format_exc()))
