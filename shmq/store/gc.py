"""Removing what deaths left behind, in a broker's directory and in /dev/shm.

Owns: deciding what is left over: by locks that the kernel releases, never by age or by looking at other processes.
Must never: remove what belongs to another user, or to a broker that may be in use or come back.
Sits: rightmost in store; `shmq gc` calls it, and nothing depends on its having run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import dataclass, field

from shmq import _native
from shmq.errors import ShmqError, StorageError

from . import files
from .broker import OWNER_FILE, SHARED_MEMORY, Broker, memory_directory, open_broker, read_identity
from .family import collect_families
from .groups import SHARE, Groups
from .meta import TopicMeta, topic_id_text
from .topics import Topics

_log = logging.getLogger(__name__)

_MEMORY_DIRECTORY = re.compile(r"shmq-([0-9a-f]{16})")
_UNFINISHED_MEMORY_DIRECTORY = re.compile(r"\.(shmq-[0-9a-f]{16})\.new-[0-9a-f]+")
_DOORBELL = re.compile(r"sem\.shmq-([0-9a-f]{16})-.*")
_WINDOW_FILE = re.compile(r"(.+)-([0-9a-f]{16})\.[0-9]+\.window")
_MEMBER_FILE = re.compile(r"([0-9]+)\.([0-9]+)\.[0-9a-f]+\.member")
_UNFINISHED_FILE = re.compile(r".+\.new-[0-9a-f]{16}")


@dataclass
class GcReport:
    """What a collection did.

    Attributes:
        removed: Paths of files and directories that are gone.
        problems: What could not be collected, and why, as text.
        segment_files: How many segment files that no ring listed were removed.
    """

    removed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    segment_files: int = 0

    def add(self, other: GcReport) -> None:
        """Count what another collection did too."""
        self.removed += other.removed
        self.segment_files += other.segment_files
        self.problems += other.problems


def collect(broker: Broker) -> GcReport:
    """Remove everything that dead processes left in and beside one broker, which may be in use meanwhile.

    Raises:
        KafkaTimeoutError: an administrator held the lock for too long.
        StorageError: something left over cannot be removed.
    """
    report = GcReport()
    report.removed += files.remove_unfinished(broker.directory)
    report.removed += files.remove_unfinished(broker.memory_directory)
    topics = Topics(broker)
    report.removed += topics.recover()
    with broker.administration():
        metas = _readable_topics(topics, report)
        topics_and_groups = [
            *(os.path.join(broker.topics_directory, each.name) for each in metas),
            *(group.directory for group in Groups(broker).all()),
        ]
        for directory in (broker.directory, *topics_and_groups):
            _remove_matching(directory, _UNFINISHED_FILE, report)
        for meta in metas:
            _remove_half_added_partitions(meta, report)
        if not report.problems:  # else what looks like an orphan may be of a topic that could not be read
            _remove_orphaned_memory(broker, metas, report)
            _remove_orphaned_windows(broker, metas, report)
        _remove_doorbells_of_the_dead(broker, report)
    for meta in metas:
        _remove_orphaned_segments(topics, meta, report)
    return report


def collect_all() -> GcReport:
    """Remove everything that dead processes of this user left in /dev/shm, broker by broker.

    A broker whose directory is gone, or is another broker's now, loses its part of /dev/shm unless a process still
    uses it. One whose directory is there is collected as by `collect`. A family of queues that nobody has goes too.
    """
    report = GcReport(*collect_families())
    for name in sorted({match[1] for match in map(_UNFINISHED_MEMORY_DIRECTORY.fullmatch, _entries()) if match}):
        report.removed += files.remove_unfinished(os.path.join(SHARED_MEMORY, name))
    for match in filter(None, map(_MEMORY_DIRECTORY.fullmatch, _entries())):
        if _is_ours(os.path.join(SHARED_MEMORY, match[0])):
            try:
                report.add(collect_instance(match[1]))
            except ShmqError as error:
                report.problems.append(str(error))
    for match in filter(None, map(_DOORBELL.fullmatch, _entries())):
        if not os.path.isdir(memory_directory(match[1])):
            _remove_file(os.path.join(SHARED_MEMORY, match[0]), report)
    return report


def collect_instance(instance: str) -> GcReport:
    """Collect the broker that a directory in /dev/shm belongs to, or the directory itself if it belongs to none.

    Args:
        instance: 16 hex digits, as in the directory's name.

    Raises:
        StorageError: it cannot be read or removed. And as `collect` and `open_broker`.
    """
    owner = os.path.join(memory_directory(instance), OWNER_FILE)
    try:
        with files.storage_errors(owner, "cannot be read"), open(owner, "rb") as file:
            directory = os.fsdecode(file.read())
    except StorageError:
        if os.path.exists(memory_directory(instance)):
            raise
        return GcReport()  # another collector was faster
    identity_path = os.path.join(directory, "broker.json")
    if os.path.exists(identity_path) and read_identity(identity_path).instance == instance:
        broker = open_broker(directory, create=False)
        try:
            return collect(broker)
        finally:
            broker.close()
    report = GcReport()
    with files.storage_errors(owner, "cannot be removed"), files.try_lock(owner) as unused:
        if unused:
            leaving = os.path.join(SHARED_MEMORY, f".shmq-{instance}.new-0")  # a death from here on leaves this name
            os.rename(memory_directory(instance), leaving)
            files.remove_tree(leaving)
            report.removed.append(memory_directory(instance))
    return report


def _readable_topics(topics: Topics, report: GcReport) -> list[TopicMeta]:
    metas = []
    for name in topics.names():
        try:
            metas.append(topics.find(name))
        except ShmqError as damage:
            report.problems.append(str(damage))
    return metas


def _remove_half_added_partitions(meta: TopicMeta, report: GcReport) -> None:
    """Remove partitions that a death left between their creation and their being counted in meta.json."""
    if not os.path.isdir(meta.directory):
        return
    for each in sorted(os.listdir(meta.directory)):
        if each.isdigit() and int(each) >= meta.partitions:
            _remove_directory(os.path.join(meta.directory, each), report)


def _remove_orphaned_memory(broker: Broker, metas: list[TopicMeta], report: GcReport) -> None:
    known = {topic_id_text(each.topic_id) for each in metas if each.in_memory} | {OWNER_FILE}
    for each in sorted(set(os.listdir(broker.memory_directory)) - known):
        _remove_directory(os.path.join(broker.memory_directory, each), report)


def _remove_orphaned_windows(broker: Broker, metas: list[TopicMeta], report: GcReport) -> None:
    """Remove windows of share groups on topics that were deleted, and the files of members that died."""
    known = {(each.name, topic_id_text(each.topic_id)) for each in metas}
    with broker.process() as process:
        living = {(str(slot), str(epoch)) for slot, epoch, _, state in process.slots() if state == "live"}
    for group in Groups(broker).all(SHARE):
        for name in sorted(os.listdir(group.directory)):
            window, member = _WINDOW_FILE.fullmatch(name), _MEMBER_FILE.fullmatch(name)
            is_orphan = window is not None and window.groups() not in known
            if is_orphan or (member is not None and member.groups() not in living):
                _remove_file(os.path.join(group.directory, name), report)


def _remove_doorbells_of_the_dead(broker: Broker, report: GcReport) -> None:
    # Listed before the slots are read: whoever makes a doorbell has its slot already.
    bells = [
        match[0] for match in map(_DOORBELL.fullmatch, _entries()) if match and match[1] == broker.identity.instance
    ]
    with broker.process() as process:
        living = {
            "sem." + _native.doorbell_name(broker.instance, slot, epoch).removeprefix("/")
            for slot, epoch, _, state in process.slots()
            if state == "live"
        }
    for bell in sorted(set(bells) - living):
        _remove_file(os.path.join(SHARED_MEMORY, bell), report)


def _remove_orphaned_segments(topics: Topics, meta: TopicMeta, report: GcReport) -> None:
    try:
        with topics.opened(meta) as partitions:
            report.segment_files += sum(partition.clean() for partition in partitions)
    except ShmqError as damage:
        report.problems.append(str(damage))


def _remove_matching(directory: str, pattern: re.Pattern[str], report: GcReport) -> None:
    for each in sorted(os.listdir(directory)):
        if pattern.fullmatch(each):
            _remove_file(os.path.join(directory, each), report)


def _remove_file(path: str, report: GcReport) -> None:
    with files.storage_errors(path, "cannot be removed"), contextlib.suppress(FileNotFoundError):  # others may too
        if _is_ours(path):
            os.unlink(path)
            report.removed.append(path)


def _remove_directory(path: str, report: GcReport) -> None:
    with files.storage_errors(path, "cannot be removed"):
        files.remove_tree(path)
        report.removed.append(path)


def _is_ours(path: str) -> bool:
    try:
        return os.lstat(path).st_uid == os.geteuid()
    except FileNotFoundError:
        return False


def _entries() -> list[str]:
    with files.storage_errors(SHARED_MEMORY, "cannot be listed"):
        return os.listdir(SHARED_MEMORY)
