"""Whatever stands in the files: an error of shmq.errors, or records that were sent. Nothing else, and never a crash.

Each test runs `child.py`; what it prints on failure is the case, and the command that replays it. The long profile
(`pytest -m long tests/fuzz`) goes on from SHMQ_FUZZ_FIRST, a number, by default today's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import build
import pytest
from mutations import KINDS

CHILD = Path(__file__).with_name("child.py")
QUICK_CASES, QUICK_SANITIZED_CASES = 60, 25
LONG_CASES, LONG_SANITIZED_CASES = 5000, 1500
DEADLINE_S = 150
LONG_DEADLINE_S = 1800
FIRST = int(os.environ.get("SHMQ_FUZZ_FIRST", int(time.time()) // 86400 * 100_000))


def run_child(
    kind: str, first: int, count: int, environment: dict[str, str] | None = None, deadline_s: float = DEADLINE_S
) -> str:
    """What the child printed. Fails with its last words if it did not end well."""
    command = [sys.executable, str(CHILD), kind, str(first), str(count)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as child:
        try:
            out, _ = child.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            child.kill()
            out = f"{child.communicate()[0]}\nkilled after {deadline_s} s"
    if child.returncode != 0:
        pytest.fail(f"exit status {child.returncode}; replay one case: {CHILD} KIND NUMBER 1\n{_last_words(out)}")
    return out


def _last_words(out: str) -> str:
    """The first case that broke, or the one under way at the end, with what was said of it."""
    lines = out.splitlines()
    cases = [number for number, line in enumerate(lines) if line.startswith("case ")] or [0]
    told = [
        (number, after) for number, after in zip(cases, [*cases[1:], len(lines)], strict=True) if after > number + 1
    ]
    first, last = (told or [(cases[-1], len(lines))])[0]
    return "\n".join([*lines[first:last][:60], lines[-1]])


@pytest.fixture(scope="module")
def sanitized() -> dict[str, str]:
    gcc = build.compiler()
    if gcc is None:
        pytest.skip("no gcc with AddressSanitizer's runtime: apt install gcc libasan8")
    return build.sanitized_environment(gcc)


@pytest.mark.parametrize("kind", KINDS)
def test_files_at_rest_that_were_damaged_give_an_error_or_what_was_sent(kind: str) -> None:
    run_child(kind, 0, QUICK_CASES)


@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_outside_a_damaged_file_is_touched(kind: str, sanitized: dict[str, str]) -> None:
    run_child(kind, 1_000_000, QUICK_SANITIZED_CASES, sanitized)


def test_files_that_are_damaged_while_they_are_mapped_give_errors_and_work_again_once_put_back() -> None:
    run_child("mapped", 1, 60)


def test_no_byte_outside_a_file_is_touched_while_it_is_damaged(sanitized: dict[str, str]) -> None:
    run_child("mapped", 2, 30, sanitized)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_many_more_damaged_files(kind: str) -> None:
    run_child(kind, FIRST, LONG_CASES, deadline_s=LONG_DEADLINE_S)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_many_more_damaged_files_under_the_sanitizers(kind: str, sanitized: dict[str, str]) -> None:
    run_child(kind, FIRST + 50_000, LONG_SANITIZED_CASES, sanitized, LONG_DEADLINE_S)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_many_more_damages_to_mapped_files(seed: int, sanitized: dict[str, str]) -> None:
    run_child("mapped", FIRST + seed, 1000, None, LONG_DEADLINE_S)
    run_child("mapped", FIRST + seed, 300, sanitized, LONG_DEADLINE_S)
