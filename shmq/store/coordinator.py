"""Who a broker's coordinator is, and ending it: for those who remove the broker.

Owns: the name of the coordinator's lock.
Must never: believe the file, unless somebody holds the lock.
Sits: in store, over nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import select
import signal
import time

_log = logging.getLogger(__name__)

COORDINATOR_LOCK = "coordinator.lock"
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
        with open(os.path.join(directory, COORDINATOR_LOCK), "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read(4096).strip(b"\0 ")
                return int(json.loads(text)["pid"]) if text else 0  # else it is only just starting
            return 0
    except FileNotFoundError:
        return 0
