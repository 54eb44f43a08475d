"""A broker for a while: for tests, examples and one-off jobs.

Owns: making it in the system's temporary directory and removing all of it, also what it has in /dev/shm.
Must never: remove a broker that it did not make.
Sits: in store, over `broker` and `gc`.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator

from .broker import open_broker
from .coordinator import end_coordinator
from .gc import collect_instance


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
