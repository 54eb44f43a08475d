"""The command: its arguments, what it prints and saves; one real run of the shortest kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.results import load

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--only", "speed"], "no suite is called 'speed'; there are throughput,"),
        (["--peers", "nobody"], "no peer is called 'nobody'; there are shmq-memory,"),
        (["--sizes", "7"], "a record has at least 8 bytes, its sequence number; got 7"),
        (["--sizes", "many"], "invalid literal"),
        (["--rounds", "0"], "0 is not in the range x>=1"),
        (["compare", "missing.json", "missing.json"], "does not exist"),
    ],
)
def test_a_wrong_argument_is_named(bench, arguments, complaint):
    outcome = bench(*arguments)

    assert outcome.exit_code == 2
    assert complaint in " ".join(outcome.output.replace("│", "").split())


def test_a_saved_result_is_shown_with_its_targets(bench, saved):
    outcome = bench("show", saved)

    assert outcome.exit_code == 0
    for part in (
        "Test CPU",
        "zeroq 0.1",
        "throughput: One producer process",
        "Targets",
        "seek, 100 GB retained: at most 20 x",
    ):
        assert part in outcome.output, part


def test_a_saved_result_is_loaded_as_it_was(saved, results):
    assert load(saved) == results


def test_a_short_run_measures_saves_and_draws(tmp_path):
    json_path = tmp_path / "new" / "r.json"
    options = ["--peers", "shmq-memory", "--sizes", "8", "--rounds", "1", "--seconds", "0.1", "--quick"]

    command = [sys.executable, "-m", "bench", "--only", "throughput", *options, "--json", json_path]
    done = subprocess.run(
        [*command, "--plots", tmp_path / "plots"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(json_path.read_text())["rows"][0]["median"] > 0
    assert (tmp_path / "plots" / "rate-by-size.png").exists()
    assert str(json_path) in done.stdout.replace("\n", "")
