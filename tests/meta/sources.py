"""The project's own source, as the meta tests look at it.

Owns: finding files, and C text without its comments.
Must never: import the package.
Sits: under the meta tests and the crash tests, which compare what they reached with what there is.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "shmq"
NATIVE = PACKAGE / "_native"


def native_files(*, glue: bool) -> list[Path]:
    """C sources and headers; with the Python glue, or without."""
    files = [path for path in sorted(NATIVE.iterdir()) if path.suffix in (".c", ".h")]
    return [path for path in files if glue or not path.name.startswith("py_")]


def code_of(path: Path) -> str:
    """A C file without its comments, which keep their lines."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda found: "\n" * found[0].count("\n"), path.read_text(), flags=re.DOTALL)


def fault_points() -> list[str]:
    """Names of all fault points, each with `.before` or `.after`."""
    points = []
    for path in native_files(glue=True):
        code = code_of(path)
        for name in re.findall(r'SHMQ_SHARED\(\s*"([^"]+)"', code):
            points += [f"{name}.before", f"{name}.after"]
        points += re.findall(r'SHMQ_FAULT\(\s*"([^"]+)"\s*\)', code)
    return points
