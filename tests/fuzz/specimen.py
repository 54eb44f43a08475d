"""A broker with small topics that hold one of everything that a partition can hold, and what was sent to them.

Owns: making it, and putting its files back as they were after each mutation.
Must never: mutate anything.
Sits: over `on_disk`; under `mutations`, `exercise` and the tests.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from on_disk import ABORTED, CLAIMED, COMMITTED, Control, Segment, bytes_of, segment_paths

from shmq import Admin, Producer, _native
from shmq.store import Topics

SEGMENT_BYTES = 65536
CLAIM_TIMEOUT_MS = 10
DEAD_OWNER = 1023  # a process slot that nobody ever had
FIRST_MS = 1_700_000_000_000
ITEM_BYTES = 200

Row = tuple["bytes | None", "bytes | None", "list[tuple[str, bytes | None]]", int]
"""Key, value, headers, timestamp."""
Fill = Callable[[Producer, random.Random, str], Iterator[tuple[int, Row]]]


@dataclass
class Topic:
    """`rows` is what was sent, by offset; `lost` are offsets whose claims were aborted or never committed."""

    name: str
    topic_id: int
    directory: Path
    rows: dict[int, Row] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    files: dict[Path, bytes] = field(default_factory=dict)

    @property
    def has_crc(self) -> bool:
        return not self.name.startswith("bare")


class Specimen:
    """The broker and its pristine bytes. Whoever opens it closes it again before `restore`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = f"shm://{directory}"
        self.topics: list[Topic] = []
        with Admin(bootstrap_servers=self.address) as admin:
            self.memory_directory = Path(admin.broker.memory_directory)
            self.instance = admin.broker.instance
            self._add(admin, "plain", _singles)
            self._add(admin, "rows", _batches)
            self._add(admin, "lapped", _singles, ring_slots=4, retention_bytes=2 * SEGMENT_BYTES)
            self._add(admin, "queue", _singles, retention="consumed", retention_bytes=16 * SEGMENT_BYTES)
            self._add(admin, "bare", _batches, crc=False)
            self._add(admin, "items", _items)
            self._add(admin, "bare-items", _items, crc=False)
            self._add(admin, "fresh", _nothing)
        self.procs = directory / "procs"
        self.procs_bytes = self.procs.read_bytes()

    def close(self) -> None:
        """Take away what the broker has outside its directory."""
        shutil.rmtree(self.memory_directory, ignore_errors=True)
        for bell in Path("/dev/shm").glob(f"sem.shmq-{self.instance:016x}-*"):
            bell.unlink(missing_ok=True)

    def restore(self, topic: Topic) -> None:
        """Every file of the topic, and the procs file, as they were, in new inodes."""
        for path in (*topic.directory.iterdir(), self.procs):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for path, data in topic.files.items():
            path.write_bytes(data)
        self.procs.write_bytes(self.procs_bytes)

    def _add(self, admin: Admin, name: str, fill: Fill, *, ring_slots: int | None = None, **options: object) -> None:
        configs = {
            "segment_bytes": SEGMENT_BYTES,
            "retention_bytes": 4 * SEGMENT_BYTES,
            "retention_ms": -1,
            "claim_timeout_ms": CLAIM_TIMEOUT_MS,
            **options,
        }
        admin.create_topics({name: {"configs": configs}})
        directory = self.directory / "topics" / name / "0"
        topic = Topic(name, Control(directory / "control").get("topic_id"), directory)
        if ring_slots is not None:
            make_small_ring(directory / "control", topic.topic_id, ring_slots, int(str(options["retention_bytes"])))
        with Producer(bootstrap_servers=self.address, max_block_ms=0) as producer:
            topic.rows.update(fill(producer, random.Random(name), name))
            while name == "queue" and not _prepare_spare(admin, topic):
                value = b"queue:more:%d" % len(topic.rows) + bytes(3000)
                offset = producer.send(name, value, timestamp_ms=FIRST_MS).get().offset
                topic.rows[offset] = (None, value, [], FIRST_MS)
        if fill in (_batches, _items):
            _leave_claims(topic)
        topic.files = bytes_of(directory.iterdir())
        self.topics.append(topic)


def _prepare_spare(admin: Admin, topic: Topic) -> bool:
    topics = Topics(admin.broker)
    with topics.opened(topics.find(topic.name)) as [partition]:
        return partition.prepare_spare()


