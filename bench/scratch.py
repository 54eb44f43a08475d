"""Where a run keeps its files: two temporary directories, named after this process, gone at the end.

One in memory (/dev/shm), one on disk (the system's temporary directory; TMPDIR moves it). What a killed run left is
removed by the next one. Names outside the directories (shared memory, semaphores) start with the same prefix.
"""

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "shmq-bench"
SHM = Path("/dev/shm")


@dataclass(frozen=True)
class Scratch:
    """The directories of this run."""

    memory: Path
    disk: Path
    names: Iterator[str]

    @contextlib.contextmanager
    def directory(self, parent: Path) -> Iterator[Path]:
        """A fresh directory for one measurement, removed with all it holds."""
        path = parent / next(self.names)
        path.mkdir(mode=0o700)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def open_broker() -> Iterator[str]:
    """Make a broker for one measurement and give its address; removed with its coordinator and all it holds."""
    from shmq import temporary_broker

    with temporary_broker(prefix=f"{PREFIX}-{os.getpid()}-") as address:
        yield address


@contextlib.contextmanager
def make_scratch() -> Iterator[Scratch]:
    """Make both directories; remove them, and every leftover name of this run, at the end."""
    sweep_dead()
    prefix = f"{PREFIX}-{os.getpid()}-"
    memory = Path(tempfile.mkdtemp(prefix=prefix, dir=SHM))
    disk = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield Scratch(memory, disk, (f"{prefix}{number}" for number in itertools.count()))
    finally:
        shutil.rmtree(disk, ignore_errors=True)
        sweep(os.getpid())


def sweep_dead() -> None:
    """Remove what runs left behind that are no longer alive."""
    for place in (SHM, Path(tempfile.gettempdir())):
        for path in place.glob(f"*{PREFIX}-*"):
            owner = path.name.partition(f"{PREFIX}-")[2].split("-")[0]
            if owner.isdigit() and not Path("/proc", owner).exists():
                remove(path)


def sweep(pid: int) -> None:
    """Remove every name in /dev/shm that belongs to one run."""
    for path in SHM.glob(f"*{PREFIX}-{pid}-*"):
        remove(path)


def remove(path: Path) -> None:
    """Remove a file or a directory, if it is still there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
