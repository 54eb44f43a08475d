"""Words and copies in mapped memory: what they do, and that nothing outside the buffer is ever touched."""

from __future__ import annotations

import mmap
import os

import pytest

from shmq import _native, errors


def test_a_word_is_loaded_stored_and_swapped():
    memory = bytearray(32)

    _native.cell_store(memory, 8, 2**64 - 1)
    assert _native.cell_load(memory, 8) == 2**64 - 1
    assert _native.cell_cas(memory, 8, 2**64 - 1, 5) is True
    assert _native.cell_cas(memory, 8, 2**64 - 1, 6) is False
    assert _native.cell_load(memory, 8) == 5

    assert memory == bytes(8) + (5).to_bytes(8, "little") + bytes(16)


def test_bytes_are_copied_in_and_out():
    memory = bytearray(200_000)

    _native.copy_in(memory, 3, b"abc")
    _native.copy_in(memory, 100_000, memoryview(bytes([7]) * 100_000))

    assert _native.copy_out(memory, 2, 5) == b"\0abc\0"
    assert type(_native.copy_out(memory, 0, 0)) is bytearray
    assert _native.copy_out(memory, 100_000, 100_000) == bytes([7]) * 100_000
    assert len(_native.blank(10)) == 10


@pytest.mark.parametrize("pos", [1, 57, 64, 2**62, 2**64 - 8])
def test_a_word_that_is_not_aligned_or_not_inside_is_refused(pos):
    memory = bytearray(64)

    for call in (
        lambda: _native.cell_load(memory, pos),
        lambda: _native.cell_store(memory, pos, 1),
        lambda: _native.cell_cas(memory, pos, 0, 1),
        lambda: _native.copy_in(memory, pos, bytes(64)),
        lambda: _native.copy_out(memory, pos, 64),
    ):
        with pytest.raises(ValueError, match="the buffer has 64"):
            call()
    assert memory == bytes(64)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: _native.cell_load(bytes(8), 0), BufferError),
        (lambda: _native.copy_in(bytes(8), 0, b"x"), BufferError),
        (lambda: _native.copy_in(bytearray(8), 0, "x"), TypeError),
        (lambda: _native.cell_load(bytearray(8), -1), OverflowError),
        (lambda: _native.cell_load(bytearray(8), "0"), TypeError),
        (lambda: _native.cell_load(bytearray(8)), TypeError),
        (lambda: _native.cell_store(bytearray(8), 0, 2**64), OverflowError),
        (lambda: _native.cell_store(bytearray(8), 0, -1), OverflowError),
        (lambda: _native.copy_out(bytearray(8), 0, -1), OverflowError),
        (lambda: _native.blank(-1), ValueError),
        (lambda: _native.blank(2**62), MemoryError),
    ],
)
def test_what_is_no_buffer_or_no_number_is_refused(call, error):
    with pytest.raises(error):
        call()


def test_processes_that_swap_one_word_lose_no_step(broker):
    steps = 2000
    memory = mmap.mmap(-1, mmap.PAGESIZE)

    def add() -> None:
        done = 0
        while done < steps:
            seen = _native.cell_load(memory, 0)
            done += _native.cell_cas(memory, 0, seen, seen + 1)

    for child in [broker.fork(add), broker.fork(add)]:
        child.result()

    assert _native.cell_load(memory, 0) == 2 * steps


def test_a_file_that_was_cut_short_is_an_error_and_no_signal(broker, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(4 * mmap.PAGESIZE))
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    broker.consumer()  # installs the guard
    with broker.admin.broker.process():
        os.truncate(path, 0)

        for call in (
            lambda: _native.cell_load(memory, 0),
            lambda: _native.cell_store(memory, 0, 1),
            lambda: _native.cell_cas(memory, 0, 0, 1),
            lambda: _native.copy_in(memory, 0, bytes(3 * mmap.PAGESIZE)),
            lambda: _native.copy_out(memory, 0, 100_000 if mmap.PAGESIZE > 30_000 else 4 * mmap.PAGESIZE),
        ):
            with pytest.raises(errors.StorageError, match="cut short"):
                call()
    memory.close()


def test_a_tenant_lives_until_its_process_ends(broker):
    with broker.admin.broker.process() as process:
        read, write = os.pipe()

        def tell() -> None:
            with broker.admin.broker.process() as mine:
                os.write(write, f"{mine.slot} {mine.epoch}\n".encode())
                os.read(go, 1)

        go, ready = os.pipe()
        child = broker.fork(tell)
        slot, epoch = map(int, os.read(read, 100).split())

        assert process.lives(process.slot, process.epoch)
        assert process.lives(slot, epoch)
        assert not process.lives(slot, epoch + 1)
        assert not process.lives(slot, 0)
        assert not process.lives(2**40, 1)
        child.kill()
        assert not process.lives(slot, epoch)
    for each in (read, write, go, ready):
        os.close(each)
