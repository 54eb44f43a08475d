"""A topic's meta.json: what it says, and reading and writing it.

Owns: the file's fields and format number.
Must never: decide anything about a topic's life; `topics` does.
Sits: in store, under `topics` and `gc`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from shmq.config import TopicConfig
from shmq.errors import CorruptRecordError, KafkaConfigurationError, UnsupportedVersionError

from . import files

FORMAT = 1
_LONGEST_META_BYTES = 65536


@dataclass(frozen=True)
class TopicMeta:
    """A topic as it stands on disk.

    Attributes:
        topic_id: Random number; another topic of the same name, made later, has another.
        partitions: How many; they are counted from 0.
        ring_slots: Slots of each partition's ring, fixed when the topic was created.
        created_ms: Milliseconds since 1970.
        directory: Where the partitions' directories lie.
    """

    name: str
    topic_id: int
    partitions: int
    config: TopicConfig
    ring_slots: int
    created_ms: int
    directory: str

    @property
    def in_memory(self) -> bool:
        """Whether the partitions lie in /dev/shm."""
        return self.config.storage == "memory"

    def partition_directory(self, partition: int) -> str:
        """Return the directory of one partition's control and segment files."""
        return os.path.join(self.directory, str(partition))


def topic_id_text(topic_id: int) -> str:
    """Return a topic's number as directories and meta.json have it."""
    return f"{topic_id:016x}"


def write_meta(topic_directory: str, meta: TopicMeta) -> None:
    """Replace `topic_directory`'s meta.json in one step. Raises: StorageError: it could not be written."""
    stored = {
        "format": FORMAT,
        "name": meta.name,
        "topic_id": topic_id_text(meta.topic_id),
        "partitions": meta.partitions,
        "ring_slots": meta.ring_slots,
        "created_ms": meta.created_ms,
        "config": meta.config.to_json(),
    }
    text = json.dumps(stored, indent=2) + "\n"
    files.write_whole(os.path.join(topic_directory, "meta.json"), text.encode(), durable=True)


def read_meta(topic_directory: str, memory_directory: str) -> TopicMeta | None:
    """Return what `topic_directory`'s meta.json says, None if there is none.

    Args:
        topic_directory: Where meta.json lies; the partitions too, if they are on disk.
        memory_directory: The broker's directory in /dev/shm.

    Raises:
        CorruptRecordError: it is damaged; the message says how.
        UnsupportedVersionError: its format is newer than this code.
        StorageError: it cannot be read.
    """
    path = os.path.join(topic_directory, "meta.json")
    text = _text_of(path)
    if text is None and os.path.isdir(topic_directory):  # perhaps a topic was deleted and one made, just now
        text = _text_of(path)
        if text is None and os.path.isdir(topic_directory):
            raise CorruptRecordError(path, "is missing")
    return None if text is None else _parsed(path, text, topic_directory, memory_directory)


def _parsed(path: str, text: bytes, topic_directory: str, memory_directory: str) -> TopicMeta:
    try:
        stored: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptRecordError(path, f"{len(text)} bytes that are no JSON ({error})") from None
    if not isinstance(stored, dict) or not isinstance(stored.get("format"), int):
        raise CorruptRecordError(path, "JSON without a format number")
    if stored["format"] != FORMAT:
        raise UnsupportedVersionError(path, stored["format"], FORMAT)
    try:
        topic_id = int(stored["topic_id"], 16)
        config = TopicConfig.from_json(stored["config"])
        data_directory = topic_directory
        if config.storage == "memory":
            data_directory = os.path.join(memory_directory, topic_id_text(topic_id))
        meta = TopicMeta(
            name=stored["name"],
            topic_id=topic_id,
            partitions=int(stored["partitions"]),
            config=config,
            ring_slots=int(stored["ring_slots"]),
            created_ms=int(stored["created_ms"]),
            directory=data_directory,
        )
    except (KeyError, TypeError, ValueError, AttributeError, KafkaConfigurationError) as error:
        raise CorruptRecordError(path, f"a field is missing or impossible: {error}") from None
    if meta.partitions < 1 or meta.ring_slots < 1 or not 0 < topic_id < 1 << 64:
        raise CorruptRecordError(path, f"{meta.partitions} partitions, {meta.ring_slots} ring slots, id {topic_id:x}")
    return meta


def _text_of(path: str) -> bytes | None:
    with files.storage_errors(path, "cannot be read"):
        try:
            with open(path, "rb") as file:
                return file.read(_LONGEST_META_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
