"""A file that is cut short from outside while it is mapped: StorageError, and the process lives.

Every test runs in a child, so that a process that dies of SIGBUS is a failure and not the end of the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from on_disk import CLAIMED, PAGE, Procs, Segment, Word, segment_paths

from shmq import TopicPartition, _native
from shmq.errors import CorruptSegmentError, ShmqError, StorageError

PLACE = TopicPartition("t", 0)
VALUES = [b"%05d" % number + b"x" * 200 for number in range(100)]


def told(step: Callable[[], Any]) -> Any:
    """What a step returned, or the error's name."""
    try:
        return step()
    except ShmqError as error:
        return type(error).__name__


def partition_directory(broker: Any) -> Path:
    return Path(broker.directory) / "topics" / "t" / "0"


def only_segment(broker: Any) -> Path:
    (path,) = segment_paths(partition_directory(broker))
    return path


@pytest.fixture
def log(broker: Any) -> Iterator[Any]:
    """A broker with a topic of one segment. Its claims are not given up for their age: no test here takes so long."""
    broker.create(segment_bytes=65536, retention_bytes=131072, claim_timeout_ms=600_000)
    with broker.producer() as producer:
        producer.send_many("t", VALUES[:1])
        for value in VALUES[1:]:
            producer.send("t", value)
    procs = broker.directory / "procs"
    sound = procs.read_bytes()
    yield broker
    procs.write_bytes(sound)
    for bell in broker.doorbells():  # of slots that the table, as it is again, was never asked for
        os.unlink(f"/dev/shm/{bell}")


@pytest.mark.parametrize("pages", [0, 1, 2])
def test_poll_raises_storage_error_where_the_segment_was_cut(log: Any, pages: int) -> None:
    def poll_and_cut() -> tuple[list[bytes], Any, Any]:
        consumer = log.consumer("t")
        before = [record.value for record in consumer.poll(max_records=5)[PLACE]]
        os.truncate(only_segment(log), pages * PAGE)
        errors = [told(lambda: consumer.poll(timeout_ms=20)) for _ in range(3)]
        consumer.close()
        return before, errors, told(lambda: consumer.poll())

    before, errors, after_close = log.fork(poll_and_cut).result()

    assert before == VALUES[:5]
    assert errors == ["StorageError"] * 3
    assert after_close == "ClosedError"


