"""The steps of each operation on a topic, and finishing them for an administrator that died between two.

Owns: their order. An operation is named by an entry in `creating/`, `altering/` or `deleting/` for as long as it is
under way; whoever takes the administrators' lock next finishes what is found there.
Must never: be used without that lock, `opened` and `directory` excepted.
Sits: in store, under `topics`, which decides what may be done.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator

from shmq import _native
from shmq.errors import ShmqError

from . import files
from .broker import Broker
from .meta import TopicMeta, read_meta, topic_id_text, write_meta
from .names import check_topic_name

_log = logging.getLogger(__name__)


class TopicSteps:
    """Steps on the topics of one broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def directory(self, name: str) -> str:
        """Return where a topic's meta.json lies, and its partitions if they are on disk."""
        return os.path.join(self._broker.topics_directory, name)

    @contextlib.contextmanager
    def opened(self, meta: TopicMeta, numbers: Iterable[int] | None = None) -> Iterator[list[_native.Partition]]:
        """Open a topic's partitions, all by default, for a while. Raises: what the native core finds wrong with one."""
        with self._broker.process() as process:
            wanted = range(meta.partitions) if numbers is None else numbers
            partitions = [open_partition(process, meta, number) for number in wanted]
            try:
                yield partitions
            finally:
                partitions.clear()  # unmapped with their last reference, and before the process gives its slot up

    def recover(self) -> list[str]:
        """Finish or undo what dead administrators had begun; return the entries that were found and are gone now."""
        found = []
        for directory, finish in (
            (self._broker.creating_directory, self._undo_creating),
            (self._broker.deleting_directory, self._finish_deleting),
            (self._broker.altering_directory, self._finish_altering),
        ):
            with files.storage_errors(directory, "cannot be listed"):
                entries = sorted(os.listdir(directory))
            for entry in entries:
                path = os.path.join(directory, entry)
                try:
                    finish(path)
                    found.append(path)
                except ShmqError as damage:  # one damaged topic must not stop the administration of all others
                    _log.warning("%s was left by a dead administrator and cannot be finished: %s", path, damage)
        return found

    def create(self, meta: TopicMeta) -> None:
        """Make a topic aside, whole, and give it its name; nothing is left of it if that fails."""
        unfinished = os.path.join(self._broker.creating_directory, topic_id_text(meta.topic_id))
        try:
            with files.storage_errors(unfinished, "cannot be made"):
                os.mkdir(unfinished, 0o700)
            if meta.in_memory:
                self.create_in_memory(meta)
            else:
                create_partitions(unfinished, meta, range(meta.partitions))
            write_meta(unfinished, meta)
            with files.storage_errors(self.directory(meta.name), "cannot be made"):
                os.rename(unfinished, self.directory(meta.name))
        except BaseException:
            self._undo_creating(unfinished)
            raise
        files.sync(self._broker.topics_directory)

    def create_in_memory(self, meta: TopicMeta) -> None:
        """Make a topic's part of /dev/shm, empty."""
        unfinished = f"{meta.directory}.new"
        with files.storage_errors(unfinished, "cannot be made"):
            files.remove_tree(unfinished)
            os.mkdir(unfinished, 0o700)
            create_partitions(unfinished, meta, range(meta.partitions))
            os.rename(unfinished, meta.directory)

    def add_partitions(self, before: TopicMeta, after: TopicMeta) -> None:
        """Make the partitions that `after` has more; they exist once meta.json counts them."""
        added = range(before.partitions, after.partitions)
        try:
            create_partitions(before.directory, after, added)
            write_meta(self.directory(before.name), after)
        except BaseException:
            for number in added:
                files.remove_tree(before.partition_directory(number))
            raise

    def alter(self, after: TopicMeta) -> None:
        """Give a topic the options of `after`: in meta.json, then in each partition."""
        with self.opened(after):
            pass  # all of them can be opened, so nothing but a death is likely to stop what follows
        marker = self._mark(self._broker.altering_directory, after.topic_id, after.name)
        write_meta(self.directory(after.name), after)
        self._finish_altering(marker)

    def delete(self, name: str, topic_id: int) -> None:
        """Take a topic away, of whatever state its files are."""
        self._finish_deleting(self._mark(self._broker.deleting_directory, topic_id, name))

    def _undo_creating(self, unfinished: str) -> None:
        in_memory = os.path.join(self._broker.memory_directory, os.path.basename(unfinished))
        for each in (f"{in_memory}.new", in_memory, unfinished):
            with files.storage_errors(each, "cannot be removed"):
                files.remove_tree(each)

    def _mark(self, directory: str, topic_id: int, name: str) -> str:
        """Note that an operation on a topic has begun: a link, which is there with its text in one step."""
        marker = os.path.join(directory, topic_id_text(topic_id))
        with files.storage_errors(marker, "cannot be made"):
            os.symlink(name, marker)
        files.sync(directory)
        return marker

    def _finish_deleting(self, marker: str) -> None:
        """Tell the users of a topic that it is gone while its paths still hold, then take it away, then remove it."""
        leaving = f"{marker}.topic"
        in_memory = os.path.join(self._broker.memory_directory, os.path.basename(marker))
        if os.path.islink(marker) and not os.path.isdir(leaving):
            place = self.directory(check_topic_name(os.readlink(marker)))
            if self._tell_deleted(place, os.path.basename(marker)):
                with files.storage_errors(place, "cannot be deleted"):
                    os.rename(place, leaving)
                files.sync(self._broker.topics_directory)
        with files.storage_errors(marker, "cannot be removed"):
            for each in (in_memory, leaving):
                files.remove_tree(each)
            if os.path.islink(marker):
                os.unlink(marker)

    def _tell_deleted(self, place: str, topic_id: str) -> bool:
        """Mark each partition; return whether `place` holds the topic meant. Damage stops the telling, no more."""
        try:
            meta = read_meta(place, self._broker.memory_directory)
        except ShmqError as damage:
            _log.warning("processes that use the deleted topic at %s may not hear of it: %s", place, damage)
            return True
        if meta is None or topic_id_text(meta.topic_id) != topic_id:
            return False
        if not os.path.isdir(meta.directory):  # in memory, and not used since the last boot
            return True
        for number in range(meta.partitions):
            try:
                with self._broker.process() as process:
                    open_partition(process, meta, number).mark_deleted()
            except ShmqError as damage:
                _log.warning("processes that use %s-%d may not hear of its end: %s", meta.name, number, damage)
        return True

    def _finish_altering(self, marker: str) -> None:
        """Tell a topic's partitions the options that its meta.json has."""
        with files.storage_errors(marker, "cannot be read"):
            name = os.readlink(marker)
        meta = read_meta(self.directory(check_topic_name(name)), self._broker.memory_directory)
        if meta is not None and os.path.isdir(meta.directory):
            with self.opened(meta) as partitions:
                for partition in partitions:
                    partition.configure(**meta.config.native())
        with files.storage_errors(marker, "cannot be removed"):
            os.unlink(marker)


def open_partition(process: _native.Process, meta: TopicMeta, number: int) -> _native.Partition:
    """Map a partition's control file. Raises: CorruptSegmentError, UnsupportedVersionError, StorageError."""
    return _native.Partition(process, meta.partition_directory(number), meta.name, number, meta.topic_id)


def create_partitions(directory: str, meta: TopicMeta, numbers: range) -> None:
    """Make partitions' directories and control files, in place of any that a death left half-made."""
    for number in numbers:
        place = os.path.join(directory, str(number))
        with files.storage_errors(place, "cannot be made"):
            files.remove_tree(place)
            os.mkdir(place, 0o700)
        control = os.path.join(place, "control")
        _native.create_control(
            control, topic_id=meta.topic_id, partition=number, ring_slots=meta.ring_slots, **meta.config.native()
        )
        if not meta.in_memory:
            files.sync(control)
            files.sync(place)
    if not meta.in_memory:
        files.sync(directory)
