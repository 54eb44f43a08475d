"""The files of shmq as bytes: their fields and words, read and planted by the tables of shmq/_native/layout.h.

Owns: positions, packing of journal and ring words, checksums; a second opinion on the format, in Python.
Must never: import the package but for `crc32c`, or know what a test wants to plant.
Sits: under the fuzzer and the storage tests.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shmq._native import crc32c

PAGE = 4096
UNIT = 64

EMPTY, CLAIMED, COMMITTED, ABORTED, SEALED, RESERVED = 1, 2, 3, 4, 5, 6
ITEMS, REFERENCE = 3, 4  # kinds of batches
FREE, LIVE = 1, 2
MAKING, READY = 1, 2
SPARE_SEQ = (1 << 64) - 1

# Fields of a header: position and width in bytes.
SEGMENT_FIELDS = {
    "magic": (0, 8),
    "version": (8, 4),
    "incompat": (12, 4),
    "partition": (16, 4),
    "flags": (20, 4),
    "topic_id": (24, 8),
    "incarnation": (32, 8),
    "seq": (40, 8),
    "base_offset": (48, 8),
    "created_ms": (56, 8),
    "journal_words": (64, 4),
    "data_units": (68, 4),
    "data_pos": (72, 8),
    "header_crc": (80, 4),
    "max_timestamp": (128, 8),
}
CONTROL_FIELDS = {
    "magic": (0, 8),
    "version": (8, 4),
    "incompat": (12, 4),
    "partition": (16, 4),
    "ring_slots": (20, 4),
    "topic_id": (24, 8),
    "header_crc": (32, 4),
    "segment_bytes": (64, 8),
    "retention_bytes": (72, 8),
    "retention_ms": (80, 8),
    "retention": (88, 8),
    "max_message_bytes": (96, 8),
    "crc": (104, 8),
    "timestamp_type": (112, 8),
    "claim_timeout_ms": (120, 8),
    "deleted": (128, 8),
    "start_offset": (136, 8),
    "next_incarnation": (192, 8),
    "head_seq": (256, 8),
    "tail_seq": (320, 8),
    "preparer": (384, 8),
    "spare": (448, 8),
}
PROCS_FIELDS = {
    "magic": (0, 8),
    "version": (8, 4),
    "incompat": (12, 4),
    "slots": (16, 4),
    "header_crc": (20, 4),
    "instance": (24, 8),
}
READERS_POS, READER_BYTES, READERS = 1024, 64, 256
RING_POS = 20480
SLOT_BYTES = 128

# Fields of a batch header, from the start of its first unit.
BATCH_FIELDS = {
    "crc": (0, 4),
    "payload_bytes": (4, 4),
    "timestamp_ms": (8, 8),
    "count": (16, 4),
    "kind": (20, 1),
    "attributes": (21, 1),
    "attempt": (22, 1),
    "reserved": (23, 1),
}
ITEMS_FIELDS = {
    "item_bytes": (24, 4),
    "keys_bytes": (28, 4),
    "items_unit": (32, 4),
    "items_crc": (36, 4),
    "items_reserved": (40, 8),
}
BATCH_BYTES = 24
ROW_BYTES = 24


@dataclass(frozen=True)
class Word:
    """A journal word that is not EMPTY."""

    state: int
    owner: int
    end_pos: int
    end_count: int

    def pack(self) -> int:
        return self.state | self.owner << 3 | self.end_pos << 18 | self.end_count << 42


def unpack_word(word: int) -> Word:
    return Word(word & 7, word >> 3 & 0x7FFF, word >> 18 & 0xFFFFFF, word >> 42)


def empty_word(incarnation: int) -> int:
    return EMPTY | incarnation << 3


def ring_word(state: int, lap: int, incarnation: int) -> int:
    return state | lap << 2 | incarnation << 26


def spare_word(state: int, incarnation: int, units: int, crc: bool) -> int:
    return state | crc << 2 | units << 3 | incarnation << 26


def unpack_ring_word(word: int) -> tuple[int, int, int]:
    """State, lap, incarnation."""
    return word & 3, word >> 2 & 0xFFFFFF, word >> 26


class File:
    """The bytes of one file; `store` puts them back."""

    fields: dict[str, tuple[int, int]] = {}

    def __init__(self, path: Path, data: bytes | None = None) -> None:
        self.path = path
        self.data = bytearray(path.read_bytes() if data is None else data)

    def store(self) -> None:
        """In place: who has the file mapped sees it."""
        with open(self.path, "r+b") as file:
            file.write(self.data)
            file.truncate()

    def get(self, field: str) -> int:
        pos, width = self.fields[field]
        return int.from_bytes(self.data[pos : pos + width], "little")

    def set(self, field: str, value: int) -> None:
        """Without a new checksum; see `seal`."""
        pos, width = self.fields[field]
        self.data[pos : pos + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")

    def word(self, pos: int) -> int:
        return int(struct.unpack_from("<Q", self.data, pos)[0])

    def set_word(self, pos: int, value: int) -> None:
        struct.pack_into("<Q", self.data, pos, value & 0xFFFFFFFFFFFFFFFF)

    def summed(self) -> bytes:
        """What the header's checksum is over."""
        return bytes(self.data[: self.fields["header_crc"][0]])

    def sign(self) -> None:
        """Make the header's checksum right, so that the checks behind it are reached."""
        self.set("header_crc", crc32c(self.summed()))


