"""Each rule of layout.h, broken once by hand: `verify` finds it and says where. A sound log has none of these findings."""

from __future__ import annotations

import multiprocessing
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from on_disk import (
    ABORTED,
    BATCH_BYTES,
    CLAIMED,
    COMMITTED,
    FREE,
    LIVE,
    MAKING,
    PAGE,
    READER_BYTES,
    READERS_POS,
    READY,
    SEALED,
    UNIT,
    Control,
    File,
    Segment,
    Word,
    empty_word,
    ring_word,
    segment_paths,
    spare_paths,
    spare_word,
    unpack_ring_word,
    unpack_word,
)
from specimen import DEAD_OWNER, SEGMENT_BYTES, Specimen, Topic, make_small_ring

from shmq import Admin, Producer, _native
from shmq.errors import CorruptSegmentError, ShmqError, StorageError, UnsupportedVersionError

DEADLINE_S = 60


@pytest.fixture(scope="module")
def specimen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Specimen]:
    specimen = Specimen(tmp_path_factory.mktemp("verify") / "broker")
    yield specimen
    specimen.close()


def topic_of(specimen: Specimen, name: str) -> Topic:
    (topic,) = (each for each in specimen.topics if each.name == name)
    return topic


def verify(specimen: Specimen, topic: Topic) -> Any:
    """What verify() returns, or the error with which the partition cannot even be opened."""
    process = _native.Process(str(specimen.directory), specimen.instance)
    try:
        return _native.Partition(process, str(topic.directory), topic.name, 0, topic.topic_id).verify()
    except ShmqError as error:
        return error
    finally:
        process.close()


def expect(specimen: Specimen, topic: Topic, file: File, said: str, pos: int | None) -> None:
    """Store what was planted; verify() must name the file, say what is wrong, and where."""
    file.store()

    found = verify(specimen, topic)

    if isinstance(found, CorruptSegmentError):
        found = (found.path, found.what, found.pos)
    assert isinstance(found, tuple), f"nothing was found, or only {found!r}"
    path, what, found_pos = found
    assert said in what, what
    assert Path(path) in (file.path, file.path.parent)
    if pos is not None:
        assert found_pos == pos, what


@pytest.fixture
def restored(specimen: Specimen) -> Iterator[Specimen]:
    """The specimen, as it was made."""
    for topic in specimen.topics:
        specimen.restore(topic)
    yield specimen
    for topic in specimen.topics:
        specimen.restore(topic)


@pytest.mark.parametrize("name", ["plain", "rows", "lapped", "queue", "bare", "fresh"])
def test_a_sound_partition_has_no_finding(restored: Specimen, name: str) -> None:
    assert verify(restored, topic_of(restored, name)) is None


# -- the journal -------------------------------------------------------------------------------------------------------

JOURNAL_FORMAT = "a journal word breaks the format"
Plant = Callable[[Segment], tuple[str, "int | None"]]


def change_word(segment: Segment, index: int, **fields: int) -> int:
    """Change fields of a journal word; its position."""
    pos = PAGE + 8 * index
    segment.set_word(pos, replace(unpack_word(segment.word(pos)), **fields).pack())
    return pos


def last_used(segment: Segment) -> int:
    return len(segment.used()) - 1


def _state(state: int) -> Plant:
    return lambda segment: (JOURNAL_FORMAT, change_word(segment, 9, state=state))


def _empty_in_the_middle(segment: Segment) -> tuple[str, int]:
    segment.set_word(PAGE + 8 * 9, empty_word(segment.get("incarnation")))
    return "is not EMPTY", PAGE + 8 * 10


def _empty_of_another_incarnation_at_the_end(segment: Segment) -> tuple[str, int]:
    pos = PAGE + 8 * (last_used(segment) + 1)
    segment.set_word(pos, empty_word(segment.get("incarnation") + 1))
    return JOURNAL_FORMAT, pos


def _empty_of_another_incarnation_further_on(segment: Segment) -> tuple[str, int]:
    pos = PAGE + 8 * (last_used(segment) + 7)
    segment.set_word(pos, empty_word(segment.get("incarnation") + 1))
    return "is not EMPTY", pos


