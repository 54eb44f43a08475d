"""The package once more, with its core built under AddressSanitizer and UBSan and guard pages around every mapping.

Owns: that build, kept in a directory named by what it was made of, and the environment to run it in.
Must never: touch the installed package.
Sits: beside the fuzzer's tests, which run `child.py` in this environment.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import shmq

PACKAGE = Path(shmq.__file__).parent
GUARD_PAGES = Path(__file__).with_name("guard_pages.c")
COMPILE = ["-std=gnu11", "-O1", "-g", "-fPIC", "-pthread", "-fno-omit-frame-pointer", "-Wall", "-Werror=return-type"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
WRAP = ["-Wl,--wrap=mmap,--wrap=munmap"]


def compiler() -> str | None:
    """A compiler that has the sanitizers' runtime, None if there is none."""
    gcc = shutil.which("gcc")
    return gcc if gcc and _runtime(gcc) else None


def _runtime(gcc: str) -> str:
    path = subprocess.run(
        [gcc, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return path if os.path.isabs(path) else ""


def sanitized_environment(gcc: str) -> dict[str, str]:
    """The environment in which `import shmq` finds the sanitized build; it is built if it is not there."""
    sources = sorted((PACKAGE / "_native").glob("*.c"))
    made_of = hashlib.sha256(" ".join(COMPILE + SANITIZE + WRAP).encode())
    for path in (*sources, *sorted((PACKAGE / "_native").glob("*.h")), GUARD_PAGES):
        made_of.update(path.read_bytes())
    place = Path(tempfile.gettempdir()) / f"shmq-sanitized-{os.getuid()}-{made_of.hexdigest()[:16]}"
    if not place.exists():
        _build(gcc, [*sources, GUARD_PAGES], place)
    options = "detect_leaks=0:handle_sigbus=0:allocator_may_return_null=1:abort_on_error=0:exitcode=99"
    return {
        **os.environ,
        "PYTHONPATH": str(place),
        "LD_PRELOAD": _runtime(gcc),
        "ASAN_OPTIONS": options,
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # else the sanitizer sees no objects, only Python's arenas
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _build(gcc: str, sources: list[Path], place: Path) -> None:
    aside = Path(tempfile.mkdtemp(dir=place.parent, prefix=f"{place.name}."))
    package = aside / "shmq"
    package.mkdir()
    for each in PACKAGE.iterdir():
        if each.suffix in (".py", ".pyi") or (each.is_dir() and each.name not in ("_native", "__pycache__")):
            (package / each.name).symlink_to(each)
    include = f"-I{sysconfig.get_paths()['include']}"
    native = f"-I{PACKAGE / '_native'}"

    def compile_one(source: Path) -> Path:
        target = aside / f"{source.stem}.o"
        subprocess.run([gcc, *COMPILE, *SANITIZE, include, native, "-c", str(source), "-o", str(target)], check=True)
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = [str(each) for each in pool.map(compile_one, sources)]
    library = package / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    subprocess.run([gcc, "-shared", "-pthread", *SANITIZE, *WRAP, *objects, "-o", str(library)], check=True)
    try:
        aside.rename(place)
    except OSError:  # another test run was faster
        shutil.rmtree(aside)
