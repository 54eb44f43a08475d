"""A broker's directory: making it, knowing it again, and refusing everything else.

Owns: broker.json, the layout below, the administrators' lock, and this process's hold on the broker's /dev/shm part.
Must never: adopt, repair or empty a directory that is not a broker's.
Sits: in store; `topics` and `gc` work inside what this opens. Layout: `broker.json`, `procs`, `procs.lock`,
`admin.lock`, `topics/NAME`, and `creating/ID`, `altering/ID`, `deleting/ID` while an operation is under way.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from shmq import _native
from shmq.config import BrokerConfig
from shmq.errors import (
    BrokerNotFoundError,
    CorruptRecordError,
    InvalidConfigurationError,
    NotABrokerError,
    UnsupportedVersionError,
)

from . import files
from .filesystem import check_local, check_private

FORMAT = 1
SHARED_MEMORY = "/dev/shm"  # what is made there is private, and its name is random
OWNER_FILE = "broker"
"""In the broker's directory in /dev/shm: holds the path of its directory, and the lock of those who use it."""
DEFAULT_TIMEOUT_MS = 30_000

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_LONGEST_IDENTITY_BYTES = 65536
_DIRECTORIES = ("topics", "creating", "altering", "deleting")


@dataclass(frozen=True)
class Identity:
    """What broker.json says. `instance` is 16 hex digits; `shm_device` is the device number of /dev/shm."""

    format: int
    instance: str
    created_ms: int
    boot_id: str
    shm_device: int

    def to_bytes(self) -> bytes:
        """Return the text of broker.json."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()


class Broker:
    """An open broker directory. While it is open, `gc` leaves the broker's part of /dev/shm alone.

    Attributes:
        directory: Absolute, without symlinks.
        instance: The broker's random number; part of every name it has outside its directory.
    """

    def __init__(self, directory: str, identity: Identity, timeout_ms: float) -> None:
        self.directory = directory
        self.identity = identity
        self.instance = int(identity.instance, 16)
        self.topics_directory = os.path.join(directory, "topics")
        self.creating_directory = os.path.join(directory, "creating")
        self.altering_directory = os.path.join(directory, "altering")
        self.deleting_directory = os.path.join(directory, "deleting")
        self.memory_directory = memory_directory(identity.instance)
        self._release = weakref.finalize(self, os.close, self._hold_memory_directory(timeout_ms))

    def close(self) -> None:
        """Let go of the broker; a second time does nothing."""
        self._release()

    @contextlib.contextmanager
    def administration(self, timeout_ms: float = DEFAULT_TIMEOUT_MS) -> Iterator[None]:
        """Be the only one, over all processes, who changes what the broker consists of.

        Raises:
            KafkaTimeoutError: another administrator took longer than `timeout_ms`.
        """
        with _administration(self.directory, timeout_ms):
            yield

    def options(self) -> BrokerConfig:
        """Return the options of the broker. Raises: CorruptRecordError: the file that holds them is damaged."""
        path = os.path.join(self.directory, "config.json")
        try:
            with open(path, "rb") as file:
                return BrokerConfig.parse(json.loads(file.read(_LONGEST_IDENTITY_BYTES)))
        except FileNotFoundError:
            return BrokerConfig()
        except (ValueError, AttributeError, RecursionError, InvalidConfigurationError) as error:
            raise CorruptRecordError(path, f"no options of a broker ({error})") from None

    def alter(self, options: BrokerConfig) -> None:
        """Set the options of the broker. Raises: StorageError, StorageFullError."""
        text = json.dumps(options.to_json(), indent=2) + "\n"
        files.write_whole(os.path.join(self.directory, "config.json"), text.encode(), durable=True)

    @contextlib.contextmanager
    def process(self) -> Iterator[_native.Process]:
        """Register this process with the broker for a while, or share the registration that it has."""
        process = _native.Process(self.directory, self.instance)
        try:
            yield process
        finally:
            process.close()

    def _hold_memory_directory(self, timeout_ms: float) -> int:
        """Make the broker's directory in /dev/shm where it is missing, and return a shared lock on its owner file."""
        owner = os.path.join(self.memory_directory, OWNER_FILE)
        ours = os.fsencode(self.directory)
        if not os.path.exists(owner):
            with self.administration(timeout_ms):
                files.make_directory(
                    self.memory_directory,
                    lambda unfinished: files.write_whole(os.path.join(unfinished, OWNER_FILE), ours, durable=False),
                )
        check_private(self.memory_directory)
        with files.storage_errors(owner, "cannot be used"), open(owner, "r+b") as file:
            hold = files.share_lock(owner, timeout_ms)
            if file.read() != ours:  # the broker was moved; written in place, since the lock is on this very file
                file.seek(0)
                file.write(ours)
                file.truncate()
        return hold


def open_broker(directory: str, *, create: bool = True, timeout_ms: float = DEFAULT_TIMEOUT_MS) -> Broker:
    """Open the broker in `directory`, and make it there if nothing is.

    Args:
        directory: An absolute path; its parents are made where they are missing.
        create: Whether a missing or empty directory becomes a broker.
        timeout_ms: Longest wait for another process that is at work on the broker itself.

    Raises:
        BrokerNotFoundError: nothing is there, and `create` is false.
        NotABrokerError: something else is there, or a broker.json that is damaged.
        UnsupportedVersionError: a newer shmq made it.
        StorageError: it is not private to this user, not writable, or on a filesystem that cannot work.
        StorageFullError: there is no room to make it.
        KafkaTimeoutError: another process held the administrators' lock for too long.
    """
    directory = os.path.realpath(directory)
    path = os.path.join(directory, "broker.json")
    if not os.path.exists(path):
        _check_vacant(directory)
        if not create:
            raise BrokerNotFoundError(directory)
        check_local(directory)
        _make(directory)
    check_private(directory)
    check_local(directory)
    identity = read_identity(path)
    if identity.boot_id != _boot_id():
        with _administration(directory, timeout_ms):
            identity = _after_boot(directory, read_identity(path))
    if identity.shm_device != _shared_memory_device():
        with _administration(directory, timeout_ms):
            identity = _with_this_shared_memory(directory, read_identity(path))
    return Broker(directory, identity, timeout_ms)


