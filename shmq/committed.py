"""What a group has committed: an offset for each partition, in files that every member maps.

Owns: opening these files, committing and reading, and the notes (`metadata`) that go with a commit.
Must never: decide who may commit: the epoch in the file does, which only the coordinator raises.
Sits: over store and the core's Offsets; under the consumer and the administration of groups.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from shmq import _native
from shmq.errors import CommitFailedError, IllegalArgumentError
from shmq.store import Group, TopicMeta, files
from shmq.types import OffsetAndMetadata

_OFFSETS_FILE = re.compile(r"(.+)-([0-9a-f]{16})\.offsets")
MAX_NOTE_BYTES = 4096  # Kafka's offset.metadata.max.bytes


@dataclass(frozen=True)
class Committed:
    """A partition's word: the epoch of its owner, the offset or None, and when it was committed, in ms since 1970."""

    epoch: int
    offset: int | None
    has_note: bool
    commit_ms: int


class CommittedOffsets:
    """The committed offsets of one group. Not for several threads at once."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self._files: dict[tuple[str, int], _native.Offsets] = {}

    def look(self, meta: TopicMeta, partition: int) -> Committed | None:
        """Return a partition's word, None if the group never had this topic. Errors: `_native.Offsets`."""
        try:
            return _word(self._open(meta, partition, make=False), partition)
        except FileNotFoundError:
            return None

    def read(self, meta: TopicMeta, partition: int) -> OffsetAndMetadata | None:
        """Return what was committed last, None if nothing was."""
        word = self.look(meta, partition)
        return None if word is None or word.offset is None else self.with_note(meta, partition, word)

    def with_note(self, meta: TopicMeta, partition: int, word: Committed) -> OffsetAndMetadata:
        """Return what a partition's word says, with the note that was committed with it."""
        return OffsetAndMetadata(word.offset, self._note(meta, partition, word) if word.has_note else "", -1)

    def epoch(self, meta: TopicMeta, partition: int) -> int:
        """Return the epoch with which this partition can be committed now; makes the file where it is missing."""
        file = self._open(meta, partition, make=True)
        return file.get(partition)[0]

    def commit(self, meta: TopicMeta, partition: int, epoch: int, what: OffsetAndMetadata) -> None:
        """Commit an offset as the owner of `epoch`.

        Raises:
            CommitFailedError: the partition is another's by now; nothing was changed.
            StorageFullError, StorageError: its metadata could not be stored; nothing was changed.
        """
        file = self._open(meta, partition, make=True)
        assert what.offset is not None
        if what.metadata:
            note = what.metadata.encode()
            if len(note) > MAX_NOTE_BYTES:
                raise IllegalArgumentError(f"metadata of {len(note)} bytes; a commit takes {MAX_NOTE_BYTES}")
            files.write_whole(self.group.note_path(meta, partition, epoch, what.offset), note, durable=False)
        try:
            had_note = file.commit(partition, epoch, what.offset, bool(what.metadata))
        except CommitFailedError:
            raise CommitFailedError(self.group.name, meta.name, partition) from None
        if had_note or what.metadata:
            self._forget_notes(meta, partition, keep=(epoch, what.offset) if what.metadata else None)

    def stored(self) -> Iterator[tuple[str, int, int, Committed]]:
        """Yield everything that is committed: topic, its number, partition and word. Opens files for a moment."""
        for name in sorted(os.listdir(self.group.directory)):
            match = _OFFSETS_FILE.fullmatch(name)
            if match is None:
                continue
            topic, topic_id = match[1], int(match[2], 16)
            file = _native.Offsets(os.path.join(self.group.directory, name), topic_id)
            try:
                for partition in range(file.partitions):
                    word = _word(file, partition)
                    if word.offset is not None:
                        yield topic, topic_id, partition, word
            finally:
                file.close()

    def newest_ms(self) -> int:
        """Return when the group committed last, in ms since 1970; 0 if it never did."""
        return max((word.commit_ms for *_, word in self.stored()), default=0)

    def fence(self, meta: TopicMeta, partition: int, epoch: int) -> None:
        """Let `epoch` be the only one that can commit. For the coordinator."""
        file = self._open(meta, partition, make=True)
        file.fence(partition, epoch)

    def reset(self, meta: TopicMeta, partition: int, what: OffsetAndMetadata | None) -> int:
        """Set, or forget, what is committed, whoever owns the partition; return the epoch. For the coordinator."""
        file = self._open(meta, partition, make=True)
        had_note = file.reset(partition, None if what is None else what.offset)
        if had_note:
            self._forget_notes(meta, partition, keep=None)
        epoch = file.get(partition)[0]
        if what is not None and what.metadata:
            self.commit(meta, partition, epoch, what)
        return epoch

    def close(self) -> None:
        """Unmap the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _open(self, meta: TopicMeta, partition: int, *, make: bool) -> _native.Offsets:
        """A topic's file. FileNotFoundError: there is none, and it is not to be made."""
        key = meta.name, meta.topic_id
        file = self._files.get(key)
        if file is not None and partition < file.partitions:
            return file
        path = self.group.offsets_path(meta.name, meta.topic_id)
        if make and not os.path.exists(path):
            _native.create_offsets(path, meta.topic_id, meta.partitions)
        if file is None:
            file = self._files[key] = _native.Offsets(path, meta.topic_id)
        if partition >= file.partitions:
            file.grow(meta.partitions)
        return file

    # -- notes --------------------------------------------------------------------------------------------------------

    def _notes(self, meta: TopicMeta, partition: int) -> dict[tuple[int, int], str]:
        """Paths of the partition's notes, by epoch and offset."""
        prefix = os.path.basename(self.group.note_path(meta, partition, 0, 0)).removesuffix("0.0.note")
        found = {}
        for name in os.listdir(self.group.directory):
            if name.startswith(prefix) and name.endswith(".note"):
                epoch, offset = name.removeprefix(prefix).removesuffix(".note").split(".")
                found[int(epoch), int(offset)] = os.path.join(self.group.directory, name)
        return found

    def _note(self, meta: TopicMeta, partition: int, word: Committed) -> str:
        """The epoch may have been raised since the commit; a later one than the word's was never committed."""
        notes = self._notes(meta, partition)
        fitting = [key for key in notes if key[1] == word.offset and key[0] <= word.epoch]
        if not fitting:
            return ""
        with files.storage_errors(notes[max(fitting)], "cannot be read"), open(notes[max(fitting)], "rb") as file:
            return file.read(MAX_NOTE_BYTES).decode(errors="replace")

    def _forget_notes(self, meta: TopicMeta, partition: int, keep: tuple[int, int] | None) -> None:
        for key, path in self._notes(meta, partition).items():
            if key != keep:
                with contextlib.suppress(FileNotFoundError):  # another owner was faster
                    os.unlink(path)


def _word(file: _native.Offsets, partition: int) -> Committed:
    epoch, offset, has_note, commit_ms = file.get(partition)
    return Committed(epoch, offset if offset >= 0 else None, has_note, commit_ms)