def test_records_before_the_cut_are_still_read(log: Any) -> None:
    path = only_segment(log)
    batches = [(word.end_count, pos) for word, pos, _ in Segment(path).batches()]
    cut = (batches[len(batches) // 2][1] + PAGE - 1) // PAGE * PAGE
    whole = [first for first, (_, pos) in enumerate(batches[1:]) if pos <= cut]

    def read_up_to_the_cut() -> tuple[list[bytes], str]:
        consumer = log.consumer("t", max_poll_records=1)
        os.truncate(path, cut)
        values: list[bytes] = []
        while isinstance(records := told(lambda: consumer.poll(timeout_ms=20)), dict):
            values += [record.value for record in records[PLACE]]
        return values, records

    values, error = log.fork(read_up_to_the_cut).result()

    assert values == VALUES[: len(whole)]
    assert error == "StorageError"


@pytest.mark.parametrize("size", [1, PAGE + 9, 6000, 12288 + 100])
def test_a_cut_at_an_odd_size_is_an_error_as_well(log: Any, size: int) -> None:
    def poll_and_cut() -> list[Any]:
        consumer = log.consumer("t")
        os.truncate(only_segment(log), size)
        return [told(lambda: consumer.poll(timeout_ms=0)) for _ in range(3)]

    errors = log.fork(poll_and_cut).result()

    assert set(errors) <= {"StorageError", "CorruptSegmentError"}


@pytest.mark.parametrize("pages", [0, 1, 2])
def test_send_raises_storage_error_where_the_segment_was_cut(log: Any, pages: int) -> None:
    def send_and_cut() -> list[Any]:
        producer = log.producer()
        producer.send("t", b"before")
        os.truncate(only_segment(log), pages * PAGE)
        done = [
            told(lambda: producer.send("t", b"after")),
            told(lambda: producer.send("t", b"x" * 20_000)),
            told(lambda: producer.send_many("t", [b"after"] * 10)),
        ]
        producer.close()
        return done

    assert log.fork(send_and_cut).result() == ["StorageError"] * 3


def test_a_send_that_met_the_cut_holds_up_no_reader(log: Any, wait_until: Callable[..., Any]) -> None:
    """The claim of a batch that could not be copied is given up at once, not after claim_timeout_ms."""
    path = only_segment(log)
    size = path.stat().st_size

    def send_cut_and_read_on() -> list[bytes]:
        producer = log.producer()
        producer.send("t", b"before")
        data = path.read_bytes()
        os.truncate(path, 3 * PAGE)
        assert told(lambda: producer.send("t", b"lost")) == "StorageError"
        words = path.read_bytes()
        with open(path, "r+b") as file:  # the disk is well again
            file.write(words[: 3 * PAGE] + data[3 * PAGE :])
        assert path.stat().st_size == size
        producer.send("t", b"after")
        return [record.value for record in log.read()]

    assert log.fork(send_cut_and_read_on).result() == [*VALUES, b"before", b"after"]


@pytest.mark.parametrize("pages", [0, 1, 4])
def test_every_use_of_a_control_file_that_was_cut_is_a_storage_error(log: Any, pages: int) -> None:
    def use_after_cut() -> dict[str, Any]:
        producer, consumer = log.producer(), log.consumer("t")
        producer.send("t", b"before")
        (partition,) = _opened(log)
        os.truncate(partition_directory(log) / "control", pages * PAGE)
        done = {
            "verify": told(partition.verify),
            "census": told(partition.census),
            "offsets": told(partition.offsets),
            "stats": told(partition.stats),
            "clean": told(partition.clean),
            "end_offsets": told(lambda: consumer.end_offsets([PLACE])),
            "highwater": told(lambda: consumer.highwater(PLACE)),
            "seek": told(lambda: consumer.seek(PLACE, 3)),
            "to_end": told(consumer.seek_to_end),
        }
        if pages == 0:
            done["poll"] = told(lambda: consumer.poll(timeout_ms=20))
            done["send"] = told(lambda: producer.send("t", b"after"))
            done["configure"] = told(partition.mark_deleted)
        else:  # the options and the waiters are on the first page: only the ring is gone
            done["roll"] = told(lambda: [producer.send("t", b"x" * 9000) for _ in range(9)])
        consumer.close()
        producer.close()
        return done

    done = log.fork(use_after_cut).result()

    assert set(done.values()) == {"StorageError"}, done


def _opened(broker: Any) -> list[_native.Partition]:
    meta = broker.admin.broker
    process = _native.Process(meta.directory, meta.instance)
    directory = partition_directory(broker)
    topic_id = int.from_bytes((directory / "control").read_bytes()[24:32], "little")
    return [_native.Partition(process, str(directory), "t", 0, topic_id)]


@pytest.mark.parametrize("pages", [0, 1])
def test_without_the_table_of_processes_records_flow_on_and_what_needs_it_is_an_error(log: Any, pages: int) -> None:
    def use_after_cut() -> list[Any]:
        producer, consumer = log.producer(), log.consumer("t")
        process = _native.Process(log.admin.broker.directory, log.admin.broker.instance)
        os.truncate(log.directory / "procs", pages * PAGE)
        producer.send("t", b"after")
        values = []
        while records := consumer.poll():
            values += [record.value for record in records[PLACE]]
        done = [values[-1], told(process.slots)]
        process.close()
        consumer.close()
        producer.close()
        return [*done, told(log.producer)]

    assert log.fork(use_after_cut).result() == [b"after", "StorageError", "CorruptSegmentError"]


def test_a_claim_cannot_be_healed_without_the_table_of_processes_and_says_so(log: Any) -> None:
    path = only_segment(log)
    segment = Segment(path)
    pos, last = segment.used()[-1]
    segment.set_word(pos, Word(CLAIMED, 7, last.end_pos, last.end_count).pack())  # slot 7, which nobody has
    segment.store()

    def heal_after_cut() -> Any:
        consumer = log.consumer("t")
        os.truncate(log.directory / "procs", PAGE)
        while isinstance(records := told(lambda: consumer.poll(timeout_ms=20)), dict):
            pass
        return records

    assert log.fork(heal_after_cut).result() == "StorageError"


@pytest.mark.parametrize("name", ["segment", "control"])
def test_a_topic_that_is_made_anew_after_a_cut_works_in_the_same_process(log: Any, name: str) -> None:
    def cut_and_make_anew() -> tuple[list[Any], list[bytes]]:
        producer, consumer = log.producer(), log.consumer("t")
        producer.send("t", b"before")
        consumer.poll()
        path = only_segment(log) if name == "segment" else partition_directory(log) / "control"
        os.truncate(path, 0)
        errors = [told(lambda: producer.send("t", b"lost")), told(lambda: consumer.poll(timeout_ms=20))]
        log.admin.delete_topics(["t"])
        log.create(segment_bytes=65536)
        with log.producer() as another:
            another.send("t", b"found")
        return errors, log.values()

    errors, values = log.fork(cut_and_make_anew).result()

    assert errors == ["StorageError"] * 2
    assert values == [b"found"]


def test_the_procs_file_is_checked_before_its_slots_are_believed(log: Any) -> None:
    procs = Procs(log.directory / "procs")
    procs.set("slots", 1 << 20)
    procs.sign()
    procs.store()

    def register() -> Any:
        return told(log.producer)

    assert log.fork(register).result() == "CorruptSegmentError"


def test_errors_of_cut_files_name_the_file_and_the_cause(log: Any) -> None:
    def poll_and_cut() -> str:
        consumer = log.consumer("t")
        os.truncate(only_segment(log), 0)
        try:
            consumer.poll()
        except StorageError as error:
            return str(error)
        return ""

    message = log.fork(poll_and_cut).result()

    assert "file cut short" in message
    assert str(partition_directory(log)) in message


def test_a_segment_that_is_too_short_when_it_is_opened_is_corrupt(log: Any) -> None:
    os.truncate(only_segment(log), 5 * PAGE)

    with pytest.raises(CorruptSegmentError, match="do not fit"):
        log.read()
