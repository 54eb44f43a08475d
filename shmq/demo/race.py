"""Part two: the same records through multiprocessing.Queue and through shmq, to workers that only receive and check.

Owns: the rounds, their clock and their checks.
Must never: measure one side on other records, workers or checks than the other.
Sits: over the workers.
"""

from __future__ import annotations

import itertools
import math
import secrets
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from rich.progress import track

from shmq import Admin, Producer
from shmq.demo.crew import PATIENCE_S, WorkerDiedError, crew, join, spawn
from shmq.demo.source import Source, topic_configs
from shmq.demo.workers import END, receive_from_queue, receive_from_shmq

ROUND_RECORDS, ROUND_BYTES = 30_000, 600_000_000
"""A round sends all files again and again up to so many or so much: enough that starting up does not count."""


@dataclass(frozen=True)
class Round:
    """One side of one round."""

    side: str
    seconds: float
    records: int
    sent_bytes: int
    problems: list[str] = field(default_factory=list)


def race(address: str, source: Source, storage: str, workers: int, rounds: int) -> list[Round]:
    """Run both sides in turn, `rounds` times.

    Raises:
        WorkerDiedError: a worker ended too early, or did not report for a minute.
    """
    checksums = [zlib.crc32(data) for data in source.contents]
    sides: list[Callable[[], Round]] = [
        lambda: _through_queue(source, checksums, workers),
        lambda: _through_shmq(address, source, checksums, storage, workers),
    ]
    plan = [side for _ in range(rounds) for side in sides]
    return [side() for side in track(plan, description="racing    ")]


def _laps(source: Source) -> int:
    """How often each round sends all files."""
    return math.ceil(min(ROUND_RECORDS / len(source.files), ROUND_BYTES / max(1, source.total_bytes)))


def _records(source: Source) -> Iterator[tuple[int, bytes]]:
    for _ in range(_laps(source)):
        yield from enumerate(source.contents)


def _through_queue(source: Source, checksums: list[int], workers: int) -> Round:
    queue = spawn.Queue()
    pipes = [spawn.Pipe(duplex=False) for _ in range(workers)]
    arguments = [(queue, checksums, theirs) for _, theirs in pipes]

    def put_all() -> None:
        for record in itertools.chain(_records(source), [None] * workers):
            queue.put(record)

    try:
        with crew(receive_from_queue, arguments) as processes:
            return _timed("multiprocessing.Queue", put_all, source, pipes, processes)
    finally:
        queue.close()
        queue.cancel_join_thread()  # after Ctrl-C its thread would wait for ever for workers that are gone


def _through_shmq(address: str, source: Source, checksums: list[int], storage: str, workers: int) -> Round:
    topic = f"demo-race-{secrets.token_hex(4)}"
    pipes = [spawn.Pipe(duplex=False) for _ in range(workers)]
    arguments = [(address, topic, number, checksums, theirs) for number, (_, theirs) in enumerate(pipes)]
    limit = max(map(len, source.contents)) + 4096
    with (
        Admin(bootstrap_servers=address) as admin,
        Producer(bootstrap_servers=address, max_request_size=limit) as producer,
    ):

        def send_all() -> None:
            for number, (index, data) in enumerate(_records(source)):
                producer.send(topic, data, key=index.to_bytes(4), partition=number % workers)
            for partition in range(workers):
                producer.send(topic, b"", headers=[END], partition=partition)

        admin.create_topics({topic: {"num_partitions": workers, "configs": topic_configs(source, storage)}})
        try:
            with crew(receive_from_shmq, arguments) as processes:
                return _timed("shmq", send_all, source, pipes, processes)
        finally:
            admin.delete_topics([topic])


def _timed(
    side: str,
    send_all: Callable[[], None],
    source: Source,
    pipes: list[tuple[Connection, Connection]],
    processes: list[SpawnProcess],
) -> Round:
    _ready(pipes, processes)
    began = time.perf_counter()
    send_all()
    seen: Counter[int] = Counter()
    changed = 0
    for ours, _ in pipes:
        counted, wrong = _receive(ours, processes)
        seen.update(counted)
        changed += wrong
    seconds = time.perf_counter() - began
    join(processes)
    problems = [f"{side}: {changed} records were changed"] if changed else []
    laps = _laps(source)
    for index, name in enumerate(source.files):
        if seen[index] != laps:
            problems.append(f"{side}: {name} was sent {laps} times and came {seen[index]} times")
    return Round(side, seconds, laps * len(source.files), laps * source.total_bytes, problems)


def _ready(pipes: list[tuple[Connection, Connection]], processes: list[SpawnProcess]) -> None:
    for ours, theirs in pipes:
        theirs.close()  # so that a dead worker is an end of file
        _receive(ours, processes)


def _receive(ours: Connection, processes: list[SpawnProcess]) -> Any:
    """What a worker sends next."""
    try:
        if ours.poll(PATIENCE_S):
            return ours.recv()
    except EOFError:
        join(processes)
    raise WorkerDiedError(f"a worker of the race did not report within {PATIENCE_S:.0f} s")
