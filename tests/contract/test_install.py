"""Installing where something is missing: one message that names the Debian package, before any compiler output."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILERS = {
    "no compiler": ("", "needs a C compiler", "apt install gcc"),
    "a broken one": ("exit 1", "needs a C compiler", "apt install gcc"),
    "no libc headers": ('exec cc -nostdinc "$@"', "needs the headers of the C library", "apt install libc6-dev"),
    "no Python.h": (
        'for each; do shift; case "$each" in -I*) ;; *) set -- "$@" "$each" ;; esac; done; exec cc "$@"',
        "needs the C headers of Python",
        "apt install python3-dev",
    ),
}


def called(hook: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call a hook of the build backend as pip does: from the source tree, with what pyproject.toml names."""
    system = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    code = (
        "import importlib, sys; sys.path[:0] = sys.argv[1:2]; "
        "getattr(importlib.import_module(sys.argv[2]), sys.argv[3])(*sys.argv[4:])"
    )
    [place] = system["backend-path"]
    given = [] if hook == "check" else [str(directory)]
    return subprocess.run(
        [sys.executable, "-c", code, str(ROOT / place), system["build-backend"], hook, *given],
        cwd=directory,  # nothing to build here, should a check not hold
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("hook", ["build_wheel", "build_editable"])
@pytest.mark.parametrize("case", COMPILERS)
def test_what_is_missing_for_a_build_is_named_with_its_package(tmp_path, case, hook):
    script, missing, cure = COMPILERS[case]
    compiler = tmp_path / "cc"
    if script:
        compiler.write_text(f"#!/bin/sh\n{script}\n")
        compiler.chmod(0o755)

    done = called(hook, tmp_path, CC=str(compiler))

    assert done.returncode == 1
    said, todo = done.stderr.splitlines()
    assert missing in said
    assert str(compiler) in said
    assert cure in todo


def test_nothing_is_said_to_be_missing_where_the_core_was_built(tmp_path):
    done = called("check", tmp_path)

    assert (done.returncode, done.stderr) == (0, "")


def test_sources_without_their_core_say_how_to_get_it(tmp_path):
    shutil.copytree(ROOT / "shmq", tmp_path / "shmq", ignore=shutil.ignore_patterns("*.so", "__pycache__"))

    done = subprocess.run(
        [sys.executable, "-c", "import shmq"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"ImportError: the C core of shmq is not beside its sources in {tmp_path}")
    assert "pip install -e ." in said
