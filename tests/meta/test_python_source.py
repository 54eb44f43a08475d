"""Rules of the Python source: who may import whom, and what stands nowhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sources import PACKAGE, ROOT, native_files

LAYERS = [
    {"errors", "types", "wire"},
    {"config", "serde", "partitioner", "listener", "packing"},
    {"rows", "futures", "store", "groups"},
    {"connection", "blobs", "committed", "accumulator", "coordination", "coordinator"},
    {"positions", "placing", "membership", "queues"},
    {"commits", "executor"},
    {"subscription"},
    {"arrays"},
    {"producer", "consumer", "admin_forms"},
    {"share", "pipelines"},
    {"admin_results", "admin_groups", "admin_shares"},
    {"admin"},
    {"__init__"},
    {"aio"},
    {"demo"},
    {"cli"},
    {"__main__"},
]
"""A module imports from the layers above its own in this list, and from its own layer without going in circles."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
ALL = sorted(path for folder in ("shmq", "tests", "bench", "examples") for path in (ROOT / folder).rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms of the package that a module imports, wherever in it; not its own."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            parts = node.module.split(".")
            if parts == ["shmq"]:
                found = {each.name for each in node.names}
                rooms |= {name if name in LEVEL or name == "_native" else "__init__" for name in found}
            elif parts[0] == "shmq":
                rooms.add(parts[1])
        elif isinstance(node, ast.Import):
            rooms |= {
                [*each.name.split("."), "__init__"][1] for each in node.names if each.name.split(".")[0] == "shmq"
            }
    return rooms - {room_of(path), "_native"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_downwards(path):
    mine = LEVEL[room_of(path)]
    assert {room for room in imported_rooms(path) if LEVEL[room] > mine} == set()


def assert_no_circle(graph: dict[str, set[str]]) -> None:
    done: set[str] = set()
    while rest := graph.keys() - done:
        free = {name for name in rest if not graph[name] & rest}
        assert free, f"a circle among {sorted(rest)}"
        done |= free


def test_no_rooms_import_each_other_in_a_circle():
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        graph.setdefault(room_of(path), set()).update(imported_rooms(path))
    assert_no_circle(graph)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path: Path, names: set[str]) -> set[str]:
    """Modules of the package that a module imports, wherever in it."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found |= {each if (each := f"{module}.{name.name}") in names else module for name in node.names}
    return (found & names) - {name_of(path)}


def test_no_modules_import_each_other_in_a_circle():
    names = {name_of(path) for path in MODULES} | {"shmq._native"}
    graph = {name_of(path): imported_modules(path, names) - {"shmq._native"} for path in MODULES}
    assert "shmq.errors.base" in graph["shmq.errors.caller"]
    assert_no_circle(graph)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_whatever_is_public_is_documented(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "a module without a docstring"
    for owner in [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")]:
        for node in owner.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                assert ast.get_docstring(node), f"{node.name} has no docstring"


RAISED_IN_BY_SIGNAL_HANDLERS = ["accumulator.py", "demo/crew.py", "demo/race.py"]
"""Modules that promise to leave nothing half-done when a signal handler raises, Ctrl-C's for one."""


@pytest.mark.parametrize("name", RAISED_IN_BY_SIGNAL_HANDLERS)
def test_no_loop_stands_directly_in_a_finally_or_with_of_what_signal_handlers_raise_in(name):
    """Since CPython 3.13 handlers run where a loop jumps back, and no table of a `try` covers that jump."""
    loops = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp)
    covers = [
        node
        for node in ast.walk(ast.parse((PACKAGE / name).read_text()))
        if isinstance(node, ast.With) or (isinstance(node, ast.Try) and node.finalbody)
    ]
    assert covers
    assert [each.lineno for cover in covers for each in own_nodes(cover.body) if isinstance(each, loops)] == []


def own_nodes(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """What stands in these statements, without the functions that are defined there."""
    for node in nodes:
        if not isinstance(node, ast.FunctionDef):
            yield node
            yield from own_nodes([*ast.iter_child_nodes(node)])


POLLING = {
    "shmq/store/files.py",  # a lock of the kernel's that cannot be waited for with a deadline
    "tests/conftest.py",  # wait_until()
}


def test_nobody_sleeps_to_wait_for_others():
    sleeping = re.compile(r"\bsleep\(")
    assert {str(path.relative_to(ROOT)) for path in ALL if sleeping.search(path.read_text())} == POLLING


def test_no_file_names_a_directory_of_the_machine_it_was_written_on():
    place = re.compile(r"/(?:work|root)/")
    files = [*ALL, *native_files(glue=True), *(ROOT / name for name in ("README.md", "pyproject.toml", ".ci/run"))]
    assert [str(path.relative_to(ROOT)) for path in files if place.search(path.read_text())] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_long(path):
    assert len(path.read_text().splitlines()) <= 400