def _position_that_does_not_rise(segment: Segment) -> tuple[str, int]:
    return JOURNAL_FORMAT, change_word(segment, 9, end_pos=segment.used()[8][1].end_pos)


def _count_that_does_not_rise(segment: Segment) -> tuple[str, int]:
    return JOURNAL_FORMAT, change_word(segment, 9, end_count=segment.used()[8][1].end_count)


def _position_beyond_the_data(segment: Segment) -> tuple[str, int]:
    return JOURNAL_FORMAT, change_word(segment, last_used(segment), end_pos=segment.get("data_units") + 1)


def _sealed_before_other_words(segment: Segment) -> tuple[str, int]:
    before = segment.used()[8][1]
    change_word(segment, 9, state=SEALED, owner=0, end_pos=before.end_pos, end_count=before.end_count)
    return "is not EMPTY", PAGE + 8 * 10


def _sealed_with_ends_of_its_own(segment: Segment) -> tuple[str, int]:
    last = segment.used()[-1][1]
    pos = PAGE + 8 * (last_used(segment) + 1)
    segment.set_word(pos, Word(SEALED, 0, last.end_pos, last.end_count + 1).pack())
    return JOURNAL_FORMAT, pos


JOURNAL_RULES: dict[str, Plant] = {
    "every word has one of the five states: not 0": _state(0),
    "every word has one of the five states: not 6": _state(6),
    "every word has one of the five states: not 7": _state(7),
    "EMPTY words are a suffix": _empty_in_the_middle,
    "EMPTY words carry the file's incarnation": _empty_of_another_incarnation_at_the_end,
    "all EMPTY words carry the file's incarnation": _empty_of_another_incarnation_further_on,
    "end_pos rises strictly": _position_that_does_not_rise,
    "end_count rises strictly": _count_that_does_not_rise,
    "end_pos is at most U": _position_beyond_the_data,
    "SEALED is the last word before the EMPTY ones": _sealed_before_other_words,
    "SEALED has the ends of the word before it": _sealed_with_ends_of_its_own,
}


@pytest.mark.parametrize("rule", JOURNAL_RULES)
def test_verify_finds_a_journal_that_breaks(restored: Specimen, rule: str) -> None:
    topic = topic_of(restored, "plain")
    segment = Segment(segment_paths(topic.directory)[-1])

    said, pos = JOURNAL_RULES[rule](segment)

    expect(restored, topic, segment, said, pos)


def test_verify_finds_a_claim_in_the_very_last_word(restored: Specimen) -> None:
    topic = topic_of(restored, "plain")
    segment = Segment(segment_paths(topic.directory)[-1])
    words = segment.get("journal_words")
    for index in range(words):
        segment.set_word(PAGE + 8 * index, Word(ABORTED, 0, index + 1, index + 1).pack())
    segment.set("data_units", words)
    segment.data += bytes(UNIT)
    segment.sign()

    expect(restored, topic, segment, JOURNAL_FORMAT, PAGE + 8 * (words - 1))


def test_verify_finds_a_word_behind_sealed(restored: Specimen) -> None:
    topic = topic_of(restored, "plain")
    segment = Segment(segment_paths(topic.directory)[0])
    last = segment.used()[-1][1]
    assert last.state == SEALED
    pos = PAGE + 8 * (last_used(segment) + 1)
    segment.set_word(pos, Word(COMMITTED, 0, last.end_pos + 1, last.end_count + 1).pack())

    expect(restored, topic, segment, "is not EMPTY", pos)


def test_verify_finds_an_older_segment_that_is_not_sealed(restored: Specimen) -> None:
    topic = topic_of(restored, "plain")
    segment = Segment(segment_paths(topic.directory)[0])
    segment.set_word(PAGE + 8 * last_used(segment), empty_word(segment.get("incarnation")))

    expect(restored, topic, segment, "before this one was sealed", None)


# -- batches -----------------------------------------------------------------------------------------------------------


def _payload_that_passes_its_units(segment: Segment, pos: int, word: Word) -> str:
    segment.set_batch(pos, "payload_bytes", segment.batch(pos, "payload_bytes") + UNIT)
    return "payload_bytes does not fit"


