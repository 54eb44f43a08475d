"""Small files and directories, each whole or not there, and the lock that administrators take.

Owns: writing aside and renaming, syncing, locks that the kernel releases, turning OSError into StorageError.
Must never: leave a half-made file under its final name.
Sits: leftmost in store; knows nothing of brokers and topics.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator

from shmq.errors import KafkaTimeoutError, StorageError, StorageFullError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0005, 0.02
_WRITE_TRIES = 8

_exclusive: set[int] = set()  # descriptors of this process that hold, or may hold, an exclusive lock


@contextlib.contextmanager
def storage_errors(path: str, what: str, wanted_bytes: int = 0) -> Iterator[None]:
    """Turn an OSError from within into the StorageError that says where and what.

    Args:
        path: The file or directory in question.
        what: What went wrong with it: "cannot be read".
        wanted_bytes: How much was to be written, for StorageFullError.

    Raises:
        StorageFullError: there is no room.
        StorageError: anything else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise StorageFullError(path, wanted_bytes, _free_bytes(path)) from error
        raise StorageError(path, what, error.errno or 0) from error


def write_whole(path: str, data: bytes, *, durable: bool) -> None:
    """Put `data` under `path`, replacing what was there in one step.

    Args:
        path: The file.
        data: All of its bytes.
        durable: Whether it must survive a host crash once this returns.

    Raises:
        StorageError: it could not be written; what was there before still is.
    """
    with storage_errors(path, "cannot be written", len(data)):
        for tries_left in reversed(range(_WRITE_TRIES)):
            try:
                _write_aside(path, data, durable)
                break
            except FileNotFoundError:  # a collector took it for one that a death left
                if not tries_left or not os.path.isdir(os.path.dirname(path)):
                    raise
    if durable:
        sync(os.path.dirname(path))


def _write_aside(path: str, data: bytes, durable: bool) -> None:
    aside = f"{path}.new-{secrets.token_hex(8)}"
    try:
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        raise


def sync(path: str) -> None:
    """Make a file or a directory's entries survive a host crash. Raises: StorageError."""
    with storage_errors(path, "cannot be synced"):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_directory(path: str, fill: Callable[[str], None]) -> bool:
    """Make a directory with what `fill` puts into it, all of it or nothing.

    It is made beside its place and renamed. A lock on the unfinished one tells `remove_unfinished` that its maker
    lives.

    Args:
        path: Its final place; an empty directory there is replaced.
        fill: Called with the unfinished directory.

    Returns:
        Whether this call made it; False if something was there first, which is left alone.

    Raises:
        StorageError: it could not be made; nothing is left of it. What `fill` raises.
    """
    parent, name = os.path.split(path)
    while True:
        aside = os.path.join(parent, f".{name}.new-{secrets.token_hex(8)}")
        with storage_errors(path, "cannot be made"):
            os.mkdir(aside, 0o700)
            with try_lock(aside) as ours:
                if not ours:
                    continue
                try:
                    fill(aside)
                    os.rename(aside, path)
                    return True
                except OSError as error:
                    remove_tree(aside)
                    if error.errno not in _NOT_EMPTY:
                        raise
                    return False
                except BaseException:
                    remove_tree(aside)
                    raise


def remove_unfinished(path: str) -> list[str]:
    """Remove what dead makers left of the directory `path`, and return what was removed. Raises: StorageError."""
    parent, name = os.path.split(path)
    removed = []
    with storage_errors(parent, "cannot be cleaned"):
        for each in sorted(os.listdir(parent)):
            aside = os.path.join(parent, each)
            if not each.startswith(f".{name}.new-"):
                continue
            with try_lock(aside) as dead:
                if dead and os.stat(aside).st_uid == os.geteuid():
                    remove_tree(aside)
                    removed.append(aside)
    return removed


def remove_tree(path: str) -> None:
    """Remove a directory and all in it; nothing there is fine. Raises: OSError."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


@contextlib.contextmanager
def file_lock(path: str, timeout_ms: float) -> Iterator[None]:
    """Hold a file that exists for this thread alone; the kernel releases it if this process dies.

    Args:
        path: The file. If it is replaced meanwhile, the new one is locked.
        timeout_ms: Longest wait, in milliseconds.

    Raises:
        KafkaTimeoutError: another process or thread held it for too long.
        StorageError: the file cannot be opened.
    """
    descriptor = _locked(path, timeout_ms, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor in _exclusive:  # not so in a child that was forked in between
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            _close(descriptor)


def share_lock(path: str, timeout_ms: float) -> int:
    """Hold a file together with all others that share it, until the descriptor returned is closed.

    A forked child holds it too, until it closes its copy. Errors are those of `file_lock`.
    """
    descriptor = _locked(path, timeout_ms, fcntl.LOCK_SH)
    _exclusive.discard(descriptor)
    return descriptor


@contextlib.contextmanager
def try_lock(path: str) -> Iterator[bool]:
    """Hold a file or directory for this thread alone if nobody holds it now; yields whether that worked."""
    try:
        descriptor = _opened(path)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = _still_at(path, descriptor)
        except BlockingIOError:
            locked = False
        yield locked
    finally:
        if descriptor in _exclusive:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a fork by another thread, just after the open(), has a copy
            _close(descriptor)


def _locked(path: str, timeout_ms: float, kind: int) -> int:
    """Open and lock `path`, trying again and again with pauses that grow."""
    deadline = time.monotonic() + timeout_ms / 1000
    pause_s = _FIRST_PAUSE_S
    while True:
        with storage_errors(path, "cannot be opened"):
            descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if _still_at(path, descriptor):
                return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                _close(descriptor)
                raise KafkaTimeoutError(
                    f"{path}: another process held this lock for all of {timeout_ms} ms; see who with "
                    f"`fuser {path}`, end or continue it, or allow more time"
                ) from None
        except BaseException:  # Ctrl-C must not leave a lock behind
            _close(descriptor)
            raise
        _close(descriptor)
        time.sleep(max(0.0, min(pause_s, deadline - time.monotonic())))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _opened(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    _exclusive.add(descriptor)
    return descriptor


def _close(descriptor: int) -> None:
    _exclusive.discard(descriptor)
    os.close(descriptor)


def _drop_inherited_locks() -> None:
    """Close a forked child's copies of its parent's exclusive locks, which would outlive the parent otherwise."""
    for descriptor in tuple(_exclusive):
        _close(descriptor)


os.register_at_fork(after_in_child=_drop_inherited_locks)


def _still_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _free_bytes(path: str) -> int:
    while not os.path.exists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
