"""Part one: count the names in every file, in workers that are a group, one of which is killed midway.

Owns: sending the files, merging what comes back, and checking that each file was counted.
Must never: wait without a bound.
Sits: over the workers.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from shmq import Consumer, ConsumerRecord, Producer, TopicPartition
from shmq.demo.crew import PATIENCE_S, WorkerDiedError, check_alive, crew, join, replace, spawn
from shmq.demo.source import Source
from shmq.demo.workers import AT_ONCE, tokenize_files


@dataclass
class Counted:
    """What came back: how often each file was `seen`, and its names, which count once.

    `unreadable` are files that are no Python this interpreter reads, with the reason.
    """

    names: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def doubled(self) -> int:
        """Results that came a second time, since a worker was killed before it could commit."""
        return sum(self.seen.values()) - len(self.seen)


def count_names(address: str, files_topic: str, counts_topic: str, source: Source, workers: int) -> Counted:
    """Send the files, and merge what the workers count; kill one of them midway, and start another.

    Raises:
        WorkerDiedError: a worker ended too early, or nothing came for a minute.
    """
    limit = 4 * max(map(len, source.contents)) + (1 << 20)
    parent, done = spawn.Pipe(duplex=False)  # closing `done` is what tells them
    arguments = (address, files_topic, counts_topic, limit, parent)
    began = time.perf_counter()
    with crew(tokenize_files, [arguments] * workers) as processes:
        sender = _Sender(address, files_topic, source, limit)
        sender.start()
        with Consumer(bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
            consumer.assign([(counts_topic, 0)])
            counted = Counted()
            merged = _merge(consumer, processes, sender, source, counted)
            _follow(merged, source, half_way=lambda: replace(processes, tokenize_files, arguments))
            counted.seconds = time.perf_counter() - began
            sender.join(PATIENCE_S)
            done.close()
            join(processes)
            _take_all(consumer.poll(timeout_ms=0), source, counted)  # the workers have ended: is there anything twice?
    _check(source, counted)
    return counted


def _follow(merged: Iterator[str], source: Source, half_way: Callable[[], None]) -> None:
    """Show how the work goes on, file by file."""
    progress = _progress()
    task = progress.add_task("tokenizing", total=len(source.files), megabytes="")
    sizes = dict(zip(source.files, map(len, source.contents), strict=True))
    began = time.perf_counter()

    def follow() -> None:
        done_bytes = 0
        for number, name in enumerate(merged, 1):
            if number == len(source.files) // 2:
                half_way()
            done_bytes += sizes.get(name, 0)
            rate = done_bytes / (time.perf_counter() - began) / 1e6
            progress.update(task, advance=1, megabytes=f"{done_bytes / 1e6:.1f} MB, {rate:.1f} MB/s")

    with progress:
        follow()


class _Sender(threading.Thread):
    """Sends the files beside the merging: results must be taken while files are still being sent."""

    def __init__(self, address: str, topic: str, source: Source, limit: int) -> None:
        super().__init__(name="demo-sender", daemon=True)
        self._arguments = address, topic, source, limit
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._send()
        except Exception as error:  # handed to the main thread, which raises it
            self.error = error

    def _send(self) -> None:
        address, topic, source, limit = self._arguments
        with Producer(bootstrap_servers=address, max_request_size=limit) as producer:
            for name, data in zip(source.files, source.contents, strict=True):
                producer.send(topic, data, key=os.fsencode(name))


def _merge(
    consumer: Consumer, processes: list[SpawnProcess], sender: _Sender, source: Source, counted: Counted
) -> Iterator[str]:
    """Merge results until each file has one; yields the name of each file as it comes first."""
    progressed = time.monotonic()
    while len(counted.seen) < len(source.files):
        if sender.error is not None:
            raise sender.error
        check_alive(processes)
        for records in consumer.poll(timeout_ms=200).values():
            progressed = time.monotonic()
            for record in records:
                name = os.fsdecode(record.key)
                _take(name, record.value, source, counted)
                if counted.seen[name] == 1:
                    yield name
        if time.monotonic() - progressed > PATIENCE_S:
            missing = len(source.files) - len(counted.seen)
            raise WorkerDiedError(f"no result for {PATIENCE_S:.0f} s; {missing} files are missing")


def _take_all(polled: dict[TopicPartition, list[ConsumerRecord]], source: Source, counted: Counted) -> None:
    for record in itertools.chain.from_iterable(polled.values()):
        _take(os.fsdecode(record.key), record.value, source, counted)


def _take(name: str, value: bytes, source: Source, counted: Counted) -> None:
    result = json.loads(value)
    counted.seen[name] += 1
    if counted.seen[name] == 1:
        counted.names.update(result["names"])
    if result["sha256"] != source.digests.get(name):
        counted.problems.append(f"{name}: the worker saw other bytes than were sent")
    if result["problem"]:
        counted.unreadable[name] = result["problem"]


def _check(source: Source, counted: Counted) -> None:
    counted.problems += [f"{name}: never counted" for name in source.files if name not in counted.seen]
    if counted.doubled > AT_ONCE:
        counted.problems.append(f"{counted.doubled} results came twice; one death explains {AT_ONCE} at most")
    counted.problems += [f"{name}: never sent" for name in counted.seen.keys() - source.digests.keys()]


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[megabytes]}"),
        TimeElapsedColumn(),
    )