def _payload_that_would_fit_one_unit_less(segment: Segment, pos: int, word: Word) -> str:
    segment.set_batch(pos, "payload_bytes", segment.batch(pos, "payload_bytes") - UNIT)
    return "payload_bytes does not fit"


def _payload_of_four_gigabytes(segment: Segment, pos: int, word: Word) -> str:
    segment.set_batch(pos, "payload_bytes", 0xFFFFFFFF)
    return "payload_bytes does not fit"


def _count_of_another_word(segment: Segment, pos: int, word: Word) -> str:
    segment.set_batch(pos, "count", segment.batch(pos, "count") + 1)
    return "count is not the one of its journal word"


def _unknown_kind(segment: Segment, pos: int, word: Word) -> str:
    segment.set_batch(pos, "kind", 9)
    return "unknown kind"


def _value_kind_for_many_records(segment: Segment, pos: int, word: Word) -> str:
    segment.set_batch(pos, "kind", 1)
    return "unknown kind"


def _row_that_passes_the_end(segment: Segment, pos: int, word: Word) -> str:
    struct.pack_into("<i", segment.data, pos + BATCH_BYTES + 4, 0x7FFFFFFF)
    return "a row passes the end"


def _row_of_negative_length(segment: Segment, pos: int, word: Word) -> str:
    struct.pack_into("<i", segment.data, pos + BATCH_BYTES + 4, -2)
    return "passes the end"


def _rows_that_do_not_fill_the_payload(segment: Segment, pos: int, word: Word) -> str:
    last = pos + BATCH_BYTES
    for _ in range(segment.batch(pos, "count") - 1):
        key, value, headers = struct.unpack_from("<iiI", segment.data, last)
        last += 24 + max(key, 0) + max(value, 0) + headers
    value = struct.unpack_from("<i", segment.data, last + 4)[0]
    struct.pack_into("<i", segment.data, last + 4, value - 1)
    return "do not fill the batch"


BATCH_RULES: dict[str, Callable[[Segment, int, Word], str]] = {
    "the payload fits its units": _payload_that_passes_its_units,
    "the payload would not fit one unit less": _payload_that_would_fit_one_unit_less,
    "the payload is no larger than the file": _payload_of_four_gigabytes,
    "count is the difference of the end_counts": _count_of_another_word,
    "the kind is known": _unknown_kind,
    "a batch of kind value has one record": _value_kind_for_many_records,
    "no row passes the end": _row_that_passes_the_end,
    "lengths are at least -1": _row_of_negative_length,
    "the rows fill the payload exactly": _rows_that_do_not_fill_the_payload,
}


def batch_of_many(segment: Segment) -> tuple[Word, int, int]:
    """A committed batch of several rows, of more than two units."""
    return next(
        (word, pos, first)
        for word, pos, first in segment.batches()
        if word.state == COMMITTED and word.end_count - first > 3 and segment.batch(pos, "payload_bytes") > 3 * UNIT
    )


@pytest.mark.parametrize("signed", [True, False], ids=["whatever the CRC says", "and the CRC"])
@pytest.mark.parametrize("rule", BATCH_RULES)
def test_verify_finds_a_batch_that_breaks(restored: Specimen, rule: str, signed: bool) -> None:
    topic = topic_of(restored, "rows")
    segment = Segment(segment_paths(topic.directory)[0])
    word, pos, first_count = batch_of_many(segment)

    said = BATCH_RULES[rule](segment, pos, word)
    if signed:
        segment.sign_batch(pos, first_count)

    expect(restored, topic, segment, said if signed else "", pos)


@pytest.mark.parametrize("place", [0, 4, 8, 16, 21, 22, 24, 60, "last"])
def test_verify_finds_one_flipped_bit_of_a_batch_by_its_crc(restored: Specimen, place: Any) -> None:
    topic = topic_of(restored, "plain")
    segment = Segment(segment_paths(topic.directory)[1])
    pos = next(pos for _, pos, _ in segment.batches() if segment.batch(pos, "payload_bytes") > 100)
    at = BATCH_BYTES + segment.batch(pos, "payload_bytes") - 1 if place == "last" else place
    segment.data[pos + at] ^= 1

    expect(restored, topic, segment, "", pos)


