"""Which processes have how much of which topic mapped, and how much of that the log itself has no more.

Owns: reading the kernel's list of a process's mappings, and from a path to a topic.
Must never: touch a segment, or fail because a process ends meanwhile.
Sits: in store; `shmq status` shows it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass

from shmq.errors import ShmqError

from .broker import Broker
from .meta import topic_id_text
from .topics import Topics

_GONE = " (deleted)"
_SEGMENT = ".segment"


@dataclass(frozen=True)
class Mapped:
    """What one process has of one topic.

    Attributes:
        topic: Its name; "" of topics that were deleted.
        bytes: Of all segment files that it has mapped.
        gone_bytes: Of those among them that are not in the log any more: what a view of them, or a reader that has
            not moved on yet, keeps in memory.
    """

    pid: int
    topic: str
    bytes: int
    gone_bytes: int


def mapped(broker: Broker, pids: Iterable[int]) -> list[Mapped]:
    """Return what processes have mapped of a broker's topics; what cannot be looked at is left out."""
    topics = Topics(broker)
    names = {f"{broker.topics_directory}/{name}/": name for name in topics.names()}
    for name in names.copy().values():
        with contextlib.suppress(ShmqError):  # deleted since it was listed, or damaged
            names[f"{broker.memory_directory}/{topic_id_text(topics.find(name).topic_id)}/"] = name
    ours = (f"{broker.topics_directory}/", f"{broker.deleting_directory}/", f"{broker.memory_directory}/")
    found = []
    for pid in pids:
        of_topic: dict[str, dict[tuple[str, str], tuple[int, bool]]] = {}
        for line in _mappings(pid):
            fields = line.split(maxsplit=5)
            path = fields[5].rstrip("\n") if len(fields) == 6 else ""
            is_gone = path.endswith(_GONE)
            path = path.removesuffix(_GONE)
            if path.startswith(ours) and path.endswith(_SEGMENT):
                begin, end = (int(each, 16) for each in fields[0].split("-"))
                name = names.get(os.path.dirname(os.path.dirname(path)) + "/", "")
                of_topic.setdefault(name, {})[fields[4], fields[2]] = (end - begin, is_gone)  # inode and place: once
        for name, pieces in sorted(of_topic.items()):
            gone = sum(size for size, is_gone in pieces.values() if is_gone)
            found.append(Mapped(pid, name, sum(size for size, _ in pieces.values()), gone))
    return found


def _mappings(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            return file.readlines()
    except OSError:  # it has ended, or is not ours
        return []
