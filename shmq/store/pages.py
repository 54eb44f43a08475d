"""Whether files in memory lie on large pages, which spare the processor most of its look-ups of addresses.

The mount decides: /dev/shm gives them if it is mounted with `huge=always` or `huge=within_size`.

Owns: asking the kernel what it gave.
Must never: change a file, or keep it mapped.
Sits: in store; `Admin.describe_topics` tells.
"""

from __future__ import annotations

import contextlib
import mmap
import os

_LARGE_PAGE_BYTES = 2 << 20  # the smallest there is; touched once each
_KINDS = ("ShmemPmdMapped:", "FilePmdMapped:")


def large_page_bytes(directory: str) -> int:
    """Return how many bytes of the segment files in a directory lie on large pages.

    Maps each file for a moment and touches it. Source: /proc/PID/smaps in proc_pid_smaps(5).
    """
    with contextlib.ExitStack() as mapped:
        paths = set()
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:  # removed meanwhile
                if name.endswith(".segment"):
                    area = mapped.enter_context(mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ))
                    sum(area[::_LARGE_PAGE_BYTES])
                    paths.add(os.path.realpath(path))
        return _on_large_pages(paths) if paths else 0


def _on_large_pages(paths: set[str]) -> int:
    total, ours = 0, False
    with open("/proc/self/smaps", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split(maxsplit=5)
            if "-" in fields[0] and not fields[0].endswith(":"):
                ours = len(fields) == 6 and fields[5].rstrip("\n") in paths
            elif ours and fields[0] in _KINDS:
                total += int(fields[1]) << 10
    return total
