from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from shmq.errors import KafkaTimeoutError, StorageError, StorageFullError
from shmq.store import files


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "meta.json"
    path.write_bytes(b"before")

    files.write_whole(str(path), b"after", durable=True)

    assert path.read_bytes() == b"after"
    assert os.listdir(tmp_path) == ["meta.json"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "meta.json").mkdir()
    (tmp_path / "meta.json" / "entry").write_bytes(b"")

    with pytest.raises(StorageError, match=r"meta\.json: cannot be written"):
        files.write_whole(str(tmp_path / "meta.json"), b"after", durable=False)

    assert os.listdir(tmp_path) == ["meta.json"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_no_space_is_told_with_both_numbers() -> None:
    with (
        pytest.raises(StorageFullError) as full,
        files.storage_errors("/dev/full", "cannot be written", wanted_bytes=5),
        open("/dev/full", "wb", buffering=0) as file,
    ):
        file.write(b"12345")

    assert full.value.wanted_bytes == 5
    assert full.value.errno == errno.ENOSPC


def test_a_directory_is_made_with_what_fills_it(tmp_path: Path) -> None:
    made = files.make_directory(
        str(tmp_path / "new"), lambda unfinished: Path(unfinished, "x").write_bytes(b"") and None
    )

    assert made
    assert os.listdir(tmp_path) == ["new"]
    assert os.listdir(tmp_path / "new") == ["x"]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_directory_that_is_there_first_wins(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "first").write_bytes(b"")

    made = files.make_directory(str(tmp_path / "new"), lambda _: None)

    assert not made
    assert os.listdir(tmp_path) == ["new"]
    assert os.listdir(tmp_path / "new") == ["first"]


def test_a_directory_whose_filling_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(_: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        files.make_directory(str(tmp_path / "new"), fail)

    assert os.listdir(tmp_path) == []


def test_what_a_dead_maker_left_is_removed_and_what_a_living_one_makes_is_not(tmp_path: Path) -> None:
    dead = tmp_path / ".new.new-00"
    dead.mkdir()

    def look(unfinished: str) -> None:
        assert files.remove_unfinished(str(tmp_path / "new")) == [str(dead)]
        assert os.path.isdir(unfinished)

    assert files.make_directory(str(tmp_path / "new"), look)
    assert os.listdir(tmp_path) == ["new"]


def test_a_lock_keeps_other_threads_out_until_their_time_is_up(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    files.write_whole(path, b"", durable=False)
    outcome: list[BaseException] = []

    def try_it() -> None:
        try:
            with files.file_lock(path, timeout_ms=20):
                pass
        except KafkaTimeoutError as error:
            outcome.append(error)

    with files.file_lock(path, timeout_ms=0):
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    with files.file_lock(path, timeout_ms=0):
        pass

    assert len(outcome) == 1
    assert "fuser" in str(outcome[0])


def test_a_forked_child_does_not_keep_its_parents_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    files.write_whole(path, b"", durable=False)
    reader, writer = os.pipe()

    with files.file_lock(path, timeout_ms=0):
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)  # until the parent has ended its part
            os._exit(0)
    with files.file_lock(path, timeout_ms=0):
        os.close(writer)
    os.close(reader)

    assert os.waitpid(child, 0)[1] == 0


def test_a_shared_lock_is_seen_by_who_would_be_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    files.write_whole(path, b"", durable=False)

    first, second = files.share_lock(path, 0), files.share_lock(path, 0)
    with files.try_lock(path) as alone:
        assert not alone
    os.close(first)
    os.close(second)

    with files.try_lock(path) as alone:
        assert alone


def test_a_lock_on_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"), files.file_lock(str(tmp_path / "lock"), 0):
        pass