def test_verify_finds_a_batch_that_is_sound_but_belongs_elsewhere(restored: Specimen) -> None:
    """As after a write that the disk put into a wrong place."""
    topic = topic_of(restored, "plain")
    segment = Segment(segment_paths(topic.directory)[1])
    by_length: dict[int, int] = {}
    for word, pos, first_count in segment.batches():
        length = segment.batch(pos, "payload_bytes")
        if length in by_length and word.end_count == first_count + 1:
            break
        by_length[length] = pos
    segment.data[pos : pos + BATCH_BYTES + length] = segment.data[
        by_length[length] : by_length[length] + BATCH_BYTES + length
    ]

    expect(restored, topic, segment, "CRC32C", pos)


@pytest.mark.parametrize("state", [ABORTED, CLAIMED])
def test_what_lies_in_a_batch_that_is_not_committed_is_never_looked_at(restored: Specimen, state: int) -> None:
    topic = topic_of(restored, "rows")
    segment = Segment(segment_paths(topic.directory)[-1])
    _, pos, _ = next(each for each in segment.batches() if each[0].state == state)
    segment.data[pos : pos + BATCH_BYTES] = b"\xff" * BATCH_BYTES
    segment.store()

    assert verify(restored, topic) is None


# -- segment headers ---------------------------------------------------------------------------------------------------

ANOTHER_PLACE = "names another place"
SEGMENT_HEADER_RULES: dict[str, tuple[str, Callable[[Segment], int], str]] = {
    "it names its partition": ("partition", lambda segment: 1, ANOTHER_PLACE),
    "it names its topic": ("topic_id", lambda segment: segment.get("topic_id") ^ 1, ANOTHER_PLACE),
    "it names its incarnation": ("incarnation", lambda segment: segment.get("incarnation") + 1, ANOTHER_PLACE),
    "it names its seq": ("seq", lambda segment: segment.get("seq") + 1, ANOTHER_PLACE),
    "the journal has two words or more": ("journal_words", lambda segment: 1, "do not fit"),
    "the journal ends before the data": ("journal_words", lambda segment: 1 << 20, "do not fit"),
    "there is data": ("data_units", lambda segment: 0, "do not fit"),
    "the data ends with the file": ("data_units", lambda segment: segment.get("data_units") - 1, "do not fit"),
    "the data is in the file": ("data_units", lambda segment: segment.get("data_units") + 1, "do not fit"),
    "positions of units have 24 bits": ("data_units", lambda segment: 1 << 24, "do not fit"),
    "the data begins on the page behind the journal": (
        "data_pos",
        lambda segment: segment.get("data_pos") + PAGE,
        "do not fit",
    ),
    "the data does not begin in the journal": ("data_pos", lambda segment: PAGE, "do not fit"),
    "offsets have 63 bits": ("base_offset", lambda segment: (1 << 63) - 1, "beyond the last possible offset"),
    "base_offset follows the segment before": (
        "base_offset",
        lambda segment: segment.get("base_offset") + 1,
        "does not follow",
    ),
}


@pytest.mark.parametrize("rule", SEGMENT_HEADER_RULES)
def test_verify_finds_a_segment_header_that_breaks(restored: Specimen, rule: str) -> None:
    topic = topic_of(restored, "plain")
    segment = Segment(segment_paths(topic.directory)[1])
    field, value, said = SEGMENT_HEADER_RULES[rule]

    segment.set(field, value(segment))
    segment.sign()

    expect(restored, topic, segment, said, None)


@pytest.mark.parametrize("field", ["magic", "partition", "flags", "base_offset", "created_ms", "header_crc"])
def test_verify_finds_a_segment_header_whose_checksum_is_wrong(restored: Specimen, field: str) -> None:
    topic = topic_of(restored, "plain")
    segment = Segment(segment_paths(topic.directory)[0])
    segment.set(field, segment.get(field) ^ 4)

    expect(restored, topic, segment, "", 0)


