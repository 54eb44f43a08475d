"""What workers are given to do: functions that any child can import, and objects that cannot be pickled or unpickled."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def nothing() -> None:
    """An empty task."""


def double(value: Any) -> Any:
    """Its argument twice."""
    return value + value


def same(value: Any) -> Any:
    """Its argument."""
    return value


def throw(error: type[BaseException]) -> None:
    """Raise an error of this class."""
    raise error("thrown")


def keywords(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """What it was called with."""
    return args, kwargs


def fail(text: str) -> None:
    """Raise."""
    raise LookupError(text)  # a comment that the traceback shows


def total(array: np.ndarray) -> float:
    """The sum of an array, which may be written to."""
    array[0] += 1
    return float(array.sum())


def zeros(count: int) -> np.ndarray:
    """An array."""
    return np.zeros(count)


class Gate:
    """What tasks can wait for: a file that this process has locked until the gate is open; a lock is not forked."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._file = path.open("w")
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def open(self) -> None:
        """Let through who waits, and who comes later."""
        self._file.close()


def wait_for(gate: str) -> int:
    """Wait until a gate is open; the number of this process."""
    with open(gate) as file:
        fcntl.lockf(file, fcntl.LOCK_SH)
    return os.getpid()


def say_and_wait(path: str, gate: str) -> int:
    """Leave a file with the number of this process, then wait for the gate."""
    aside = f"{path}.{os.getpid()}"
    Path(aside).write_text(str(os.getpid()))
    os.rename(aside, path)
    return wait_for(gate)


def note(ledger: str, line: str) -> str:
    """Append a line to a file that others append to."""
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)
    return line


def note_and_die(ledger: str) -> None:
    """Say that it was started, and be killed."""
    note(ledger, str(os.getpid()))
    die()


def die(number: int = signal.SIGKILL) -> None:
    """End this process by a signal."""
    os.kill(os.getpid(), number)


def die_at_first(mark: str) -> str:
    """Be killed, unless this file is there already, which is made before."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        die()
    return "lives"


def fork_and_die(path: str) -> None:
    """Leave a forked process behind, with everything that it inherits, and be killed."""
    child = os.fork()
    if child == 0:
        signal.pause()
    Path(path).write_text(str(child))
    die()


def leave(code: int) -> None:
    """End this process without a word."""
    os._exit(code)


def make(kind: Callable[..., Any], *args: Any) -> Any:
    """An object, made in the worker."""
    return kind(*args)


def submit_inside(number: int) -> int:
    """Use a pool in a worker."""
    import shmq

    with shmq.Executor(1) as inner:
        return inner.submit(double, number).result()


state = "not set"


def set_state(value: str) -> None:
    """An initializer."""
    global state
    state = value


def get_state() -> str:
    """What the initializer has left."""
    return state


def fail_to_start() -> None:
    """An initializer that raises."""
    raise ValueError("no licence")


class Calls:
    """An object whose unpickling calls a function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.reduced = function, args

    def __reduce__(self) -> Any:
        return self.reduced


class Unpicklable:
    """An object whose pickling raises."""

    def __reduce__(self) -> Any:
        raise ArithmeticError("not to be pickled")


class DiesWhenPickled:
    """An object that kills who pickles it."""

    def __reduce__(self) -> Any:
        die()


class Awkward(Exception):
    """An exception that pickles and does not unpickle, as many do."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def fail_awkwardly() -> None:
    """Raise it."""
    raise Awkward("cats", "dogs")


def fail_unpicklably() -> None:
    """Raise an exception that cannot be pickled."""
    error = RuntimeError("the real trouble")
    error.handle = Unpicklable()  # type: ignore[attr-defined]
    raise error
