"""Scripts in a fresh interpreter, on small file systems that only it sees, or under limits of its own.

Owns: mount namespaces, and saying why one cannot be had here.
Must never: mount anything that outlives its script.
Sits: under the tests of full and read-only disks.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

DEADLINE_S = 60
MIB = 1 << 20

# Every script has `directory` (the small disk's), `address` (of a broker on it), and these.
PRELUDE = """
import atexit, contextlib, glob, json, os, shutil, sys
import shmq
from shmq import Admin, Consumer, NewTopic, Producer, TopicPartition
from shmq.errors import ShmqError, StorageError, StorageFullError

SEGMENT = {"segment_bytes": 65536, "retention_bytes": 1 << 30}
address = f"shm://{directory}/broker"

@atexit.register
def leave_nothing():
    "Of brokers below `directory`; others may run beside this."
    for owner in glob.glob("/dev/shm/shmq-*/broker"):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError), open(owner) as file:
            if file.read().startswith(directory + "/"):
                shutil.rmtree(os.path.dirname(owner))

def fill(producer, topic, most=10_000, size=3000):
    "Values until the disk is full: those that were acknowledged, and the error."
    sent = []
    for number in range(most):
        value = b"%06d" % number + bytes(size)
        try:
            producer.send(topic, value)
        except StorageFullError as error:
            return sent, error
        sent.append(value)
    raise AssertionError("it never got full")

def read(topic):
    with Consumer(topic, bootstrap_servers=address, auto_offset_reset="earliest", consumer_timeout_ms=0) as consumer:
        return [record.value for record in consumer]

def verify(topic):
    with Admin(bootstrap_servers=address) as admin:
        store = shmq.store.Topics(admin.broker)
        with store.opened(store.load(topic)) as partitions:
            return [partition.verify() for partition in partitions]

def ballast(size, path=None):
    "Take so many bytes of the disk, or all that are left."
    with open(path or directory + "/ballast", "wb", buffering=0) as file:
        try:
            while size > 0:
                size -= file.write(bytes(min(size, 4096)))
        except OSError:
            pass
        os.fsync(file.fileno())
"""


@functools.cache
def _why_no_namespace() -> str:
    """Why this process cannot mount; "" if it can."""
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else f"mounting is not permitted here: {done.stderr.strip()}"


def mounted(file_system: str, directory: Path, megabytes: int) -> str:
    """Shell words that mount a small file system on `directory`; skips where that cannot be."""
    try:
        why = _why_no_namespace()
    except FileNotFoundError:
        why = "there is no unshare(1) here"
    if why:
        pytest.skip(why)
    if file_system == "tmpfs":
        return f"mount -t tmpfs -o size={megabytes}m,mode=0700 tmpfs {directory}"
    image = directory.parent / "image"
    image.touch()
    os.truncate(image, megabytes * MIB)
    made = subprocess.run([f"mkfs.{file_system}", "-q", str(image)], capture_output=True, text=True, check=False)
    tried = subprocess.run(
        ["unshare", "-m", "mount", "-o", "loop", str(image), str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode or tried.returncode:
        pytest.skip(f"no loop mount of {file_system} here: {made.stderr.strip()} {tried.stderr.strip()}")
    return f"mount -o loop {image} {directory} && rm -rf {directory}/lost+found"


def run_script(script: str, directory: Path, mount: str = "true") -> str:
    """What the script printed. Fails if it did not end with status 0."""
    words = f"directory = {str(directory)!r}\n"
    python = [sys.executable, "-c", words + PRELUDE + script]
    command = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", *python] if mount != "true" else python
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
