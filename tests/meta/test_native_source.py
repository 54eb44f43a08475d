"""Rules of the C source that no compiler holds."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from sources import NATIVE, ROOT, code_of, fault_points, native_files

WRITES = re.compile(r"\bshmq_(?:store\w*|cas|fetch_\w+)\(")
WEAK = re.compile(r"\bshmq_(?:load|store)_(?:relaxed|acquire|release)\(")
NOT_YET_SHARED = {
    "journal.c": 1,  # shmq_journal_init(): the file has no name yet
    "ring.c": 1,  # shmq_ring_init(): nor has this one
}
OUTSIDE_OF_SHARED_MEMORY = {"clock.c", "crc32c.c", "doorbell.c", "fault.c", "fault.h", "guard.c", "process_stat.c"}
"""Files whose builtin atomics are on memory of this process, or on words that have no model: see each file's head."""


def without_shared(code: str) -> str:
    """The code without the operations that stand inside SHMQ_SHARED."""
    kept, at = [], 0
    for found in re.finditer(r"SHMQ_SHARED\(", code):
        if found.start() < at:
            continue
        kept.append(code[at : found.start()])
        depth, end = 1, found.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(code[end], 0)
            end += 1
        at = end
    return "".join([*kept, code[at:]])


@pytest.mark.parametrize("path", native_files(glue=True), ids=lambda path: path.name)
def test_every_write_that_others_see_has_its_fault_points(path):
    if path.name in ("atomic.h", "fault.h"):
        return
    assert len(WRITES.findall(without_shared(code_of(path)))) == NOT_YET_SHARED.get(path.name, 0)


def test_the_check_above_knows_every_way_to_write():
    functions = set(re.findall(r"\bshmq_\w+(?=\()", code_of(NATIVE / "atomic.h")))
    harmless = {name for name in functions if re.match(r"shmq_(?:load_\w+|fence\w*|cpu_relax)$", name)}

    assert {"shmq_cas", "shmq_store_release", "shmq_fetch_or"} <= functions
    assert [name for name in functions - harmless if not WRITES.match(f"{name}(")] == []


@pytest.mark.parametrize("path", native_files(glue=True), ids=lambda path: path.name)
def test_nobody_reaches_into_a_shared_word(path):
    if path.name != "atomic.h":
        assert re.findall(r"(?:->|\.)raw\b", code_of(path)) == []


def test_fault_points_have_names_that_can_be_read_here():
    """Literals, in other words: the crash tests compare what they reached with what is written."""
    unreadable = {
        path.name: found
        for path in native_files(glue=True)
        if (found := re.findall(r'\bSHMQ_(?:SHARED|FAULT)\((?!\s*"[a-z_]+(?:\.[a-z_]+)+")[^\n]*', code_of(path)))
    }
    assert unreadable.keys() == {"fault.h", "py_module.c"}  # the macros; and the points of Python code
    assert len(unreadable["py_module.c"]) == 1


def test_fault_points_have_names_of_their_own():
    points = fault_points()

    assert len(points) >= 80
    assert [name for name, count in Counter(points).items() if count > 1] == []


def test_every_pair_of_memory_orders_names_both_sides():
    names: Counter[str] = Counter()
    for path in native_files(glue=True):
        names.update(re.findall(r"\bPAIR ([a-z_]+)", path.read_text()))

    assert len(names) > 10
    assert [name for name, count in names.items() if count < 2] == []


@pytest.mark.parametrize("path", native_files(glue=True), ids=lambda path: path.name)
def test_every_weak_order_stands_by_the_name_of_its_partner(path):
    """In a comment beside it, or not far above it."""
    if path.name == "atomic.h":
        return
    lines = path.read_text().splitlines()
    for index, code in enumerate(code_of(path).splitlines()):
        if WEAK.search(code):
            assert "PAIR " in "".join(lines[max(0, index - 10) : index + 1]), f"{path.name}:{index + 1}: {code.strip()}"


@pytest.mark.parametrize("path", native_files(glue=False), ids=lambda path: path.name)
def test_atomic_h_is_the_only_door_to_atomics(path):
    if path.name in {"atomic.h", *OUTSIDE_OF_SHARED_MEMORY}:
        return
    found = re.findall(r"__atomic_(?!signal_fence)\w+|__sync_\w+|_Atomic|stdatomic", code_of(path))
    local = {"readers.c": ["__atomic_add_fetch"]}  # a counter of this process
    assert found == local.get(path.name, [])


@pytest.mark.parametrize("path", native_files(glue=False), ids=lambda path: path.name)
def test_the_core_knows_no_python(path):
    assert not re.search(r"#include *[<\"](Python\.h|py_)", path.read_text())


def test_the_build_lists_every_file_of_the_core():
    listed = re.findall(r'"shmq/_native/([\w.]+)"', (ROOT / "pyproject.toml").read_text())

    assert sorted(listed) == sorted(path.name for path in native_files(glue=True))
    assert {path.suffix for path in NATIVE.iterdir() if path.is_file()} <= {".c", ".h"}
