"""What the demo's processes run.

Owns: the loops of the workers.
Must never: hold anything of the parent's; they are spawned, and told everything they need.
Sits: under `count` and `race`, which start and watch them.
"""

from __future__ import annotations

import hashlib
import io
import json
import keyword
import multiprocessing
import sys
import tokenize
import zlib
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from queue import Empty
from typing import Any

from shmq import Consumer, ConsumerRecord, Producer, TopicPartition

END = ("end", b"")
"""The header of the last record of a partition."""

AT_ONCE = 16
"""Files that a worker takes between two commits: so many are counted twice at most if it dies."""

PARENT_LOOK_S = 2.0
"""How often a worker that waits looks whether its parent is alive."""


def names_in(data: bytes) -> tuple[Counter[str], str]:
    """Return how often each name that is no keyword stands in Python code, and what kept it from being read, if any."""
    names: Counter[str] = Counter()
    try:
        for token in tokenize.tokenize(io.BytesIO(data).readline):
            if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
                names[token.string] += 1
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError) as error:
        return names, f"{type(error).__name__}: {error}"
    return names, ""


def tokenize_files(address: str, files_topic: str, counts_topic: str, limit_bytes: int, parent: Connection) -> None:
    """A member of a group: count the names in files, send what was counted, and commit; until the parent hangs up."""
    with (
        Producer(bootstrap_servers=address, max_request_size=limit_bytes) as producer,
        Consumer(
            files_topic,
            bootstrap_servers=address,
            group_id=files_topic,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=AT_ONCE,
        ) as consumer,
    ):
        while not parent.poll():
            check_parent()
            for records in consumer.poll(timeout_ms=100).values():
                for record in records:
                    names, problem = names_in(record.value)
                    counted = {"sha256": hashlib.sha256(record.value).hexdigest(), "names": names, "problem": problem}
                    producer.send(counts_topic, json.dumps(counted).encode(), key=record.key)
            consumer.commit()


def receive_from_shmq(address: str, topic: str, partition: int, checksums: list[int], parent: Connection) -> None:
    """Receive and check; then tell how often each record came and how many were changed."""
    with Consumer(bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, partition)])
        parent.send("ready")
        records = _until_end(consumer, [TopicPartition(topic, partition)])
        parent.send(_checked(((int.from_bytes(each.key), each.value) for each in records), checksums))


def receive_from_queue(queue: Queue[Any], checksums: list[int], parent: Connection) -> None:
    """The same, from a multiprocessing.Queue."""
    parent.send("ready")
    parent.send(_checked(_until_none(queue), checksums))


def check_parent() -> None:
    """End this worker if its parent is gone: nobody will ever send it the rest."""
    parent = multiprocessing.parent_process()
    if parent is None or not parent.is_alive():
        sys.exit(1)


def _until_none(queue: Queue[Any]) -> Iterator[tuple[int, bytes]]:
    while True:
        try:
            record = queue.get(timeout=PARENT_LOOK_S)
        except Empty:
            check_parent()
            continue
        if record is None:
            return
        yield record


def _checked(records: Iterator[tuple[int, bytes]], checksums: list[int]) -> tuple[Counter[int], int]:
    seen: Counter[int] = Counter()
    changed = 0
    for index, data in records:
        seen[index] += 1
        changed += zlib.crc32(data) != checksums[index]
    return seen, changed


def _until_end(consumer: Consumer, places: list[TopicPartition]) -> Iterator[ConsumerRecord]:
    """The records of partitions up to the one that is marked as the last of each."""
    open_places = set(places)
    consumer.assign(places)
    while open_places:
        check_parent()
        for place, records in consumer.poll(timeout_ms=PARENT_LOOK_S * 1000).items():
            for record in records:
                if record.headers == [END]:
                    open_places.discard(place)
                else:
                    yield record
