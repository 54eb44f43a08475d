"""A queue under fire: workers that are killed at random while they take, put and wait."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import shmq

FORK = shmq.get_context("fork")
WORKERS = 6
WAIT_S = 60


def work(tasks: Any, results: Any, path: str) -> None:
    """Note each task in a file, then send a result, until None comes."""
    notes = os.open(path, os.O_WRONLY | os.O_APPEND)
    for number, ballast in iter(tasks.get, None):
        os.write(notes, b"%d\n" % number)
        results.put((number, ballast))
        tasks.task_done()
    tasks.task_done()


class Crew:
    """Workers, one of whom is replaced when it dies."""

    def __init__(self, *args: Any) -> None:
        self._args = args
        self.members = [self._new() for _ in range(WORKERS)]
        self.kills = 0

    def kill_one(self) -> None:
        """Kill a random one, and put another in its place."""
        index = random.randrange(WORKERS)
        os.kill(self.members[index].pid, signal.SIGKILL)
        self.members[index].join()
        self.members[index] = self._new()
        self.kills += 1

    def _new(self) -> Any:
        worker = FORK.Process(target=work, args=self._args)
        worker.start()
        return worker


def storm(tmp_path: Path, count: int, kills: int, maxsize: int) -> None:
    notes = tmp_path / "notes"
    notes.touch()
    tasks, results = shmq.JoinableQueue(maxsize, redeliver=True), shmq.Queue()
    crew = Crew(tasks, results, str(notes))
    got: Counter[int] = Counter()
    every = max(1, count // kills)
    for number in range(count):
        tasks.put((number, bytes(random.choice((0, 10, 1000, 30_000)))), timeout=WAIT_S)
        if number % every == every - 1:
            crew.kill_one()
        while not results.empty():
            got.update(number for number, _ in results.get_many(100))

    tasks.join()

    while not results.empty():
        got.update(number for number, _ in results.get_many(100))
    for _ in crew.members:
        tasks.put(None)
    for worker in crew.members:
        worker.join(WAIT_S)
    assert [worker.exitcode for worker in crew.members] == [0] * WORKERS
    noted = Counter(map(int, notes.read_text().split()))
    assert noted.keys() == got.keys() == set(range(count)), "a task was lost"
    assert sum(noted.values()) - count <= crew.kills, "a task came again although nobody had died of it"
    assert all(got[number] <= noted[number] for number in noted)
    tasks.join()
    assert tasks.qsize() == 0
    tasks.close()
    results.close()


def test_every_task_is_done_whoever_dies(tmp_path):
    storm(tmp_path, count=2000, kills=40, maxsize=50)


@pytest.mark.long
@pytest.mark.parametrize("maxsize", [0, 1, 100])
def test_every_task_is_done_whoever_dies_for_long(tmp_path, maxsize):
    storm(tmp_path, count=30_000, kills=600, maxsize=maxsize)
