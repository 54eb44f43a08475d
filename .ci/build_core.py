"""The build backend: setuptools, after a look at whether this machine can build the C core.

Owns: saying in one line which package is missing, where a compiler would fill a page.
Must never: judge anything but a build: metadata and sdists need no compiler.
Sits: before setuptools.build_meta; pyproject.toml names it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from typing import Any


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build a wheel, as PEP 517 has it."""
    check()
    return __getattr__("build_wheel")(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build a wheel that points here, as PEP 660 has it."""
    check()
    return __getattr__("build_editable")(wheel_directory, config_settings, metadata_directory)


def __getattr__(name: str) -> Any:
    """Every other hook is setuptools' own."""
    from setuptools import build_meta  # not before `check`: it needs nothing but Python

    return getattr(build_meta, name)


def check() -> None:
    """Exit with a message that says what to install, if something that the C core needs is missing."""
    if sys.platform != "linux":
        raise SystemExit(f"shmq runs on Linux only (futexes, /dev/shm, /proc/PID); this is {sys.platform}")
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    own_headers = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
    for code, missing, cure in (
        ("", "a C compiler", "gcc (or have another one: `CC=clang pip install .`)"),
        ("#include <stdlib.h>", "the headers of the C library", "libc6-dev"),
        ("#include <Python.h>", "the C headers of Python", f"python3-dev (or {own_headers})"),
    ):
        problem = _refused(compiler, code)
        if problem:
            raise SystemExit(f"shmq is built here and needs {missing}. {problem}\nDebian, Ubuntu: apt install {cure}")


def _refused(compiler: str, code: str) -> str:
    """Return what is wrong with some C code, or "" if it can be compiled."""
    flags = [f"-I{sysconfig.get_path(each)}" for each in ("include", "platinclude")]
    flags += shlex.split(f"{os.environ.get('CFLAGS', '')} {os.environ.get('CPPFLAGS', '')}")
    command = [*shlex.split(compiler), *flags, "-fsyntax-only", "-x", "c", "-"]
    try:
        done = subprocess.run(command, input=f"{code}\n", capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{compiler!r} does not run: {error.strerror}."
    if done.returncode == 0:
        return ""
    said = done.stderr.strip() or f"exit status {done.returncode}"
    return f"{compiler!r} says: {said.splitlines()[0]}"
