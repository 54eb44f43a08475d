"""The input: real files, read once.

Owns: which files, their contents and digests, and the topics that hold them.
Must never: pass over a file without saying so.
Sits: lowest in the demo.
"""

from __future__ import annotations

import hashlib
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from shmq.errors import IllegalArgumentError

_INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class Source:
    """Files in the order of their names. `digests` are SHA-256, by name."""

    directory: Path
    files: list[str]
    contents: list[bytes]
    digests: dict[str, str]

    @property
    def total_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(map(len, self.contents))


def find_files(directory: Path | None, pattern: str) -> Source:
    """Read the files that match below `directory`, or all of the running Python's standard library.

    Raises:
        IllegalArgumentError: there is none.
    """
    root = Path(sysconfig.get_path("stdlib")) if directory is None else directory
    try:
        found = sorted(path for path in root.rglob(pattern) if path.is_file())
    except (NotImplementedError, ValueError) as error:
        raise IllegalArgumentError(f"--glob {pattern!r}: {error}") from None
    installed = _INSTALLED if directory is None else set()
    paths = [path for path in found if not installed & set(path.relative_to(root).parts)]
    if not paths:
        raise IllegalArgumentError(f"no file below {root} matches {pattern!r}; see --input and --glob")
    files = [str(path.relative_to(root)) for path in paths]
    contents = [path.read_bytes() for path in paths]
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in zip(files, contents, strict=True)}
    return Source(root, files, contents, digests)


def topic_configs(source: Source, storage: str) -> dict[str, str]:
    """Options of a topic whose segments hold the largest file many times over."""
    largest = 4 * max(len(each) for each in source.contents) + 4096  # what is counted in a file may be larger than it
    segment_bytes = 8 << 20
    while segment_bytes < 2 * largest:
        segment_bytes *= 2
    return {
        "storage": storage,
        "retention": "consumed",
        "segment_bytes": str(segment_bytes),
        "retention_bytes": str(4 * segment_bytes),
        "max_message_bytes": str(max(largest, 1 << 20)),
    }
