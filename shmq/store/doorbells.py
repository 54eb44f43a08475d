"""The life of doorbells: one named semaphore for each process that sleeps.

Owns: creating them (exclusively, mode 0600) and unlinking them; posting and waiting is the C core's.
Must never: open a semaphore that it did not create.
Sits: in store; the core calls it through its hooks, which are set when this module is imported.
"""

from __future__ import annotations

import contextlib

import posix_ipc

from shmq import _native
from shmq.errors import StorageError, from_native
from shmq.types import RecordMetadata, TopicPartition


def create(name: str) -> None:
    """Create the semaphore of this process's slot. What a former tenant of the same number left is removed first.

    Raises:
        StorageError: /dev/shm has no room, or another user has the name.
    """
    try:
        unlink(name)
        posix_ipc.Semaphore(name, posix_ipc.O_CREX, mode=0o600, initial_value=0).close()
    except (posix_ipc.Error, OSError) as error:
        raise StorageError(f"/dev/shm{name}", f"the doorbell could not be created: {error}") from error


def unlink(name: str) -> None:
    """Remove a semaphore; those who have it open keep it. One that is not there is no error."""
    with contextlib.suppress(posix_ipc.ExistentialError):
        posix_ipc.unlink_semaphore(name)


_native.set_hooks(
    error=from_native,
    record_metadata=RecordMetadata,
    topic_partition=TopicPartition,
    create_doorbell=create,
    unlink_doorbell=unlink,
)
