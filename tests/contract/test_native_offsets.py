"""The file of a group's committed offsets: only who has the epoch commits, and whatever happens to the file is an error."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from shmq import _native, errors

TOPIC_ID = 0xFEDCBA9876543210


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "t.offsets")
    _native.create_offsets(path, TOPIC_ID, 3)
    return path


@pytest.fixture
def offsets(path):
    offsets = _native.Offsets(path, TOPIC_ID)
    yield offsets
    offsets.close()


def test_a_fresh_file_has_nothing_committed(offsets):
    assert offsets.partitions >= 3
    assert offsets.get(2)[:3] == (0, -1, False)


def test_the_owner_of_the_epoch_commits(offsets, path):
    epoch = offsets.fence(1)
    offsets.commit(1, epoch, 5)

    other = _native.Offsets(path, TOPIC_ID)
    assert other.get(1)[:3] == (1, 5, False)
    assert other.get(0)[:3] == (0, -1, False)
    assert other.get(1)[3] > 1_600_000_000_000
    other.close()


def test_who_was_fenced_cannot_commit_and_changes_nothing(offsets):
    old = offsets.fence(0)
    offsets.commit(0, old, 5, True)
    new = offsets.fence(0)

    with pytest.raises(errors.CommitFailedError):
        offsets.commit(0, old, 6)

    assert offsets.get(0)[:3] == (new, 5, True)
    assert offsets.commit(0, new, 0) is True
    assert offsets.get(0)[:3] == (new, 0, False)


def test_epochs_go_round_without_zero(offsets):
    epochs = [offsets.fence(0) for _ in range(0x10001)]

    assert epochs[:2] == [1, 2]
    assert epochs[-3:] == [0xFFFF, 1, 2]


def test_an_administrator_resets_whatever_the_epoch_is(offsets):
    epoch = offsets.fence(0)
    offsets.commit(0, epoch, 5, True)

    assert offsets.reset(0, 3) is True
    assert offsets.get(0)[:3] == (epoch + 1, 3, False)
    offsets.reset(0, None)
    assert offsets.get(0)[:3] == (epoch + 2, -1, False)


def test_the_largest_offset_can_be_committed_and_a_larger_one_is_refused(offsets):
    offsets.commit(0, 0, (1 << 47) - 2)

    assert offsets.get(0)[1] == (1 << 47) - 2
    for wrong in ((1 << 47) - 1, 1 << 64, -1):
        with pytest.raises(OverflowError):
            offsets.commit(0, 0, wrong)


def test_a_file_grows_and_keeps_what_it_has(offsets, path):
    offsets.commit(2, 0, 7)
    other = _native.Offsets(path, TOPIC_ID)

    offsets.grow(5000)

    assert offsets.partitions >= 5000
    assert offsets.get(4999)[:2] == (0, -1)
    assert offsets.get(2)[1] == 7
    with pytest.raises(IndexError):
        other.get(4999)
    other.grow(5000)
    assert other.get(4999)[:2] == (0, -1)
    other.close()


def test_making_it_again_changes_nothing(offsets, path, tmp_path):
    offsets.commit(0, 0, 7)

    _native.create_offsets(path, TOPIC_ID, 3)

    assert offsets.get(0)[1] == 7
    assert os.listdir(tmp_path) == ["t.offsets"]


def test_processes_that_commit_at_once_and_one_that_fences_agree(offsets):
    """Each commit lands under the epoch of the moment, or fails."""
    context = multiprocessing.get_context("fork")

    def commit_until_fenced(landed, epoch) -> None:
        count = 0
        try:
            while True:
                offsets.commit(0, epoch, count)
                count += 1
        except errors.CommitFailedError:
            landed.send((epoch, count))

    for _ in range(20):
        pipes = [context.Pipe(duplex=False) for _ in "ab"]
        before = offsets.get(0)[0]
        workers = [context.Process(target=commit_until_fenced, args=(theirs, before)) for _, theirs in pipes]
        for worker in workers:
            worker.start()
        while offsets.get(0)[1] < 100:
            pass
        now = offsets.fence(0)
        fenced_at = offsets.get(0)[:2]
        assert now == before + 1
        assert all(ours.poll(20) for ours, _ in pipes)
        assert offsets.get(0)[:2] == fenced_at
        offsets.reset(0, 0)
        for worker in workers:
            worker.join(20)


def test_no_file_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        _native.Offsets(str(tmp_path / "none"), TOPIC_ID)


@pytest.mark.parametrize(
    ("pos", "data", "error"),
    [
        (0, b"SHMQCTL1", errors.CorruptSegmentError),
        (8, b"\x09\0\0\0", errors.UnsupportedVersionError),
        (12, b"\x01\0\0\0", errors.UnsupportedVersionError),
        (16, b"\0", errors.CorruptSegmentError),
        (24, b"\0\0", errors.CorruptSegmentError),
    ],
)
def test_a_damaged_header_is_refused(path, pos, data, error):
    with open(path, "r+b") as file:
        file.seek(pos)
        file.write(data)

    with pytest.raises(error, match="offsets"):
        _native.Offsets(path, TOPIC_ID)


def test_a_file_of_another_topic_or_too_short_or_no_file_is_refused(path, tmp_path):
    with pytest.raises(errors.CorruptSegmentError, match="belongs to topic"):
        _native.Offsets(path, TOPIC_ID + 1)
    os.truncate(path, 100)
    with pytest.raises(errors.CorruptSegmentError, match="at least 4096"):
        _native.Offsets(path, TOPIC_ID)
    with pytest.raises(errors.StorageError):
        _native.Offsets(str(tmp_path), TOPIC_ID)


def test_a_file_that_is_cut_while_it_is_mapped_gives_an_error(offsets, path):
    os.truncate(path, 4096)

    for use in (lambda: offsets.get(0), lambda: offsets.commit(0, 0, 1), lambda: offsets.fence(0)):
        with pytest.raises(errors.StorageError):
            use()


def test_a_closed_one_is_refused(offsets):
    offsets.close()

    with pytest.raises(errors.ClosedError):
        offsets.get(0)
    with pytest.raises(errors.ClosedError):
        offsets.grow(3)
