"""A broker for a while: for tests, examples and one-off jobs.

Owns: making it in the system's temporary directory and removing all of it, also what it has in /dev/shm.
Must never: remove a broker that it did not make.
Sits: in store, over `broker` and `gc`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator

from .broker import open_broker
from .gc import collect_instance

_log = logging.getLogger(__name__)

LOCK_FILE = "coordinator.lock"
"""Held by a broker's coordinator, as long as it lives; begins with JSON that has its `pid`."""
_LONGEST_END_S = 5.0


def end_coordinator(directory: str) -> None:
    """Tell the coordinator of a broker to end, and wait until it has; it would go by itself, but not at once."""
    deadline = time.monotonic() + _LONGEST_END_S
    while pid := coordinator_of(directory):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        if time.monotonic() > deadline:
            _log.warning("%s: coordinator %d does not end", directory, pid)
            return
        select.select([], [], [], 0.005)


def coordinator_of(directory: str) -> int:
    """Return the process id of a broker's coordinator, 0 if there is none."""
    try:
        with open(os.path.join(directory, LOCK_FILE), "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read(4096).strip(b"\0 ")
                return int(json.loads(text)["pid"]) if text else 0  # else it is only just starting
            return 0
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def temporary_broker(prefix: str = "shmq-") -> Iterator[str]:
    """Make a broker, give its address for `bootstrap_servers`, and remove it with everything in it at the end.

    Args:
        prefix: How its directory's name begins.

    Raises:
        StorageError, StorageFullError: it cannot be made.
    """
    parent = tempfile.mkdtemp(prefix=prefix)
    instance = None
    try:
        opened = open_broker(f"{parent}/broker")
        instance = opened.identity.instance
        opened.close()
        yield f"shm://{parent}/broker"
    finally:
        end_coordinator(f"{parent}/broker")
        shutil.rmtree(parent)
        if instance is not None:
            collect_instance(instance)
