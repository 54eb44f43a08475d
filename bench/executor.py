"""Executors: how many tasks go through a pool of processes, empty ones and with large arrays.

    python -m bench.executor [--workers 2] [--rounds 5]

Owns: the measurements, the peers' names, and the table that it prints.
Must never: compare figures of different runs: the peers take turns, and a ratio is one of the same round.
Sits: beside the suites; a command of its own, since its peers are not theirs.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, wait
from typing import Any, NamedTuple

import click
import numpy as np
from rich.progress import Progress
from rich.table import Table

import shmq
from bench.report import make_console

ARRAY_BYTES = 10_000_000
OURS = "shmq"
Pool = Callable[[int], Executor]


class Case(NamedTuple):
    """What is measured: `run` gives things done each second."""

    name: str
    run: Callable[[Executor, int], float]
    repeats: int
    unit: str
    target: float | None


@click.command()
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Turns of every peer.")
@click.option("--tasks", type=click.IntRange(100), default=10_000, show_default=True, help="Empty tasks in a turn.")
@click.option("--arrays", type=click.IntRange(1), default=60, show_default=True, help="Arrays in a turn.")
def main(workers: int, rounds: int, tasks: int, arrays: int) -> None:
    """Print what was measured."""
    console = make_console()
    peers = find_peers()
    cases = [
        Case("empty tasks, submitted at once", _submit_all, tasks, "tasks/s", 3.0),
        Case("empty tasks, map()", _map_all, tasks, "tasks/s", 3.0),
        Case("empty tasks, one after the other", _one_by_one, tasks // 10, "tasks/s", None),
        Case("arrays of 10 MB as arguments", _send_arrays, arrays, "arrays/s", 5.0),
        Case("arrays of 10 MB as results", _fetch_arrays, arrays, "arrays/s", None),
    ]
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("executors", total=len(cases) * rounds * len(peers))
        for case in cases:
            rates: dict[str, list[float]] = {name: [] for name in peers}
            for _ in range(rounds):
                for name, make in peers.items():
                    rates[name].append(_turn(make, workers, case))
                    progress.advance(bar)
            progress.console.print(_table(case, rates, workers))


def find_peers() -> dict[str, Pool]:
    """Return how each peer's pool is made; loky's only where joblib is installed (`pip install -e '.[bench]'`)."""
    peers: dict[str, Pool] = {OURS: shmq.Executor, "ProcessPoolExecutor": ProcessPoolExecutor}
    try:
        from joblib.externals.loky.process_executor import ProcessPoolExecutor as Loky
    except ImportError:
        return peers
    return {**peers, "loky": functools.partial(Loky, timeout=None)}


def _turn(make: Pool, workers: int, case: Case) -> float:
    """A fresh pool, warmed up, then measured."""
    with make(workers) as pool:
        _submit_all(pool, 100 * workers)
        case.run(pool, max(4 * workers, case.repeats // 10))
        return case.run(pool, case.repeats)


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


def _table(case: Case, rates: dict[str, list[float]], workers: int) -> Table:
    title = f"{case.name}, {workers} workers"
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("peer", case.unit, "lowest", "highest", "shmq is faster by"):
        table.add_column(column, justify="left" if column == "peer" else "right")
    for name, values in rates.items():
        cells = [f"{value:,.0f}" for value in (statistics.median(values), min(values), max(values))]
        ratios = [ours / theirs for ours, theirs in zip(rates[OURS], values, strict=True)]
        table.add_row(name, *cells, "" if name == OURS else _ratio(statistics.median(ratios), case.target))
    return table


def _ratio(ratio: float, target: float | None) -> str:
    """The median of the rounds' ratios, and whether it is what was promised."""
    if target is None:
        return f"{ratio:.1f} x"
    met = "green" if ratio >= target else "red"
    return f"[{met}]{ratio:.1f} x[/] (target {target:g})"


if __name__ == "__main__":
    main()
