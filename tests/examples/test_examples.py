"""Every example runs, says what it should, and is short enough to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
LAST_LINES = {
    "chat.py": "Bert: Here I am, and I have read it all.",
    "digits.py": "1797 digits by 3 workers, which ended with [-9, 0, 0]: the same: True",
    "flights.py": "327346 flights, added up by 4 workers: the same: True",
    "mails.py": "dead letter, 5 tries: never@example.org",
    "nightly.py": "again: {1: 5, 2: 5}",
    "outbox.py": "the shop is open: served in order: True, kept: 0",
    "pipeline.py": "1797 digits through 2 stages: the same as in one process: True",
    "quickstart.py": "200 means of 200 frames, read twice: 200 the second time",
    "replay.py": "from day 8 on: [8, 9, 10]",
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_runs_and_says_what_it_should(name):
    done = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=120)

    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == LAST_LINES[name]
    assert len((EXAMPLES / name).read_text().splitlines()) < 100