@pytest.mark.parametrize(("field", "value"), [("version", _native.LAYOUT_VERSION + 1), ("version", 0), ("incompat", 1)])
@pytest.mark.parametrize("name", ["segment", "control"])
def test_verify_refuses_another_version_and_names_both(restored: Specimen, name: str, field: str, value: int) -> None:
    topic = topic_of(restored, "plain")
    path = topic.directory / "control"
    file: File = Control(path) if name == "control" else Segment(segment_paths(topic.directory)[0])
    file.set(field, value)
    file.sign()
    file.store()

    error = verify(restored, topic)

    assert isinstance(error, UnsupportedVersionError)
    assert str(file.path) in str(error)
    assert str(_native.LAYOUT_VERSION) in str(error)


def test_verify_finds_a_largest_timestamp_that_is_not_that_of_the_records(restored: Specimen) -> None:
    topic = topic_of(restored, "plain")
    segment = Segment(segment_paths(topic.directory)[0])
    segment.set("max_timestamp", 12345)

    expect(restored, topic, segment, "max_timestamp", 128)


# -- the control file --------------------------------------------------------------------------------------------------

NOT_ONE_RUN = "not one unbroken run"


def _live_words(control: Control) -> list[tuple[int, int, int]]:
    """(position, lap, incarnation)"""
    return [(pos, unpack_ring_word(control.word(pos))[1], incarnation) for pos, _, incarnation in control.live()]


def _gap(control: Control) -> None:
    pos, lap, _ = _live_words(control)[1]
    control.set_word(pos, ring_word(FREE, lap + 1, 0))


def _second_run(control: Control) -> None:
    pos, lap, incarnation = _live_words(control)[-1]
    control.set_word(pos + 16, ring_word(LIVE, lap, incarnation + 1))


def _live_of_a_later_lap(control: Control) -> None:
    pos, lap, incarnation = _live_words(control)[0]
    control.set_word(pos, ring_word(LIVE, lap + 1, incarnation))


def _live_of_an_earlier_lap(control: Control) -> None:
    pos, lap, incarnation = _live_words(control)[-1]
    control.set_word(pos, ring_word(LIVE, (lap - 1) % (1 << 24), incarnation))


def _free_in_a_wrong_lap(control: Control) -> None:
    pos, lap, _ = _live_words(control)[-1]
    control.set_word(pos + 24, ring_word(FREE, lap + 1, 0))


def _free_with_a_file(control: Control) -> None:
    pos, lap, _ = _live_words(control)[-1]
    control.set_word(pos + 8, ring_word(FREE, lap, 77))


def _no_state(control: Control) -> None:
    control.set_word(_live_words(control)[-1][0] + 800, 0)


def _head_beyond(control: Control) -> None:
    control.set("head_seq", control.get("head_seq") + 3)


def _tail_beyond(control: Control) -> None:
    control.set("tail_seq", control.get("tail_seq") + 1)


def _all_retired(control: Control) -> None:
    for pos, lap, _ in _live_words(control):
        control.set_word(pos, ring_word(FREE, lap + 1, 0))


RING_RULES: dict[str, Callable[[Control], None]] = {
    "LIVE segments have no gap": _gap,
    "LIVE segments are one run": _second_run,
    "LIVE words are of one lap: not of a later one": _live_of_a_later_lap,
    "LIVE words are of one lap: not of an earlier one": _live_of_an_earlier_lap,
    "FREE words are of the lap to come": _free_in_a_wrong_lap,
    "FREE words name no file": _free_with_a_file,
    "words are FREE or LIVE": _no_state,
    "head_seq is not beyond the newest": _head_beyond,
    "tail_seq is not beyond the oldest": _tail_beyond,
    "the newest is never retired": _all_retired,
}


@pytest.mark.parametrize("rule", RING_RULES)
def test_verify_finds_a_ring_that_breaks(restored: Specimen, rule: str) -> None:
    topic = topic_of(restored, "plain")
    control = Control(topic.directory / "control")

    RING_RULES[rule](control)

    expect(restored, topic, control, NOT_ONE_RUN, None)


def _entry(index: int) -> int:
    return READERS_POS + index * READER_BYTES