class Procs(File):
    fields = PROCS_FIELDS

    def summed(self) -> bytes:
        return bytes(self.data[:20] + self.data[24:32])

    def slots(self) -> range:
        """Positions of the slots that the file has room for."""
        return range(PAGE, len(self.data) - SLOT_BYTES + 1, SLOT_BYTES)


class Control(File):
    fields = CONTROL_FIELDS

    def ring(self) -> range:
        """Positions of the ring's words."""
        return range(RING_POS, len(self.data) - 7, 8)

    def live(self) -> list[tuple[int, int, int]]:
        """(position, seq, incarnation) of the LIVE words, oldest first."""
        slots = self.get("ring_slots")
        found = []
        for index, pos in enumerate(self.ring()):
            state, lap, incarnation = unpack_ring_word(self.word(pos))
            if state == LIVE:
                found.append((pos, lap * slots + index, incarnation))
        return sorted(found, key=lambda each: each[1])


class Segment(File):
    fields = SEGMENT_FIELDS

    def journal(self) -> range:
        """Positions of the journal's words."""
        return range(PAGE, PAGE + 8 * self.get("journal_words"), 8)

    def used(self) -> list[tuple[int, Word]]:
        """(position, word) of the words that are not EMPTY."""
        found = []
        for pos in self.journal():
            word = unpack_word(self.word(pos))
            if word.state == EMPTY:
                break
            found.append((pos, word))
        return found

    def batches(self) -> Iterator[tuple[Word, int, int]]:
        """(word, position of its batch, records before it) of every claim."""
        before = Word(0, 0, 0, 0)
        for _, word in self.used():
            if word.state not in (SEALED, RESERVED):
                yield word, self.get("data_pos") + before.end_pos * UNIT, before.end_count
            before = word

    def batch(self, pos: int, field: str) -> int:
        at, width = (BATCH_FIELDS | ITEMS_FIELDS)[field]
        return int.from_bytes(self.data[pos + at : pos + at + width], "little")

    def set_batch(self, pos: int, field: str, value: int) -> None:
        at, width = (BATCH_FIELDS | ITEMS_FIELDS)[field]
        self.data[pos + at : pos + at + width] = value.to_bytes(width, "little")

    def sign_batch(self, pos: int, first_count: int) -> None:
        """Make the checksum of the batch at `pos` right, over as many bytes as it says it has."""
        seed = crc32c(struct.pack("<QQ", self.get("incarnation"), self.get("base_offset"))) ^ first_count
        end = min(pos + BATCH_BYTES + self.batch(pos, "payload_bytes"), len(self.data))
        self.set_batch(pos, "crc", crc32c(bytes(self.data[pos + 4 : end]), seed))


def partition_files(directory: Path) -> tuple[Control, list[Segment]]:
    """A partition's control file and its segments, oldest first."""
    return Control(directory / "control"), [Segment(path) for path in segment_paths(directory)]


def segment_paths(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if re.fullmatch(r"\d{20}-[0-9a-f]{10}\.segment", path.name))


def spare_paths(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if re.fullmatch(r"spare-[0-9a-f]{10}\.segment", path.name))


def bytes_of(paths: Iterable[Path]) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in paths}
