"""Being the one coordinator of a broker: a lock that the kernel releases, and a term.

Owns: `coordinator.lock`, and the socket's name while it is held.
Must never: trust what the file says about who lives; the lock alone decides.
Sits: at the bottom of the coordinator.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator

from shmq import _native, wire
from shmq.coordination import SOCKET, socket_address
from shmq.store.coordinator import COORDINATOR_LOCK

BACKLOG = 1024


@contextlib.contextmanager
def tenure(directory: str) -> Iterator[int | None]:
    """Hold the lock and yield the term, one higher than any before; None if somebody else holds it."""
    path = os.path.join(directory, COORDINATOR_LOCK)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        term = _term(descriptor) + 1
        text = json.dumps({"pid": os.getpid(), "term": term, "protocol": wire.PROTOCOL}).encode()
        os.pwrite(descriptor, text.ljust(128), 0)  # one block, longer than any text before it
        _native.fault_point("coordinator.term.after")
        yield term
    finally:
        os.close(descriptor)


def _term(descriptor: int) -> int:
    try:
        return int(json.loads(os.pread(descriptor, 4096, 0))["term"])
    except (ValueError, KeyError, TypeError):
        return 0  # never written whole: nothing was done in that term


@contextlib.contextmanager
def listening(directory: str) -> Iterator[socket.socket]:
    """The socket, under its name; a stale one goes first. Only under `tenure`."""
    path = os.path.join(directory, SOCKET)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        before = os.umask(0o177)
        try:
            with socket_address(directory) as address:
                server.bind(address)
        finally:
            os.umask(before)
        _native.fault_point("coordinator.bind.after")
        server.listen(BACKLOG)
        server.setblocking(False)
        yield server
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        server.close()
