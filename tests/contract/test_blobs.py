"""Large payloads: they come back whole, their files are used again and are bounded, and nothing is left in the end."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import threading

import pytest

from shmq import errors
from shmq.blobs import BLOB_BYTES, HOT_BYTES, REFERENCE_KIND, Blobs
from shmq.blobs import file as blob_file
from shmq.blobs import writer as blob_writer

MIB = 1 << 20


@pytest.fixture
def directory(broker):
    directory = f"{broker.admin.broker.memory_directory}/queue"
    os.mkdir(directory, 0o700)
    return directory


@pytest.fixture
def make(broker, directory):
    """`make()`: one more Blobs of this process."""
    with broker.admin.broker.process() as process, contextlib.ExitStack() as stack:

        def make() -> Blobs:
            made = Blobs(directory, process)
            stack.callback(made.close)
            return made

        yield make


def payload_of(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, 4095, 4097, BLOB_BYTES, MIB + 3, 200 * MIB])
def test_a_payload_comes_back_whole_and_writable(make, directory, size):
    writer, reader = make(), make()
    payload = payload_of(size)

    reference = writer.write([payload[: size // 3], bytearray(payload[size // 3 :]), memoryview(b"")])
    back = reader.read(reference)

    assert reference[0] == REFERENCE_KIND
    assert len(reference) < 100
    assert reader.payload_bytes(reference) == size
    assert type(back) is bytearray
    assert back == payload
    writer.close()
    assert os.listdir(directory) == []


def test_a_payload_of_300_mb_comes_back_whole_if_there_is_room(make, directory):
    size = 300_000_000
    if shutil.disk_usage("/dev/shm").free < 2 * size:
        pytest.skip("no room in /dev/shm")
    block = payload_of(MIB)
    writer = make()

    back = make().read(writer.write([block] * (size // MIB)))

    assert all(back[pos : pos + MIB] == block for pos in range(0, len(back), MIB))
    assert os.listdir(directory) == []


def test_a_file_is_used_again_once_it_was_read(make, directory):
    writer, reader = make(), make()

    for seed in range(50):
        payload = payload_of(MIB - seed, seed)
        assert reader.read(writer.write([payload])) == payload

    assert (writer.made, writer.reused) == (1, 49)
    assert len(os.listdir(directory)) == 1


def test_what_is_not_read_yet_is_never_written_over(make, directory):
    writer, reader = make(), make()
    rest = {}

    for seed in range(100):
        payload = payload_of(BLOB_BYTES + seed, seed)
        rest[writer.write([payload])] = payload
        if seed % 3 == 0:
            reference = random.Random(seed).choice(list(rest))
            assert reader.read(reference) == rest.pop(reference)

    for reference, payload in rest.items():
        assert reader.read(reference) == payload
    assert writer.reused > 0
    assert len(os.listdir(directory)) <= blob_writer._MOST_KEPT


def test_what_a_producer_keeps_is_bounded_whatever_the_sizes(make, directory):
    writer, reader = make(), make()
    for size in (BLOB_BYTES, MIB, 30 * MIB, 5 * MIB, 60 * MIB, 130 * MIB, BLOB_BYTES):
        references = [writer.write([bytes(size)]) for _ in range(40 if size < MIB else 3)]
        for reference in references:
            assert reader.read(reference) == bytes(size)

        files = [os.stat(os.path.join(directory, name)).st_size for name in os.listdir(directory)]
        assert len(files) <= blob_writer._MOST_KEPT
        assert sum(files) <= blob_writer._MOST_KEPT_BYTES + len(files) * blob_file.PAYLOAD_POS


def test_a_kept_payload_can_be_read_again_until_somebody_releases_it(make, directory):
    writer, first, second = make(), make(), make()
    for size in (MIB, 200 * MIB):  # in a file that is kept, and in one that is not
        payload = payload_of(size)
        reference = writer.write([payload])

        assert first.read(reference, keep=True) == payload
        assert second.read(reference, keep=True) == payload
        assert second.release(reference) is True

        assert first.release(reference) is False
        for late in (first, second):
            with pytest.raises(errors.PayloadGoneError, match="another reader is done with it"):
                late.read(reference)
    writer.write([payload_of(MIB, 1)])
    assert writer.reused == 1
    with pytest.raises(errors.PayloadGoneError):
        first.read(reference, keep=True)


def test_a_reference_that_came_to_nobody_is_released_by_its_producer(make, directory):
    writer = make()

    for _ in range(5):
        assert writer.release(writer.write([bytes(MIB)]))

    assert writer.made == 1


def test_what_is_unread_when_its_producer_closes_can_be_read_and_is_taken_away_then(make, directory):
    writer, reader = make(), make()
    before = writer.write([bytes(MIB)])
    reader.read(before)  # it is mapped by now
    payloads = [payload_of(size, size) for size in (BLOB_BYTES, MIB, 150 * MIB)]
    references = [writer.write([payload]) for payload in payloads]

    writer.close()
    writer.close()

    assert len(os.listdir(directory)) == 3
    assert [reader.read(each) for each in references] == payloads
    assert os.listdir(directory) == []


def test_closed_is_closed(make):
    writer = make()
    reference = writer.write([bytes(MIB)])
    writer.close()

    for call in (lambda: writer.write([b""]), lambda: writer.read(reference), lambda: writer.release(reference)):
        with pytest.raises(errors.ClosedError):
            call()
    assert make().release(reference)


def test_a_forked_child_cannot_use_what_it_inherited_and_harms_nothing_by_closing_it(make, broker, directory):
    writer = make()
    reference = writer.write([b"x" * MIB])

    def misuse() -> list[str]:
        found = []
        for call in (lambda: writer.write([b""]), lambda: writer.read(reference), lambda: writer.release(reference)):
            with contextlib.suppress(errors.ForkedError):
                call()
                found.append("no error")
        writer.close()
        with broker.admin.broker.process() as process:
            own = Blobs(directory, process)
            found.append(bytes(own.read(reference, keep=True)[:3]).decode())
            own.close()
        return found

    assert broker.fork(misuse).result() == ["xxx"]
    assert writer.read(reference) == b"x" * MIB
    writer.write([bytes(MIB)])
    assert writer.reused == 1


def test_threads_write_and_read_at_once(make):
    writer, reader = make(), make()
    wrong = []

    def work(seed: int) -> None:
        for turn in range(30):
            payload = bytes([seed * 40 + turn]) * (BLOB_BYTES + turn)
            if reader.read(writer.write([payload])) != payload:
                wrong.append((seed, turn))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert wrong == []
    assert writer.made + writer.reused == 120
    assert writer.made <= 8


def test_two_producers_and_a_reader_in_processes_of_their_own(make, broker, directory):
    count = 40
    pipes = [os.pipe(), os.pipe()]

    def produce(number: int) -> tuple[int, int]:
        with broker.admin.broker.process() as process:
            writer = Blobs(directory, process)
            for turn in range(count):
                os.write(pipes[number][1], writer.write([bytes([number * 100 + turn]) * (MIB + turn)]))
            writer.close()
            return writer.made, writer.reused

    children = [broker.fork(lambda number=number: produce(number)) for number in range(2)]
    reader = make()
    for turn in range(count):
        for number in range(2):
            data = reader.read(os.read(pipes[number][0], 40))
            assert data == bytes([number * 100 + turn]) * (MIB + turn)

    for child in children:
        made, reused = child.result()
        assert made + reused == count
    assert os.listdir(directory) == []
    for each in sum(pipes, ()):
        os.close(each)


@pytest.mark.parametrize("reference", [b"", b"B", b"B" + bytes(40), bytes(40), b"B\2" + bytes(38)])
def test_what_is_no_reference_is_refused(make, reference):
    with pytest.raises(errors.CorruptRecordError, match="refers to no payload"):
        make().read(reference)


def test_a_reference_to_no_file_or_to_more_than_it_has_is_refused(make):
    writer = make()
    reference = writer.write([bytes(MIB)])
    beyond = reference[:32] + (1 << 40).to_bytes(8, "little")

    with pytest.raises(errors.CorruptRecordError, match="bytes wanted of"):
        make().read(beyond)
    with pytest.raises(errors.PayloadGoneError):
        make().read(reference[:8] + bytes(8) + reference[16:])
    assert writer.release(reference)


@pytest.mark.parametrize("size", [MIB, 150 * MIB])
def test_a_file_that_was_cut_short_is_an_error_and_no_signal(make, directory, size):
    writer, reader = make(), make()
    reference = writer.write([bytes(size)])
    reader.read(reference, keep=True)
    [name] = os.listdir(directory)
    os.truncate(os.path.join(directory, name), 8192)

    for each in (reader, make()):
        with pytest.raises((errors.StorageError, errors.CorruptRecordError)):
            each.read(reference, keep=True)
    assert reader.release(reference)


def test_files_that_are_none_of_ours_stay(make, directory):
    names = ["short.blob", "foreign.blob", "other"]
    for name, data in zip(names, [b"x", bytes(8192), b""], strict=True):
        with open(os.path.join(directory, name), "wb") as file:
            file.write(data)

    assert make().sweep() == 0

    assert sorted(os.listdir(directory)) == sorted(names)


def test_a_directory_that_is_gone_is_an_error(make, directory):
    writer = make()
    os.rmdir(directory)

    with pytest.raises(errors.StorageError, match="cannot be made"):
        writer.write([bytes(MIB)])


def test_a_producer_that_was_taken_for_dead_writes_again_elsewhere(make, directory):
    writer, reader = make(), make()
    reader.read(writer.write([bytes(MIB)]))
    [blob] = writer._writer._kept.values()

    class Slow(bytes):
        """Part of a payload during whose copy the blob is given up by another."""

        def __len__(self) -> int:
            blob.retire(blob_file.WRITING)
            return super().__len__()

    payload = payload_of(MIB)
    reference = writer.write([Slow(payload), b""])

    assert blob.is_gone()
    assert reader.read(reference) == payload
    assert writer.made == 2
    assert len(os.listdir(directory)) == 1


def test_items_of_middling_size_lie_in_hot_files_while_there_are_free_ones_else_in_the_log(make, directory):
    writer, reader = make(), make()
    small, middling = payload_of(HOT_BYTES - 1), payload_of(HOT_BYTES)

    assert writer.place([small]) == small
    for _ in range(50):
        assert reader.read(writer.place([middling[:100], middling[100:]])) == middling
    assert writer.made == 1

    placed = [writer.place([middling]) for _ in range(200)]
    in_files = [each for each in placed if each[0] == REFERENCE_KIND and len(each) < 100]
    assert len(in_files) == len(os.listdir(directory)) == blob_writer._MOST_KEPT
    assert all(each == middling for each in placed if each not in in_files)
    for each in in_files:
        assert reader.read(each) == middling
    assert any(len(writer.place([middling])) < 100 for _ in range(blob_writer._PAUSE + 1))


def test_large_items_never_lie_in_the_log(make):
    writer = make()

    placed = [writer.place([bytes(BLOB_BYTES)]) for _ in range(2 * blob_writer._MOST_KEPT)]

    assert {len(each) for each in placed} == {40}
    for each in placed:
        assert make().release(each)