ENTRY_RULES: dict[str, list[tuple[int, int]]] = {
    "a reader's slot is one of the procs file": [(_entry(0), 5 << 10 | 600)],
    "a reader's slot is one of the procs file while it joins": [(_entry(255), 1 << 63 | 5 << 10 | 1023)],
    "a group is never joining": [(_entry(7), 1 << 63 | 3)],
    "the first reserved word is 0": [(_entry(3) + 48, 1)],
    "the second reserved word is 0": [(_entry(200) + 56, 1 << 63)],
}


@pytest.mark.parametrize("rule", ENTRY_RULES)
def test_verify_finds_an_entry_of_the_readers_that_breaks(restored: Specimen, rule: str) -> None:
    restored.procs.unlink()
    _native.create_procs(str(restored.procs), restored.instance, 600)
    topic = topic_of(restored, "queue")
    control = Control(topic.directory / "control")
    for pos, word in ENTRY_RULES[rule]:
        control.set_word(pos, word)

    pos = ENTRY_RULES[rule][0][0] // READER_BYTES * READER_BYTES
    expect(restored, topic, control, "an entry of a reader or a group breaks the format", pos)


def test_entries_of_groups_and_of_dead_readers_are_sound_whatever_their_other_words(restored: Specimen) -> None:
    topic = topic_of(restored, "queue")
    control = Control(topic.directory / "control")
    for index, owner in enumerate((1, 0xFFF << 51 | 1023, 1 << 51, 1 << 63 | 9 << 51 | 9 << 10, 9 << 10 | 1023, 0)):
        control.set_word(_entry(index), owner)
        for word in range(1, 6):
            control.set_word(_entry(index) + 8 * word, (1 << 64) - 1 - word)
    control.store()

    assert verify(restored, topic) is None


def test_verify_finds_a_live_word_in_a_log_that_never_had_a_segment(restored: Specimen) -> None:
    topic = topic_of(restored, "fresh")
    control = Control(topic.directory / "control")
    control.set_word(control.ring()[5], ring_word(LIVE, 0, 1))

    expect(restored, topic, control, NOT_ONE_RUN, control.ring()[5])


def test_verify_finds_a_start_offset_beyond_the_end(restored: Specimen) -> None:
    for name in ("plain", "fresh"):
        control = Control(topic_of(restored, name).directory / "control")
        control.set("start_offset", 1 << 40)

        expect(restored, topic_of(restored, name), control, "start_offset is beyond the end of the log", 136)


# -- the spare ---------------------------------------------------------------------------------------------------------


def _spare_of(topic: Topic) -> Segment:
    [path] = spare_paths(topic.directory)
    return Segment(path)


def _spare_missing(topic: Topic) -> tuple[File, str, int]:
    spare_paths(topic.directory)[0].unlink()
    return Control(topic.directory / "control"), "the spare segment is missing", 448


def _spare_word_without_a_state(topic: Topic) -> tuple[File, str, int]:
    control = Control(topic.directory / "control")
    control.set("spare", control.get("spare") | 3)
    return control, "the spare's word breaks the format", 448


def _spare_of_another_size(topic: Topic) -> tuple[File, str, int]:
    control, spare = Control(topic.directory / "control"), _spare_of(topic)
    control.set("spare", spare_word(READY, spare.get("incarnation"), spare.get("data_units") - 1, True))
    control.store()
    return spare, "not what the control file says", 68


def _spare_without_the_crc_flag(topic: Topic) -> tuple[File, str, int]:
    control, spare = Control(topic.directory / "control"), _spare_of(topic)
    control.set("spare", spare_word(READY, spare.get("incarnation"), spare.get("data_units"), False))
    control.store()
    return spare, "not what the control file says", 68


def _spare_with_a_claim(topic: Topic) -> tuple[File, str, int]:
    spare = _spare_of(topic)
    spare.set_word(PAGE + 8 * 7, Word(CLAIMED, 0, 1, 1).pack())
    return spare, "a word of a spare is not EMPTY", PAGE + 8 * 7


