"""CPython's own tests of ProcessPoolExecutor, unmodified, run against shmq.Executor, where this interpreter ships them.

Owns: what is patched, and the table of tests that cannot hold.
Must never: let a test pass that made no Executor of ours, or an exemption stay that exempts nothing.
"""

from __future__ import annotations

import fnmatch
import importlib
import unittest
from concurrent import futures
from typing import Any

import pytest

import shmq

PACKAGE = "test.test_concurrent_futures"
MODULES = ["process_pool", "wait", "as_completed", "shutdown", "init", "deadlock"]

GOES_ON = "the pool outlives a dead worker: its one future fails with WorkerDiedError, not with BrokenProcessPool"
UNPICKLABLE = "submits what cannot be pickled and counts the processes; ours fails such a future without starting any"
EXEMPT = {
    "*ExecutorTest.test_killed_child": GOES_ON,
    "*DeadlockTest.test_crash_*": GOES_ON,
    "*DeadlockTest.test_shutdown_deadlock": GOES_ON,
    "*DeadlockTest.test_*_at_task_unpickle": "what unpickling a task raises is the result of that task, and of no other",
    "*DeadlockTest.test_*_during_result_unpickle_in_result_handler": (
        "what unpickling a result raises is the result of that task, and of no other"
    ),
    "*DeadlockTest.test_gh105829_*": "replaces parts of ProcessPoolExecutor that have no counterpart here",
    "*ExecutorTest.test_saturation": UNPICKLABLE,
    "*ShutdownTest.test_processes_terminate": UNPICKLABLE,
    "*ShutdownTest.test_interpreter_shutdown": "imports the executor from concurrent.futures by the name of its class",
    "*ShutdownTest.test_submit_after_interpreter_shutdown": "the same",
    "*ShutdownTest.test_hang_gh83386": "the same",
    "*ShutdownTest.test_cancel_futures": "expects that some cannot be cancelled; here all can that no worker has started",
}
"""Tests by pattern, with the reason why shmq.Executor need not pass them; tests/contract has its own in their place."""


class Counted(shmq.Executor):
    """Ours, counting how many were made."""

    made = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        Counted.made += 1
        super().__init__(*args, **kwargs)


def find_cases() -> list[unittest.TestCase]:
    """Return every test with a process pool in its class's name; none where the interpreter comes without its tests."""
    try:
        modules = [importlib.import_module(f"{PACKAGE}.test_{name}") for name in MODULES]
    except ImportError:
        return []
    suites = [unittest.defaultTestLoader.loadTestsFromModule(each) for each in modules]
    return [case for suite in suites for tests in suite for case in tests if "ProcessPool" in name_of(case)]


def name_of(case: unittest.TestCase) -> str:
    """`Class.test_name`"""
    return ".".join(case.id().split(".")[-2:])


def reason_for(name: str) -> str | None:
    """Why this test is exempt; None if it is not."""
    return next((reason for pattern, reason in EXEMPT.items() if fnmatch.fnmatch(name, pattern)), None)


CASES = find_cases()
RUN = [case for case in CASES if reason_for(name_of(case)) is None]


@pytest.fixture
def ours(monkeypatch):
    """Have the tests make our executors."""
    util = importlib.import_module(f"{PACKAGE}.util")
    monkeypatch.setattr(futures, "ProcessPoolExecutor", Counted)
    for start in ("Fork", "Spawn", "Forkserver"):
        monkeypatch.setattr(getattr(util, f"ProcessPool{start}Mixin"), "executor_type", Counted)
    Counted.made = 0


@pytest.mark.skipif(not CASES, reason="this interpreter comes without test.test_concurrent_futures")
@pytest.mark.parametrize("case", RUN, ids=name_of)
def test_of_cpython(case, ours):
    result = unittest.TestResult()
    unittest.TestSuite([case]).run(result)

    for _, text in [*result.errors, *result.failures]:
        pytest.fail(text, pytrace=False)
    if result.skipped:
        pytest.skip(result.skipped[0][1])
    assert Counted.made > 0


@pytest.mark.skipif(not CASES, reason="this interpreter comes without test.test_concurrent_futures")
def test_every_exemption_exempts_something_and_is_counted(capsys):
    exempt = [name_of(case) for case in CASES if case not in RUN]

    with capsys.disabled():
        print(f"\nCPython's tests of ProcessPoolExecutor: {len(RUN)} run against shmq.Executor, {len(exempt)} exempt")

    assert {reason_for(name) for name in exempt} == set(EXEMPT.values())
