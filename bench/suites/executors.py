"""Executors: how many tasks go through a pool of processes, empty ones and with large arrays.

Owns: the measurements, and the peers' names.
Must never: compare figures of different runs: the peers take turns, and a ratio is one of the same round.
Sits: beside the other suites; its peers run functions. loky comes with joblib.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, wait
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bench.plan import Outcome, Plan, Step
from bench.scratch import Scratch

ARRAY_BYTES = 10_000_000
WORKERS = 2
TASKS, QUICK_TASKS = 10_000, 2_000
ARRAYS, QUICK_ARRAYS = 60, 20


class Case(NamedTuple):
    """What is measured: `run` gives things done each second, of so many times `repeats`."""

    name: str
    run: Callable[[Executor, int], float]
    repeats: float
    unit: str


def make_shmq(workers: int) -> Executor:
    """Return a pool of ours."""
    import shmq

    return shmq.Executor(workers)


def make_loky(workers: int) -> Executor:
    """Return a pool of loky's; ImportError if joblib is not installed."""
    from joblib.externals.loky.process_executor import ProcessPoolExecutor as Loky

    pool: Executor = Loky(workers, timeout=None)
    return pool


POOLS: dict[str, Callable[[int], Executor]] = {
    "shmq.Executor": make_shmq,
    "ProcessPoolExecutor": ProcessPoolExecutor,
    "loky": make_loky,
}


def _submit_all(pool: Executor, count: int) -> float:
    began = time.perf_counter()
    futures = [pool.submit(_nothing) for _ in range(count)]
    wait(futures)
    rate = count / (time.perf_counter() - began)
    assert all(future.result() is None for future in futures)
    return rate


def _map_all(pool: Executor, count: int) -> float:
    began = time.perf_counter()
    total = sum(pool.map(abs, range(count)))
    rate = count / (time.perf_counter() - began)
    assert total == count * (count - 1) // 2
    return rate


def _one_by_one(pool: Executor, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        pool.submit(_nothing).result()
    return count / (time.perf_counter() - began)


def _send_arrays(pool: Executor, count: int) -> float:
    arrays = [np.full(ARRAY_BYTES // 8, float(number)) for number in range(4)]
    began = time.perf_counter()
    futures = [pool.submit(_last_of, arrays[number % 4]) for number in range(count)]
    results = [future.result() for future in futures]
    rate = count / (time.perf_counter() - began)
    assert results == [float(number % 4) for number in range(count)]
    return rate


def _fetch_arrays(pool: Executor, count: int) -> float:
    began = time.perf_counter()
    futures = [pool.submit(np.ones, ARRAY_BYTES // 8) for _ in range(count)]
    lasts = [_last_of(futures.pop(0).result()) for _ in range(count)]
    rate = count / (time.perf_counter() - began)
    assert lasts == [1.0] * count
    return rate


def _nothing() -> None:
    pass


def _last_of(array: Any) -> float:
    return float(array[-1])


def measure(make: Callable[[int], Executor], case: Case, count: int) -> Outcome:
    """A fresh pool, warmed up, then measured."""
    repeats = max(1, int(count * case.repeats))
    with make(WORKERS) as pool:
        _submit_all(pool, 100 * WORKERS)
        case.run(pool, max(4 * WORKERS, repeats // 10))
        return Outcome([case.run(pool, repeats)])


CASES = (
    Case("submitted at once", _submit_all, 1, "tasks/s"),
    Case("map", _map_all, 1, "tasks/s"),
    Case("one by one", _one_by_one, 0.1, "tasks/s"),
    Case("10 MB arguments", _send_arrays, 1, "arrays/s"),
    Case("10 MB results", _fetch_arrays, 1, "arrays/s"),
)


def steps(plan: Plan, _scratch: Scratch) -> Iterator[Step]:
    """Every pool, turn by turn, for each case."""
    tasks, arrays = plan.either((TASKS, ARRAYS), (QUICK_TASKS, QUICK_ARRAYS))
    for case in CASES:
        count = tasks if case.unit == "tasks/s" else arrays
        for _ in range(plan.fewer_rounds):
            for name, make in POOLS.items():
                if plan.wants(name):
                    yield Step("executors", name, (case.name,), case.unit, True, partial(measure, make, case, count))