def _spare_with_a_timestamp(topic: Topic) -> tuple[File, str, int]:
    spare = _spare_of(topic)
    spare.set("max_timestamp", 5)
    return spare, "a spare has no records", 128


def _spare_with(field: str, value: int, said: str, pos: int) -> Callable[[Topic], tuple[File, str, int]]:
    def plant(topic: Topic) -> tuple[File, str, int]:
        spare = _spare_of(topic)
        spare.set(field, value)
        spare.sign()
        return spare, said, pos

    return plant


SPARE_RULES: dict[str, Callable[[Topic], tuple[File, str, int]]] = {
    "missing": _spare_missing,
    "no state": _spare_word_without_a_state,
    "another size": _spare_of_another_size,
    "no crc flag": _spare_without_the_crc_flag,
    "a claim": _spare_with_a_claim,
    "a timestamp": _spare_with_a_timestamp,
    "a base offset": _spare_with("base_offset", 5, "a spare has no base_offset yet", 48),
    "a seq": _spare_with("seq", 5, "the header names another place", 0),
    "another incarnation": _spare_with("incarnation", 77, "the header names another place", 0),
}


@pytest.mark.parametrize("rule", SPARE_RULES)
def test_verify_finds_a_spare_that_breaks(restored: Specimen, rule: str) -> None:
    topic = topic_of(restored, "queue")
    file, said, pos = SPARE_RULES[rule](topic)

    expect(restored, topic, file, said, pos)


def test_whoever_rolls_does_without_a_spare_that_is_larger_than_its_word_says(restored: Specimen) -> None:
    topic = topic_of(restored, "queue")
    spare = _spare_of(topic)
    spare.set("data_units", spare.get("data_units") + UNIT)
    spare.data += bytes(UNIT * UNIT)
    spare.sign()
    spare.store()
    live = segment_paths(topic.directory)

    with Producer(bootstrap_servers=restored.address, max_block_ms=0) as producer:
        while len(segment_paths(topic.directory)) == len(live):
            producer.send(topic.name, bytes(9000))

    assert spare_paths(topic.directory) == []
    assert {path.stat().st_size for path in segment_paths(topic.directory)} == {live[0].stat().st_size}
    assert verify(restored, topic) is None


def test_a_spare_that_a_dead_process_was_making_is_no_finding_and_is_cleaned_away(restored: Specimen) -> None:
    topic = topic_of(restored, "queue")
    control = Control(topic.directory / "control")
    control.set("spare", MAKING | DEAD_OWNER << 3 | _spare_of(topic).get("incarnation") << 26)
    control.store()

    assert verify(restored, topic) is None
    process = _native.Process(str(restored.directory), restored.instance)
    removed = _native.Partition(process, str(topic.directory), topic.name, 0, topic.topic_id).clean()
    process.close()
    assert removed == 1
    assert spare_paths(topic.directory) == []
    assert Control(control.path).get("spare") == 0


def test_verify_finds_that_the_ring_names_a_file_that_is_not_there(restored: Specimen) -> None:
    topic = topic_of(restored, "plain")
    path = segment_paths(topic.directory)[1]
    path.unlink()

    error = verify(restored, topic)

    assert isinstance(error, StorageError)
    assert str(path) in str(error)


CONTROL_HEADER_RULES = {
    "it names its partition": ("partition", 1, "belongs to partition 1"),
    "it names its topic": ("topic_id", 5, "topic id 0000000000000005"),
    "a ring has 4 slots or more": ("ring_slots", 3, "no ring of 3 slots"),
    "a ring has 65536 slots or fewer": ("ring_slots", 65537, "no ring of 65537 slots"),
    "the ring is in the file": ("ring_slots", 2048, "no ring of 2048 slots"),
}


@pytest.mark.parametrize("rule", CONTROL_HEADER_RULES)
def test_opening_finds_a_control_header_that_breaks(restored: Specimen, rule: str) -> None:
    topic = topic_of(restored, "plain")
    control = Control(topic.directory / "control")
    field, value, said = CONTROL_HEADER_RULES[rule]

    control.set(field, value)
    control.sign()

    expect(restored, topic, control, said, None)


