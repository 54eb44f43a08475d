"""What the figures were measured on."""

import datetime
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

GIB = 1 << 30


def describe_machine() -> dict[str, Any]:
    """Return processor, memory, kernel, Python, load, date and commit."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": read_cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "caches": read_caches(),
        "memory_gib": round(memory_bytes / GIB, 1),
        "shm_gib": round(shutil.disk_usage("/dev/shm").total / GIB, 1),
        "disk": f"{tempfile.gettempdir()} on {read_filesystem(Path(tempfile.gettempdir()))}",
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
        "load_1min": round(os.getloadavg()[0], 2),
        "commit": read_commit(),
    }


def read_cpu_model() -> str:
    """Return the processor's name, or its architecture where Linux gives no name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def read_caches() -> str:
    """Return the sizes of the first processor's caches, "L2 1024K, L3 32768K", as far as Linux tells."""
    found = []
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (read_word(cache / name) for name in ("level", "type", "size"))
        if kind != "Instruction" and size:
            found.append(f"L{level} {size}")
    return ", ".join(found) or "caches unknown"


def read_word(path: Path) -> str:
    """Return what a small file says, nothing if it is not there."""
    return path.read_text().strip() if path.exists() else ""


def read_filesystem(path: Path) -> str:
    """Return the type of the filesystem that holds `path`: the mount with the longest matching prefix."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount_point, kind, *_ = line.split()
        if path.is_relative_to(mount_point) and len(mount_point) >= len(best[0]):
            best = (mount_point, kind)
    return best[1]


def read_commit() -> str:
    """Return the commit of this source tree, with a plus sign if it was changed since."""
    commit = run_git("rev-parse", "--short", "HEAD")
    return f"{commit}{'+' if commit and run_git('status', '--porcelain') else ''}" or "unknown"


def run_git(*arguments: str) -> str:
    """Return what git says, nothing if it fails."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
