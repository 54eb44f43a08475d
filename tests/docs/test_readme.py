"""The README is the manual: what it shows must work as pasted."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import shmq
from shmq.cli import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FILE_MAP = README.split("## File map")[1].split("## Options")[0]


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_quick_start_runs_as_pasted(broker):
    code = re.search(r"<!-- quick start.*?```python\n(.*?)```", README, re.DOTALL)[1]

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SHMQ_BROKER": broker.address},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith("RecordMetadata(topic='readings'")
    assert done.stdout.splitlines()[-1] == "3 records"


def test_the_shell_commands_run_as_pasted(broker, tmp_path):
    code = re.search(r"<!-- shell.*?```sh\n(.*?)```", README, re.DOTALL)[1]
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)

    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "SHMQ_BROKER": broker.address, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == "2 records sent to orders\n2 records sent to copy\n"
    assert re.search(r"^\d:\d\tanna\t2 apples$", done.stdout, re.MULTILINE)
    assert re.search(r"^\d:\d\tbert\t1 pear$", done.stdout, re.MULTILINE)
    assert "8 partitions, 0 broken" in done.stdout
    assert broker.admin.list_topics() == []


def test_the_command_table_names_every_command():
    table = README.split("| command | what it does |")[1].split("\n\n")[0]

    named = re.findall(r"^\| `shmq (\w+)", table, re.MULTILINE)
    assert sorted(named) == sorted(cli.commands)
    assert [name for name in cli.commands["topics"].commands if name not in table] == []


def test_the_api_tables_name_every_method_and_errors_that_exist():
    tables = README.split("## API")[1].split("## Guarantees")[0]
    methods, errors = tables.split("| error | when |")

    for name in ("Admin", "Producer", "Consumer", "ShareConsumer", "Queue"):
        listed = re.findall(r"`(\w+)`", re.search(rf"^\| `{name}` \|(.*)\|$", methods, re.MULTILINE)[1])
        assert sorted(listed) == sorted(each for each in dir(getattr(shmq, name)) if not each.startswith("_"))
    named = set(re.findall(r"`(\w+Error)`", errors))
    assert len(named) > 10
    assert [name for name in named if not hasattr(shmq.errors, name)] == []


def test_the_example_of_a_group_runs_as_pasted(tmp_path):
    code = re.search(r"<!-- groups.*?```python\n(.*?)```", README, re.DOTALL)[1]

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stderr == ""
    assert done.stdout == "100 orders; 0 left\n"


def test_the_example_of_a_share_group_runs_as_pasted(tmp_path):
    code = re.search(r"<!-- shares.*?```python\n(.*?)```", README, re.DOTALL)[1]

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stderr == ""
    assert done.stdout == "b'7' b'no seven'\n"


def test_the_example_of_arrays_runs_as_pasted():
    code = re.search(r"<!-- arrays.*?```python\n(.*?)```", README, re.DOTALL)[1]

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stderr == ""
    assert done.stdout == "1008 items; the newest: float32 (8, 256) 2.0\n"


def test_the_example_of_a_queue_runs_as_pasted():
    code = re.search(r"<!-- queue:.*?```python\n(.*?)```", README, re.DOTALL)[1]

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stderr == ""
    assert re.fullmatch(r"\{\d+: \d+\} 99 more\n", done.stdout)


def test_the_example_of_an_executor_runs_as_pasted():
    code = re.search(r"<!-- executor.*?```python\n(.*?)```", README, re.DOTALL)[1]

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stderr == ""
    assert done.stdout == f"{sum(number * number for number in range(100))}\nWorkerDiedError\n"


def test_the_options_tables_are_those_of_the_declarations():
    assert _load("fill_readme").filled(README) == README


def test_ci_calls_exactly_the_second_command():
    commands = re.findall(r"```sh\n(python3 -m venv .*?)\n```", README, re.DOTALL)

    assert len(commands[1].splitlines()) == 1
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_every_path_of_the_file_map_exists():
    names = mapped()

    assert len(names) > 30
    for name in names:
        assert list(ROOT.glob(name.rstrip("*") + "*")), name


def test_every_part_is_in_the_file_map():
    named = {str(Path(name).with_suffix("")) for name in mapped() if not name.endswith("*")}
    stems = tuple(name.rstrip("*") for name in mapped() if name.endswith("*"))
    parts = {
        str(path.relative_to(ROOT).with_suffix(""))
        for folder in ("shmq", "shmq/_native", "tests")
        for path in (ROOT / folder).iterdir()
        if (path.is_dir() or path.suffix in (".c", ".h", ".py")) and not path.name.startswith("_")
    }

    assert len(parts) > 50
    assert [each for each in sorted(parts - named - {"tests/conftest"}) if not each.startswith(stems)] == []


def mapped() -> list[str]:
    """The paths of the file map; a name without a folder lies beside the first of its row."""
    names = []
    for row in re.findall(r"^\| (`.*?) \|", FILE_MAP, re.MULTILINE):
        first, *rest = re.findall(r"`([^`]+)`", row)
        names += [first, *(each if "/" in each else f"{Path(first).parent}/{each}" for each in rest)]
    return names
