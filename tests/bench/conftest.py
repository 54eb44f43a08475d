"""Results as a run would have them, without measuring; the benchmark as a module, though it is not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.append(str(Path(__file__).parents[2]))  # last: what is installed comes first

from bench.__main__ import main
from bench.plan import SHARES, Outcome, Step
from bench.results import Results, save

MACHINE = {
    "date": "2026-01-02T03:04:05+00:00",
    "cpu": "Test CPU",
    "cpus": 2,
    "caches": "L1 32K",
    "memory_gib": 8.0,
    "shm_gib": 4.0,
    "disk": "/tmp on ext4",
    "kernel": "6.0",
    "python": "CPython 3.11.0",
    "load_1min": 0.1,
    "commit": "abc1234",
}
SETTINGS = {"rounds": 2, "seconds": 1.0, "kills": 5}
RATES = {
    "throughput": {"8 B": ("shmq-memory", "zeroq"), "1048576 B": ("shmq-memory", "iceoryx2")},
    "bulk": {"one by one": ("shmq-memory",), "lists of 101": ("shmq-many", "mp-queue-lists")},
    "arrays": {
        "in place 64 KiB": ("shmq-in-place", "one region"),
        "sent (1000, 256) float32": ("shmq send_array", "memcpy, ring"),
    },
    "scaling": {
        f"{word} {count}": ("shmq-memory",)
        for word in ("producers", "consumers", "groups", "members")
        for count in (1, 2)
    },
    "perspective": {"rate 100 B": ("shmq-memory", "redis-stream")},
}
COSTS = {
    "partitions": [f"{word} {count}" for word in ("send", "poll") for count in (1, 1000)],
    "seek": [f"{word} {size}" for word in ("offset", "time", "send") for size in ("1 MB", "100 GB")],
}
CURVES = {
    "pingpong": ("polling", "asleep"),
    "rolls": ("delivered", "rolling"),
    "healing": ("polling",),
    "groups": ("member killed",),
    "queues": ("redelivery",),
}


def step(suite: str, case: str, peer: str, unit: str = "records/s", higher_is_better: bool = True) -> Step:
    return Step(suite, peer, (case,), unit, higher_is_better, lambda: Outcome([1.0]))


def make_results(factor: float = 1.0) -> Results:
    """Two rounds of everything; rates grow by `factor`, costs shrink."""
    results = Results(dict(MACHINE), dict(SETTINGS), {"zeroq": {"usage": "put / get", "version": "0.1"}})
    for number in (1.0, 1.02):
        for suite, cases in RATES.items():
            for case, peers in cases.items():
                for place, peer in enumerate(peers):
                    results.add(step(suite, case, peer), Outcome([1e6 * number * factor / (1 + place)]))
        for suite, cases in COSTS.items():
            for case in cases:
                results.add(step(suite, case, "shmq-memory", "ns", False), Outcome([100 * number / factor]))
        results.add(step("seek", "bare call", "bare C call", "ns", False), Outcome([50 * number]))
        for suite, cases in CURVES.items():
            unit = "us" if suite in ("pingpong", "rolls") else "ms"
            for case in cases:
                for place, peer in enumerate(("shmq-memory", "no rolls")):
                    curve = [number * (1 + place) * (1 + 10 * share) for share in SHARES]
                    results.add(step(suite, f"{case} p50", peer, unit, False), Outcome([curve[7]], {}, {case: curve}))
    return results


@pytest.fixture
def made_results() -> Callable[[float], Results]:
    return make_results


@pytest.fixture
def results() -> Results:
    return make_results()


@pytest.fixture
def saved(tmp_path, results):
    save(results, tmp_path / "results.json")
    return tmp_path / "results.json"


@pytest.fixture
def bench():
    """Run the command in this process; give what it printed, and its status."""

    def run(*arguments: object):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run