@pytest.mark.parametrize("field", ["magic", "partition", "ring_slots", "topic_id", "header_crc"])
def test_opening_finds_a_control_header_whose_checksum_is_wrong(restored: Specimen, field: str) -> None:
    topic = topic_of(restored, "plain")
    control = Control(topic.directory / "control")
    control.set(field, control.get(field) ^ 4)

    expect(restored, topic, control, "", 0)


# -- what verify and clean must not do -----------------------------------------------------------------------------------


def test_clean_removes_nothing_when_the_ring_is_damaged(restored: Specimen) -> None:
    """A damaged word may make the log's own files look like leftovers."""
    topic = topic_of(restored, "plain")
    process = _native.Process(str(restored.directory), restored.instance)
    before = segment_paths(topic.directory)
    for damage in RING_RULES.values():
        restored.restore(topic)
        control = Control(topic.directory / "control")
        damage(control)
        control.store()
        partition = _native.Partition(process, str(topic.directory), topic.name, 0, topic.topic_id)

        with pytest.raises(CorruptSegmentError):
            partition.clean()

        assert segment_paths(topic.directory) == before
    process.close()


def test_clean_keeps_the_file_of_a_live_word_whose_incarnation_was_damaged(restored: Specimen) -> None:
    topic = topic_of(restored, "plain")
    control = Control(topic.directory / "control")
    before = segment_paths(topic.directory)
    pos, lap, incarnation = _live_words(control)[0]
    control.set_word(pos, ring_word(LIVE, lap, incarnation ^ 64))
    control.store()
    process = _native.Process(str(restored.directory), restored.instance)

    removed = _native.Partition(process, str(topic.directory), topic.name, 0, topic.topic_id).clean()

    assert (removed, segment_paths(topic.directory)) == (0, before)
    process.close()


def test_clean_removes_what_can_never_be_the_log(restored: Specimen) -> None:
    topic = topic_of(restored, "lapped")
    live = segment_paths(topic.directory)
    seq = int(live[0].name[:20])
    dead = (f"{seq - 1:020}-00000000aa", f"{seq:020}-00000000bb", f"{0:020}-0000000001", "spare-00000000dd")
    for name in dead:
        (topic.directory / f"{name}.segment").write_bytes(b"left by a death")
    (topic.directory / f"{seq + 2:020}-00000000cc.segment").write_bytes(b"being prepared")
    process = _native.Process(str(restored.directory), restored.instance)

    removed = _native.Partition(process, str(topic.directory), topic.name, 0, topic.topic_id).clean()

    assert removed == 4
    assert segment_paths(topic.directory)[:2] == live
    assert spare_paths(topic.directory) == []
    process.close()


def _append_for_ever(address: str) -> None:
    with Producer(bootstrap_servers=address) as producer:
        while True:
            producer.send("t", bytes(9000))


def test_verify_finds_nothing_in_a_log_that_others_roll_and_retire_meanwhile(broker: Any) -> None:
    broker.create(segment_bytes=SEGMENT_BYTES, retention_bytes=2 * SEGMENT_BYTES)
    directory = broker.directory / "topics" / "t" / "0"
    topic_id = Control(directory / "control").get("topic_id")
    make_small_ring(directory / "control", topic_id, 4, 2 * SEGMENT_BYTES)
    broker.has_deaths = True
    producers = [
        multiprocessing.get_context("fork").Process(target=_append_for_ever, args=(broker.address,)) for _ in "ab"
    ]
    for producer in producers:
        producer.start()
    try:
        with Admin(bootstrap_servers=broker.address) as admin:
            process = _native.Process(str(broker.directory), admin.broker.instance)
            partition = _native.Partition(process, str(directory), "t", 0, topic_id)
            deadline = DEADLINE_S * 1000
            while partition.offsets()[1] < 2000 and deadline:
                deadline -= 1
                assert partition.verify() is None
                assert partition.clean() >= 0
                partition.prepare_spare()
                partition.apply_retention()
                begin, end = partition.offsets()
                assert partition.delete_records((begin + end) // 2) >= (begin + end) // 2
            assert deadline
            process.close()
            del partition
    finally:
        for producer in producers:
            producer.kill()
            producer.join()
