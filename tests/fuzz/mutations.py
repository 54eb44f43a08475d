"""Ways to damage the files of one partition, each drawn from a seeded generator.

Owns: the kinds of damage, and saying in words what was done.
Must never: touch a file that is not given to it, or draw from another generator.
Sits: over `on_disk` and `specimen`; `child` applies them.

A mutation gets a generator, the specimen and the topic, alters files on disk and returns what it did. `FORGING` are
those that make checksums right again: behind them nothing can tell a forged record from one that was sent.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from on_disk import (
    ABORTED,
    BATCH_BYTES,
    BATCH_FIELDS,
    CLAIMED,
    COMMITTED,
    EMPTY,
    ITEMS,
    ITEMS_FIELDS,
    PAGE,
    READER_BYTES,
    READERS,
    READERS_POS,
    REFERENCE,
    RESERVED,
    ROW_BYTES,
    SEALED,
    UNIT,
    Control,
    File,
    Procs,
    Segment,
    Word,
    empty_word,
    ring_word,
    segment_paths,
    spare_paths,
    unpack_ring_word,
    unpack_word,
)
from specimen import DEAD_OWNER, Specimen, Topic

Mutation = Callable[[random.Random, Specimen, Topic], str]


def _extreme(rng: random.Random, bits: int, near: int = 0) -> int:
    """A number that tends to break comparisons: at a power of two, at either end, or beside `near`."""
    around = rng.choice((0, 1 << bits - 1, 1 << bits, 1 << rng.randrange(bits), near, 2 * near, near // 2))
    return (around + rng.choice((-64, -8, -1, 0, 0, 1, 8, 64))) % (1 << bits)


def _segment(rng: random.Random, topic: Topic) -> Segment | None:
    paths = [*segment_paths(topic.directory), *spare_paths(topic.directory)]
    return Segment(rng.choice(paths)) if paths else None


def _any_file(rng: random.Random, specimen: Specimen, topic: Topic) -> File:
    segments = [*segment_paths(topic.directory), *spare_paths(topic.directory)]
    path = rng.choice([*segments, topic.directory / "control", specimen.procs])
    kind = {"control": Control, "procs": Procs}.get(path.name, Segment)
    return kind(path)


def _hot_pos(rng: random.Random, file: File) -> int:
    """Most bytes of a file are data; half of the time, one of those that steer."""
    if rng.random() < 0.5:
        return rng.randrange(len(file.data))
    spots = [range(136)]
    if isinstance(file, Segment):
        used = [pos for pos, _ in file.used()] or [PAGE]
        spots += [range(used[0], used[-1] + 16)]
        spots += [range(pos, pos + 60) for _, pos, _ in list(file.batches())[:3]]
    elif isinstance(file, Control):
        spots += [range(192, 648), range(READERS_POS, READERS_POS + 128)]
        spots += [range(pos, pos + 16) for pos, _, _ in file.live()]
    elif isinstance(file, Procs):
        spots += [range(PAGE, PAGE + 64)]
    spot = rng.choice(spots)
    return min(rng.choice(spot), len(file.data) - 1)


def random_bytes(rng: random.Random, specimen: Specimen, topic: Topic) -> str:
    file = _any_file(rng, specimen, topic)
    pos, length = _hot_pos(rng, file), rng.choice((1, 2, 4, 8, 8, 64, 512))
    garbage = rng.choice((rng.randbytes(length), b"\0" * length, b"\xff" * length))
    file.data[pos : pos + length] = garbage[: len(file.data) - pos]
    file.store()
    return f"{file.path.name}: {length} bytes at {pos}"


def bit_flips(rng: random.Random, specimen: Specimen, topic: Topic) -> str:
    file, flips = _any_file(rng, specimen, topic), []
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        pos, bit = _hot_pos(rng, file), rng.randrange(8)
        file.data[pos] ^= 1 << bit
        flips.append(f"{pos}.{bit}")
    file.store()
    return f"{file.path.name}: bits {' '.join(flips)}"


def _plausible_word(rng: random.Random, segment: Segment, pos: int) -> int:
    """A journal word with a valid state, whose ends are near those of its neighbours."""
    here = unpack_word(segment.word(pos))
    before = unpack_word(segment.word(pos - 8)) if pos > PAGE else Word(0, 0, 0, 0)
    state = rng.choice((EMPTY, CLAIMED, COMMITTED, ABORTED, SEALED, RESERVED, 0, 7))
    if state == EMPTY:
        return empty_word(rng.choice((segment.get("incarnation"), 0, rng.getrandbits(61))))
    ends = rng.choice((before, here))
    return Word(
        state,
        rng.choice((here.owner, 0, DEAD_OWNER, rng.getrandbits(15))),
        rng.choice((ends.end_pos, here.end_pos, _extreme(rng, 24, ends.end_pos), segment.get("data_units"))),
        rng.choice((ends.end_count, here.end_count, before.end_count, _extreme(rng, 22, ends.end_count))),
    ).pack()


def journal_words(rng: random.Random, specimen: Specimen, topic: Topic) -> str:
    segment = _segment(rng, topic)
    if segment is None:
        return "no segment"
    used = len(segment.used())
    changes = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        index = rng.choice((rng.randrange(used + 2), 0, used - 1, used, segment.get("journal_words") - 1))
        other = rng.randrange(used + 2)
        pos, from_pos = PAGE + 8 * index, PAGE + 8 * other
        word = rng.choice((_plausible_word(rng, segment, pos), segment.word(from_pos), rng.getrandbits(64)))
        segment.set_word(pos, word)
        changes.append(f"[{index}] = {word:#x} {unpack_word(word)}")
    segment.store()
    return f"{segment.path.name}: journal {'; '.join(changes)}"


def ring_words(rng: random.Random, specimen: Specimen, topic: Topic) -> str:
    control = Control(topic.directory / "control")
    live, changes = control.live(), []
    for _ in range(rng.choice((1, 1, 2, 3))):
        if rng.random() < 0.4:
            field = rng.choice(("head_seq", "tail_seq", "next_incarnation", "preparer", "spare", "start_offset"))
            control.set(field, _extreme(rng, 64, rng.choice((control.get(field), control.get("ring_slots")))))
            changes.append(f"{field} = {control.get(field):#x}")
            continue
        places = [each[0] for each in live]
        pos = rng.choice((rng.choice(control.ring()), *places, *(each + 8 for each in places)))
        if pos + 8 > len(control.data):
            pos = control.ring()[0]
        state, lap, incarnation = unpack_ring_word(control.word(pos))
        word = ring_word(
            rng.choice((state, 0, 1, 2, 3)),
            rng.choice((lap, (lap + rng.choice((-1, 1))) % (1 << 24), _extreme(rng, 24, lap))),
            rng.choice((incarnation, 0, 1, 2, 3, _extreme(rng, 38, incarnation))),
        )
        word = rng.choice((word, word, control.word(rng.choice(control.ring()))))
        control.set_word(pos, word)
        changes.append(f"ring at {pos} = {unpack_ring_word(word)}")
    control.store()
    return f"control: {'; '.join(changes)}"


def control_words(rng: random.Random, specimen: Specimen, topic: Topic) -> str:
    """Options out of range, readers that nobody registered, waiters that nobody is."""
    control = Control(topic.directory / "control")
    pos = rng.choice(
        (
            64 + 8 * rng.randrange(12),
            512 + 8 * rng.randrange(32),
            READERS_POS + 8 * rng.randrange(4) + READER_BYTES * rng.choice((0, 1, READERS - 1)),
        )
    )
    word = _extreme(rng, 64, control.word(pos))
    for each in range(READERS) if pos >= READERS_POS and rng.random() < 0.2 else (0,):
        control.set_word(pos if not each else READERS_POS + READER_BYTES * each, word)
    control.store()
    return f"control: word at {pos} = {word:#x}"


def procs_words(rng: random.Random, specimen: Specimen, topic: Topic) -> str:
    procs = Procs(specimen.procs)
    every = rng.random() < 0.3
    words = [_extreme(rng, 64, rng.choice((os.getpid(), 3))) for _ in range(4)]
    for pos in procs.slots() if every else (rng.choice(procs.slots()),):
        for index in rng.sample(range(4), rng.randrange(1, 5)):
            procs.set_word(pos + 8 * index, words[index])
    procs.store()
    return f"procs: {'every slot' if every else 'one slot'} {words}"


def forged_headers(rng: random.Random, specimen: Specimen, topic: Topic) -> str:
    """Header fields at their extremes, with a checksum that is right."""
    file, changes = _any_file(rng, specimen, topic), []
    fields = [name for name in file.fields if name not in ("magic", "header_crc") and file.fields[name][0] < 84]
    for _ in range(rng.choice((1, 1, 2, 3))):
        field = rng.choice(fields)
        bits = 8 * file.fields[field][1]
        near = rng.choice((file.get(field), len(file.data), len(file.data) // UNIT, PAGE, 0))
        file.set(field, _extreme(rng, bits, near))
        changes.append(f"{field} = {file.get(field):#x}")
    file.sign()
    file.store()
    return f"{file.path.name}: {', '.join(changes)}, signed"


def forged_batches(rng: random.Random, specimen: Specimen, topic: Topic) -> str:
    """Lengths and kinds within a batch at their extremes, with a checksum that is right."""
    segment = _segment(rng, topic)
    if segment is None:
        return "no segment"
    batches = list(segment.batches())
    if not batches:
        return "no batch"
    word, pos, first_count = rng.choice(batches)
    if rng.random() < 0.4:
        field = rng.choice(sorted(set(BATCH_FIELDS) - {"crc"}))
        value = _extreme(rng, 8 * BATCH_FIELDS[field][1], segment.batch(pos, field))
        segment.set_batch(pos, field, value)
        change = f"{field} = {value:#x}"
    elif segment.batch(pos, "kind") in (ITEMS, REFERENCE):
        change = _forge_items(rng, segment, pos)
    else:
        row = pos + BATCH_BYTES
        for _ in range(rng.choice((0, 0, 1, 2))):  # a later row
            key, value_bytes, headers = struct.unpack_from("<iiI", segment.data, row)
            row += ROW_BYTES + max(key, 0) + max(value_bytes, 0) + headers
            if row + ROW_BYTES > len(segment.data):
                row = pos + BATCH_BYTES
        at = min(row + rng.choice((0, 4, 8, 12, 16, 24, 28, 32, 36)), len(segment.data) - 4)
        value = _extreme(rng, 32, rng.choice((struct.unpack_from("<I", segment.data, at)[0], 4)))
        struct.pack_into("<I", segment.data, at, value)
        change = f"{at - pos} bytes in = {value:#x}"
    segment.sign_batch(pos, first_count)
    segment.store()
    return f"{segment.path.name}: batch of {word} at {pos}: {change}, signed"


def _forge_items(rng: random.Random, segment: Segment, pos: int) -> str:
    """In their header, or among the lengths of their keys."""
    if rng.random() < 0.7:
        field = rng.choice(sorted(ITEMS_FIELDS))
        near = segment.batch(pos, rng.choice((field, "count", "payload_bytes")))
        value = _extreme(rng, 8 * ITEMS_FIELDS[field][1], near)
        segment.set_batch(pos, field, value)
        return f"{field} = {value:#x}"
    inside = segment.batch(pos, "kind") == ITEMS
    keys = pos + UNIT + inside * segment.batch(pos, "count") * segment.batch(pos, "item_bytes")
    at = min(keys + 4 * rng.randrange(max(1, segment.batch(pos, "count"))), len(segment.data) - 4)
    value = _extreme(rng, 32, segment.batch(pos, "keys_bytes"))
    struct.pack_into("<I", segment.data, at, value)
    return f"a key's length {at - pos} bytes in = {value:#x}"


def cut(rng: random.Random, specimen: Specimen, topic: Topic) -> str:
    """Shorter or longer: at every page, and at sizes that are none."""
    file = _any_file(rng, specimen, topic)
    pages = range(0, len(file.data) + PAGE, PAGE)
    size = rng.choice(
        (rng.choice(pages), rng.randrange(len(file.data) + 1), len(file.data) + rng.choice((-8, -1, 1, PAGE)))
    )
    if rng.random() < 0.05:
        size = rng.choice((1 << 30, 1 << 40, 1 << 43))  # holes: what only pretends to be large
    os.truncate(file.path, size)
    return f"{file.path.name}: {len(file.data)} bytes cut to {size}"


def zeroed_pages(rng: random.Random, specimen: Specimen, topic: Topic) -> str:
    file = _any_file(rng, specimen, topic)
    first = rng.randrange((len(file.data) + PAGE - 1) // PAGE) * PAGE
    count = rng.choice((1, 1, 2, 100))
    end = min(first + count * PAGE, len(file.data))
    file.data[first:end] = bytes(end - first)
    file.store()
    return f"{file.path.name}: zeros from {first} to {end}"


def swapped(rng: random.Random, specimen: Specimen, topic: Topic) -> str:
    """A file, or a page, that belongs elsewhere."""
    file = _any_file(rng, specimen, topic)
    other = rng.choice([each for each in specimen.topics if each is not topic])
    sources = [*segment_paths(topic.directory), *other.files, topic.directory / "control", specimen.procs]
    source = rng.choice(sources)
    data = other.files.get(source) or source.read_bytes()
    if rng.random() < 0.5:
        file.path.write_bytes(data)
        return f"{file.path.name}: replaced by {source.parent.parent.name}/{source.name}"
    pos, from_pos = (rng.randrange(max(1, len(each) // PAGE)) * PAGE for each in (file.data, data))
    page = data[from_pos : from_pos + PAGE]
    file.data[pos : pos + len(page)] = page
    file.store()
    return f"{file.path.name}: page {pos} from {source.parent.parent.name}/{source.name} {from_pos}"


def misplaced(rng: random.Random, specimen: Specimen, topic: Topic) -> str:
    """Gone, or something there that is no file; and names that only look like segments."""
    path = _any_file(rng, specimen, topic).path
    way = rng.choice(("gone", "directory", "fifo", "symlink", "dangling", "empty", "renamed", "extra"))
    if way == "extra":
        name = rng.choice(
            (
                "0-0.segment",
                ".segment",
                "x.segment",
                "9" * 20 + "-" + "f" * 10 + ".segment",
                "0" * 20 + "-00000000ff.segment",
            )
        )
        shutil.copyfile(path, topic.directory / name)
        return f"{name}: a copy of {path.name}"
    keep = path.read_bytes()
    path.unlink()
    aside = path.with_name(f"{path.name}.aside")
    if way == "directory":
        path.mkdir()
    elif way == "fifo":
        os.mkfifo(path)
    elif way == "symlink":
        _beside(specimen, path).write_bytes(keep)
        path.symlink_to(_beside(specimen, path))
    elif way == "dangling":
        path.symlink_to(aside)
    elif way == "empty":
        path.touch()
    elif way == "renamed":
        aside.write_bytes(keep)
    return f"{path.name}: {way}"


def _beside(specimen: Specimen, path: Path) -> Path:
    return specimen.directory.parent / f"target-{path.name}"


KINDS: dict[str, Mutation] = {
    each.__name__: each
    for each in (
        random_bytes,
        bit_flips,
        journal_words,
        ring_words,
        control_words,
        procs_words,
        forged_headers,
        forged_batches,
        cut,
        zeroed_pages,
        swapped,
        misplaced,
    )
}
SMALL = ("random_bytes", "bit_flips", "journal_words", "ring_words", "control_words", "procs_words")
"""What leaves every file in its place and of its length, so that another mutation can follow."""
FORGING = {"forged_headers", "forged_batches"}
