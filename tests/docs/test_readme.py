"""The README is the manual: what it shows must work as pasted."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_quick_start_runs_as_pasted(tmp_path):
    code = re.search(r"<!-- quick start.*?```python\n(.*?)```", README, re.DOTALL)[1]

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SHMQ_BROKER": f"shm://{tmp_path}/broker"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith("RecordMetadata(topic='readings'")
    assert done.stdout.splitlines()[-1] == "3 records"


def test_the_options_tables_are_those_of_the_declarations():
    assert _load("fill_readme").filled(README) == README


def test_ci_calls_exactly_the_second_command():
    commands = re.findall(r"```sh\n(python3 -m venv .*?)\n```", README, re.DOTALL)

    assert len(commands[1].splitlines()) == 1
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_every_path_of_the_file_map_exists():
    rows = re.findall(r"^\| (`.*?) \|", README.split("## File map")[1].split("## Options")[0], re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]

    assert len(names) > 30
    for row in rows:
        first, *rest = re.findall(r"`([^`]+)`", row)
        beside = str(Path(first).parent)
        for name in [first, *(each if "/" in each else f"{beside}/{each}" for each in rest)]:
            assert list(ROOT.glob(name.rstrip("*") + "*")), name
