"""A broker with small topics that hold one of everything that a partition can hold, and what was sent to them.

Owns: making it, and putting its files back as they were after each mutation.
Must never: mutate anything.
Sits: over `on_disk`; under `mutations`, `exercise` and the tests.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from on_disk import ABORTED, CLAIMED, Segment, bytes_of, segment_paths
from shmq import Admin, Producer, _native

SEGMENT_BYTES = 65536
CLAIM_TIMEOUT_MS = 10
DEAD_OWNER = 1023  # a process slot that nobody ever had
NOW_MS = 1_700_000_000_000

Row = tuple["bytes | None", "bytes | None", "tuple[tuple[str, bytes | None], ...]", int]
"""Key, value, headers, timestamp."""


@dataclass
class Topic:
    """A topic of the specimen: `rows` by offset, `lost` are those that no reader may deliver unless a word was forged."""

    name: str
    topic_id: int
    directory: Path
    checked: bool
    rows: dict[int, Row] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    files: dict[Path, bytes] = field(default_factory=dict)


class Specimen:
    """The broker and its pristine bytes. Everything is closed; whoever opens it closes it again before `restore`."""

    def __init__(self, directory: Path, seed: int = 1) -> None:
        self.directory = directory
        self.address = f"shm://{directory}"
        self._rng = random.Random(seed)
        self.topics: list[Topic] = []
        self._altered: set[Path] = set()
        with Admin(bootstrap_servers=self.address) as admin:
            self.memory_directory = Path(admin.broker.memory_directory)
            self.instance = admin.broker.instance
            self._add(admin, "plain", _plain)
            self._add(admin, "rows", _rows, claim_timeout_ms=CLAIM_TIMEOUT_MS)
            self._add(admin, "lapped", _lapped, ring_slots=4)
            self._add(admin, "queue", _plain, retention="consumed")
            self._add(admin, "bare", _rows, crc=False)
            self._add(admin, "fresh", lambda producer, rng: [])
        for topic in self.topics:
            if topic.name in ("rows", "bare"):
                _leave_claims(topic)
            topic.files = bytes_of(path for path in topic.directory.iterdir())
        self.procs = directory / "procs"
        self.procs_bytes = self.procs.read_bytes()

    def close(self) -> None:
        shutil.rmtree(self.memory_directory, ignore_errors=True)

    def restore(self, topic: Topic) -> None:
        """Every file of the topic and the procs file again as they were, as new files: nobody maps them."""
        for path in topic.directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        for path, data in topic.files.items():
            path.write_bytes(data)
        self.procs.unlink(missing_ok=True)
        self.procs.write_bytes(self.procs_bytes)

    def _add(self, admin: Admin, name: str, fill: object, ring_slots: int | None = None, **options: object) -> None:
        configs = {"segment_bytes": SEGMENT_BYTES, "retention_bytes": 4 * SEGMENT_BYTES, "retention_ms": -1, **options}
        created = admin.create_topics({name: {"configs": configs}})["topics"][0]
        topic_id = created["topic_id"].int & 0xFFFFFFFFFFFFFFFF
        directory = self.directory / "topics" / name / "0"
        topic = Topic(name, admin_topic_id(self.directory, name, topic_id), directory, checked=name != "bare")
        if ring_slots is not None:
            small_ring(directory / "control", topic.topic_id, ring_slots, 2 * SEGMENT_BYTES)
        with Producer(bootstrap_servers=self.address, max_block_ms=0) as producer:
            for offset, row in fill(producer, self._rng, name):  # type: ignore[operator]
                topic.rows[offset] = row
        self.topics.append(topic)
