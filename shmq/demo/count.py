"""Part one: count the names in every file, in worker processes.

Owns: sending the files, merging what comes back, and checking that each file was counted once.
Must never: wait without a bound.
Sits: over the workers.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from shmq import Consumer, Producer
from shmq.demo.crew import PATIENCE_S, WorkerDiedError, check_alive, crew, join
from shmq.demo.source import Source
from shmq.demo.workers import END, tokenize_files


@dataclass
class Counted:
    """What came back. `unreadable` are files that are no Python this interpreter reads, with the reason."""

    names: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def count_names(
    address: str, files_topic: str, counts_topic: str, source: Source, workers: int, partitions: int
) -> Counted:
    """Send the files, and merge what the workers count.

    Raises:
        WorkerDiedError: a worker ended too early, or nothing came for a minute.
    """
    limit = 4 * max(map(len, source.contents)) + (1 << 20)
    shares = [list(range(number, partitions, workers)) for number in range(min(workers, partitions))]
    began = time.perf_counter()
    with crew(tokenize_files, [(address, files_topic, counts_topic, share, limit) for share in shares]) as processes:
        sender = _Sender(address, files_topic, source, partitions, limit)
        sender.start()
        with Consumer(bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
            consumer.assign([(counts_topic, 0)])
            counted = Counted()
            with _progress() as progress:
                task = progress.add_task("tokenizing", total=len(source.files), megabytes="")
                done_bytes, sizes = 0, dict(zip(source.files, map(len, source.contents), strict=True))
                for name in _merge(consumer, processes, sender, source, counted):
                    done_bytes += sizes.get(name, 0)
                    rate = done_bytes / (time.perf_counter() - began) / 1e6
                    progress.update(task, advance=1, megabytes=f"{done_bytes / 1e6:.1f} MB, {rate:.1f} MB/s")
            counted.seconds = time.perf_counter() - began
            sender.join(PATIENCE_S)
            join(processes)
            for records in consumer.poll(timeout_ms=0).values():  # the workers have ended: is there anything twice?
                for record in records:
                    counted.seen[os.fsdecode(record.key)] += 1
    _check(source, counted)
    return counted


class _Sender(threading.Thread):
    """Sends the files beside the merging: results must be taken while files are still being sent."""

    def __init__(self, address: str, topic: str, source: Source, partitions: int, limit: int) -> None:
        super().__init__(name="demo-sender", daemon=True)
        self._arguments = address, topic, source, partitions, limit
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._send()
        except Exception as error:  # handed to the main thread, which raises it
            self.error = error

    def _send(self) -> None:
        address, topic, source, partitions, limit = self._arguments
        with Producer(bootstrap_servers=address, max_request_size=limit) as producer:
            for name, data in zip(source.files, source.contents, strict=True):
                producer.send(topic, data, key=os.fsencode(name))
            for partition in range(partitions):
                producer.send(topic, b"", headers=[END], partition=partition)


def _merge(
    consumer: Consumer, processes: list[SpawnProcess], sender: _Sender, source: Source, counted: Counted
) -> Iterator[str]:
    """Merge results until each file has one; yields the name of each file as it comes."""
    progressed = time.monotonic()
    while sum(counted.seen.values()) < len(source.files):
        if sender.error is not None:
            raise sender.error
        check_alive(processes)
        for records in consumer.poll(timeout_ms=200).values():
            progressed = time.monotonic()
            for record in records:
                yield _take(os.fsdecode(record.key), record.value, source, counted)
        if time.monotonic() - progressed > PATIENCE_S:
            missing = len(source.files) - len(counted.seen)
            raise WorkerDiedError(f"no result for {PATIENCE_S:.0f} s; {missing} files are missing")


def _take(name: str, value: bytes, source: Source, counted: Counted) -> str:
    result = json.loads(value)
    counted.seen[name] += 1
    counted.names.update(result["names"])
    if result["sha256"] != source.digests.get(name):
        counted.problems.append(f"{name}: the worker saw other bytes than were sent")
    if result["problem"]:
        counted.unreadable[name] = result["problem"]
    return name


def _check(source: Source, counted: Counted) -> None:
    counted.problems += [f"{name}: never counted" for name in source.files if name not in counted.seen]
    counted.problems += [f"{name}: counted {times} times" for name, times in counted.seen.items() if times > 1]
    counted.problems += [f"{name}: never sent" for name in counted.seen.keys() - source.digests.keys()]


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[megabytes]}"),
        TimeElapsedColumn(),
    )