def read_identity(path: str) -> Identity:
    """Return what a broker.json says.

    Raises:
        NotABrokerError: it is not one, or damaged; the message says how.
        UnsupportedVersionError: its format is newer than this code.
        StorageError: it cannot be read.
    """
    with files.storage_errors(path, "cannot be read"), open(path, "rb") as file:
        text = file.read(_LONGEST_IDENTITY_BYTES)
    try:
        stored: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotABrokerError(path, f"{len(text)} bytes that are no JSON ({error})") from None
    if not isinstance(stored, dict) or not isinstance(stored.get("format"), int):
        raise NotABrokerError(path, "JSON without a format number")
    if stored["format"] != FORMAT:
        raise UnsupportedVersionError(path, stored["format"], FORMAT)
    try:
        identity = Identity(**stored)
    except TypeError as error:
        raise NotABrokerError(path, f"not the fields of format {FORMAT} ({error})") from None
    kinds = {"instance": str, "created_ms": int, "boot_id": str, "shm_device": int}
    for name, kind in kinds.items():
        if not isinstance(getattr(identity, name), kind):
            raise NotABrokerError(path, f"{name} is {getattr(identity, name)!r}, not {kind.__name__}")
    if not re.fullmatch(r"[0-9a-f]{16}", identity.instance):
        raise NotABrokerError(path, f"instance is {identity.instance!r}, not 16 hex digits")
    return identity


def memory_directory(instance: str) -> str:
    """Return the broker's directory in /dev/shm, from its instance as 16 hex digits."""
    return os.path.join(SHARED_MEMORY, f"shmq-{instance}")


def _check_vacant(directory: str) -> None:
    """Refuse a place where something lies that is no broker."""
    try:
        found = os.listdir(directory)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise NotABrokerError(directory, "it, or something on the way there, is not a directory") from None
    except OSError as error:
        with files.storage_errors(directory, "cannot be looked into"):
            raise error
    if found:
        raise NotABrokerError(directory, f"it has {len(found)} entries ({min(found)!r}, ...) and no broker.json")


def _make(directory: str) -> None:
    with files.storage_errors(directory, "cannot be made"):
        os.makedirs(os.path.dirname(directory), mode=0o700, exist_ok=True)
    files.make_directory(directory, _fill)
    files.sync(os.path.dirname(directory))


def _fill(unfinished: str) -> None:
    identity = Identity(
        format=FORMAT,
        instance=f"{secrets.randbits(64) or 1:016x}",
        created_ms=time.time_ns() // 1_000_000,
        boot_id=_boot_id(),
        shm_device=_shared_memory_device(),
    )
    for name in _DIRECTORIES:
        os.mkdir(os.path.join(unfinished, name), 0o700)
    for name in ("procs.lock", "admin.lock"):
        files.write_whole(os.path.join(unfinished, name), b"", durable=False)
    _native.create_procs(os.path.join(unfinished, "procs"), int(identity.instance, 16))
    files.write_whole(os.path.join(unfinished, "broker.json"), identity.to_bytes(), durable=True)


def _after_boot(directory: str, identity: Identity) -> Identity:
    """Give the broker a fresh procs file, once per boot: every process that the old one lists is gone."""
    boot_id = _boot_id()
    if identity.boot_id == boot_id:  # another process was faster
        return identity
    aside = os.path.join(directory, f"procs.new-{secrets.token_hex(8)}")
    _native.create_procs(aside, int(identity.instance, 16))
    with files.storage_errors(directory, "its procs file cannot be replaced"):
        os.replace(aside, os.path.join(directory, "procs"))
    return _rewritten(directory, identity)


def _with_this_shared_memory(directory: str, identity: Identity) -> Identity:
    """Adopt this process's /dev/shm if no living process of the broker uses another; else warn."""
    process = _native.Process(directory, int(identity.instance, 16))
    try:
        others = [slot for slot, _, _, state in process.slots() if state == "live" and slot != process.slot]
    finally:
        process.close()
    if not others:
        return _rewritten(directory, identity)
    warnings.warn(
        f"{directory}: {len(others)} processes use this broker with another {SHARED_MEMORY} than this one has (another "
        "container?); topics in memory and wake-ups are not shared with them, so waits take up to their polling "
        "interval; give both the same /dev/shm (docker: --ipc)",
        RuntimeWarning,
        stacklevel=4,
    )
    return identity


def _rewritten(directory: str, identity: Identity) -> Identity:
    """Note this boot and this /dev/shm in broker.json."""
    now = replace(identity, boot_id=_boot_id(), shm_device=_shared_memory_device())
    files.write_whole(os.path.join(directory, "broker.json"), now.to_bytes(), durable=True)
    return now


@contextlib.contextmanager
def _administration(directory: str, timeout_ms: float) -> Iterator[None]:
    with files.file_lock(os.path.join(directory, "admin.lock"), timeout_ms):
        yield


def _boot_id() -> str:
    with files.storage_errors(_BOOT_ID, "cannot be read"), open(_BOOT_ID, encoding="ascii") as file:
        return file.read().strip()


def _shared_memory_device() -> int:
    with files.storage_errors(SHARED_MEMORY, "is missing; mount a tmpfs there"):
        return os.stat(SHARED_MEMORY).st_dev