def make_small_ring(control: Path, topic_id: int, ring_slots: int, retention_bytes: int) -> None:
    """Give an empty partition a ring that a test can run through: topics made by name have 1024 slots or more."""
    control.unlink(missing_ok=True)
    _native.create_control(
        str(control),
        topic_id=topic_id,
        partition=0,
        ring_slots=ring_slots,
        segment_bytes=SEGMENT_BYTES,
        retention_bytes=retention_bytes,
        retention_ms=-1,
        retention=0,
        max_message_bytes=SEGMENT_BYTES // 2,
        crc=True,
        timestamp_type=0,
        claim_timeout_ms=CLAIM_TIMEOUT_MS,
    )


def _value(rng: random.Random, topic: str, number: int, most: int) -> bytes:
    return b"%s:%d:" % (topic.encode(), number) + rng.randbytes(rng.choice((0, 1, 17, 100, rng.randrange(most))))


def _nothing(producer: Producer, rng: random.Random, topic: str) -> Iterator[tuple[int, Row]]:
    return iter(())


def _singles(producer: Producer, rng: random.Random, topic: str) -> Iterator[tuple[int, Row]]:
    """Values alone, through several segments; in the small ring, through several laps."""
    segments = 11 if topic == "lapped" else 3
    sent_bytes = 0
    while sent_bytes < segments * 0.8 * SEGMENT_BYTES:
        stamp = FIRST_MS + sent_bytes
        value = _value(rng, topic, sent_bytes, 4000)
        yield producer.send(topic, value, timestamp_ms=stamp).get().offset, (None, value, [], stamp)
        sent_bytes += len(value) + 64


def _batches(producer: Producer, rng: random.Random, topic: str) -> Iterator[tuple[int, Row]]:
    """Keys, headers, nothing at all for a value, timestamps that fall, and many records in one claim."""
    for number in range(36):
        stamp = FIRST_MS + 1000 * (number ^ 5)
        key, value = b"k%d" % number, _value(rng, topic, number, 9000)
        headers: list[tuple[str, bytes | None]] = [("h", b"v"), ("é", None), ("", b"")][: number % 4]
        row: Row = (key, None if number % 7 == 3 else value, headers, stamp)
        yield producer.send(topic, row[1], key, headers, timestamp_ms=stamp).get().offset, row
        values = [_value(rng, topic, 1000 * number + each, 60) for each in range(rng.randrange(1, 40))]
        keys = [b"%d" % len(each) for each in values] if number % 2 else None
        (placed,) = producer.send_many(topic, values, keys, timestamp_ms=stamp)
        for index, each in enumerate(values):
            yield placed.base_offset + index, (keys[index] if keys else None, each, [], stamp)


def _items(producer: Producer, rng: random.Random, topic: str) -> Iterator[tuple[int, Row]]:
    """Arrays with and without keys, in one claim or in place, single items, and reservations that were never published."""
    [appender] = producer._topic(topic).appenders
    for number in range(120):
        stamp = FIRST_MS + 1000 * (number ^ 5)
        count = rng.choice((1, 1, 2, 3, 50))
        items = [
            _value(rng, topic, 100 * number + each, 400).ljust(ITEM_BYTES, b".")[:ITEM_BYTES] for each in range(count)
        ]
        keys = [rng.choice((None, b"", b"key", b"%d" % each)) for each in range(count)] if number % 3 else None
        if number % 2:
            offset, _ = appender.append_items(b"".join(items), count, 0, keys, stamp)
        else:
            reservation = appender.reserve(count * ITEM_BYTES, count, 0)
            with memoryview(reservation) as room:
                room[:] = b"".join(items)
            if number % 8 == 0:
                continue
            offset, _ = reservation.publish(0, keys, stamp)
        for index, each in enumerate(items):
            yield offset + index, (keys[index] if keys else None, each, [], stamp)


def _leave_claims(topic: Topic) -> None:
    """Let some producers have died: an aborted claim in each segment, and an open one at the end of the log."""
    for path in segment_paths(topic.directory):
        segment = Segment(path)
        claims = [(pos, word) for pos, word in segment.used() if word.state == COMMITTED]
        changes = [(5, ABORTED), (6, ABORTED)]
        if claims[-1] == segment.used()[-1]:  # not sealed: the newest one
            changes += [(len(claims) - 3, CLAIMED), (len(claims) - 1, CLAIMED)]
        for index, state in changes:
            pos, word = claims[index]
            segment.set_word(pos, replace(word, state=state, owner=DEAD_OWNER).pack())
            first = claims[index - 1][1].end_count
            topic.lost.update(segment.get("base_offset") + count for count in range(first, word.end_count))
        segment.store()
