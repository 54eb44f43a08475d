"""CPython's own tests of multiprocessing pass with our queues in place of its own, but for those in exempt.json.

`run.py` runs them, unmodified, in a process for each start method; here is said which ones, and what must come of them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXEMPT: dict[str, str] = json.loads((HERE / "exempt.json").read_text())
"""Test, and why it does not hold for ours."""
WANTED = """
    TestInitializers.test_pool_initializer
    TestSimpleQueue
    TestStartMethod.test_mixed_startmethod TestStartMethod.test_nested_startmethod
    TestStdinBadfiledescriptor.test_pool_in_process TestStdinBadfiledescriptor.test_queue_in_process
    WithProcessesTestPool
    WithProcessesTestPoolWorkerErrors
    WithProcessesTestPoolWorkerLifetime
    WithProcessesTestProcess.test_args_argument WithProcessesTestProcess.test_close
    WithProcessesTestProcess.test_lose_target_ref WithProcessesTestProcess.test_process
    WithProcessesTestProcess.test_process_mainthread_native_id
    WithProcessesTestQueue
""".split()  # noqa: SIM905  # a list of words reads as one
"""Whatever makes a queue there, itself or through a pool."""
LONGEST_S = 700

needs_tests = pytest.mark.skipif(
    importlib.util.find_spec("test") is None or importlib.util.find_spec("test._test_multiprocessing") is None,
    reason="this Python was installed without its own tests",
)


@needs_tests
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_cpython_asks_of_its_queues_holds_for_ours(method, tmp_path, capsys):
    counts, report = tmp_path / "counts", tmp_path / "report.json"
    counts.touch()
    environment = {**os.environ, "SHMQ_TEST_CONSTRUCTIONS": str(counts), "SHMQ_TEST_START_METHOD": method}

    command = [sys.executable, str(HERE / "run.py"), str(report), *WANTED]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False
    )

    assert report.exists(), done.stdout + done.stderr
    tests = json.loads(report.read_text())
    exempt = {name for name in tests if name.rpartition(".")[2] in EXEMPT}
    run = {name: each for name, each in tests.items() if name not in exempt and each["outcome"] != "skipped"}
    with capsys.disabled():
        print(
            f"\n{method}: {len(run)} of CPython's tests run, {len(exempt)} exempt, {len(tests) - len(run) - len(exempt)} skipped"
        )
    assert {name: each["why"] for name, each in run.items() if each["outcome"] != "passed"} == {}
    assert [name for name, each in run.items() if not each["queues"]] == [], "tests that made no queue of ours"
    assert len(run) >= 30
