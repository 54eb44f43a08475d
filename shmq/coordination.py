"""Reaching a broker's coordinator, and starting one if there is none.

Owns: where its socket is, greeting, and starting it so that it outlives whoever did.
Must never: import the coordinator: it is another program, started by its name.
Sits: over wire and store; under membership and administration.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shmq import errors, wire
from shmq.errors import CoordinatorNotAvailableError, UnknownMemberIdError, membership_error
from shmq.store import Broker

SOCKET, START, LOG = "coordinator.sock", "coordinator.start", "coordinator.log"
MAX_LOG_BYTES = 1 << 20
_PATIENCE_S = 10.0
_START_AGAIN_S = 5.0
_PAUSE_S = 0.005
_ANSWER_S = 30.0
_CREDENTIALS = struct.Struct("3i")


@contextlib.contextmanager
def socket_address(directory: str) -> Iterator[str]:
    """A name for the socket that is short enough for the kernel, however deep the broker lies."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return the process id (0 if it is in a namespace of its own) and the user id of the other side."""
    pid, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def connect(broker: Broker, group_id: str = "", *, patience_s: float = _PATIENCE_S) -> socket.socket:
    """Return a connection to the coordinator, which is started if there is none.

    Raises:
        CoordinatorNotAvailableError: none could be reached in time; the message says what its log says.
    """
    connection = _try(broker.directory)
    if connection is not None:
        return connection
    deadline = time.monotonic() + patience_s
    start_at = 0.0
    with contextlib.closing(_StartLock(broker.directory)) as lock:
        while True:
            connection = _try(broker.directory)
            if connection is not None:
                return connection
            now = time.monotonic()
            if now >= deadline:
                raise CoordinatorNotAvailableError(
                    group_id, f"no coordinator within {patience_s:g} s; {_last_words(broker.directory)}"
                )
            if now >= start_at and lock.take():
                start(broker.directory)
                start_at = now + _START_AGAIN_S
            select.select([], [], [], _PAUSE_S)


class _StartLock:
    """Held by the one client that starts the coordinator, until it has reached it; the others only wait.

    A POSIX record lock, which forked children do not inherit; `_starting` keeps the threads of a process apart.
    """

    def __init__(self, directory: str) -> None:
        self._directory, self._descriptor = directory, -1

    def take(self) -> bool:
        """Return whether it is ours."""
        if self._descriptor < 0:
            with _lock:
                if self._directory in _starting:
                    return False
                _starting.add(self._directory)
            path = os.path.join(self._directory, START)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            _starting.discard(self._directory)


_lock = threading.Lock()
_starting: set[str] = set()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _starting.clear()


os.register_at_fork(after_in_child=_after_fork)


def start(directory: str) -> None:
    """Start a coordinator in the background: a session of its own, and nothing of ours held open.

    The shell ends at once, so that the coordinator is nobody's child; one that is not needed ends by itself.
    """
    log = os.path.join(directory, LOG)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(FileNotFoundError):
        if os.path.getsize(log) > MAX_LOG_BYTES:
            flags |= os.O_TRUNC
    package = str(Path(__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    descriptor = os.open(log, flags, 0o600)
    try:
        # Not subprocess: if another thread forks meanwhile, the child keeps its pipe, and we would wait for that child.
        inherited = [
            number for number in map(int, os.listdir("/proc/self/fd")) if number > 2 and _is_inheritable(number)
        ]
        shell = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", 'cd / && "$@" &', "sh", sys.executable, "-m", "shmq.coordinator", directory],
            {**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, descriptor, 1),
                (os.POSIX_SPAWN_DUP2, descriptor, 2),
                *((os.POSIX_SPAWN_CLOSE, number) for number in inherited),
            ],
            setsid=True,
            setsigmask=(),
        )
        with contextlib.suppress(ChildProcessError):  # the program reaps all of its children itself
            os.waitpid(shell, 0)
    finally:
        os.close(descriptor)


def _is_inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:  # closed by another thread since it was listed
        return False


def running(broker: Broker) -> int:
    """Return the process id of the coordinator, 0 if there is none; starts none."""
    connection = _try(broker.directory)
    if connection is None:
        return 0
    with contextlib.closing(connection):
        return peer_of(connection)[0]


_numbers = itertools.count(1)


def request(broker: Broker, name: str, **arguments: Any) -> Any:
    """Ask the coordinator for something, and return its answer.

    Raises:
        CoordinatorNotAvailableError: it cannot be reached, or died over it.
        ShmqError: what it answers.
    """
    number = next(_numbers)
    with contextlib.closing(connect(broker)) as connection:
        try:
            message = {"type": "request", "id": number, "name": name, "arguments": arguments}
            connection.sendall(wire.encode(message))
            answer = _read(connection)
        except OSError as error:
            raise CoordinatorNotAvailableError("", f"it did not answer {name}: {error}; try again") from None
    if "error" in answer:
        kind = getattr(errors, str(answer["error"]), None)
        if isinstance(kind, type) and issubclass(kind, errors.ShmqError):
            raise kind(*answer["values"])
        raise UnknownMemberIdError("", answer["detail"])
    return answer["result"]


def _try(directory: str) -> socket.socket | None:
    """A connection that was greeted, None if nobody is there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_address(directory) as address:
            connection.connect(address)
        if peer_of(connection)[1] != os.geteuid():
            raise CoordinatorNotAvailableError("", f"{directory}/{SOCKET} is another user's")
        connection.settimeout(_ANSWER_S)
        connection.sendall(wire.encode({"type": "hello", "protocol": wire.PROTOCOL}))
        answer = _read(connection)
    except (FileNotFoundError, ConnectionError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    if answer["type"] == "welcome":
        return connection
    connection.close()
    if answer["type"] == "error":
        raise membership_error(answer["error"], "", answer["detail"])
    raise UnknownMemberIdError("", f"the coordinator greets with {answer['type']!r}")


def _read(connection: socket.socket) -> wire.Message:
    decoder = wire.Decoder()
    while True:
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError("it hung up")
        messages = decoder.feed(data)
        if messages:
            return messages[0]


def _last_words(directory: str) -> str:
    path = os.path.join(directory, LOG)
    try:
        with open(path, "rb") as file:
            lines = file.read()[-2000:].decode(errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    return f"{path} says: {lines[-1]}" if lines else f"{path} is empty"
