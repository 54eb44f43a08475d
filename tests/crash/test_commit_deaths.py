"""A process dies at its 1st, 2nd, 3rd ... step of making a file of committed offsets, committing, fencing and resetting."""

from __future__ import annotations

import os
import signal

import pytest
from sources import fault_points

from shmq import _native, errors

TOPIC_ID = 7
MOST_POINTS = 50


def die_at(nth: int, act) -> tuple[bool, set[str]]:
    """Run it in a forked child that kills itself at its nth fault point; whether it did, and which one that was."""
    line, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(theirs, 2)
        _native.fault_arm(None, nth, signal.SIGKILL)
        act()
        os._exit(0)
    os.close(theirs)
    with open(line) as told:
        points = {text.removeprefix("fault point ").strip() for text in told}
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0, points


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "t.offsets")


def test_committed_offsets_are_the_old_or_the_new_ones_wherever_a_process_dies(path, tmp_path):
    reached: set[str] = set()
    acts = {
        "commit": lambda: _native.Offsets(path, TOPIC_ID).commit(1, 1, 6),
        "fence": lambda: _native.Offsets(path, TOPIC_ID).fence(1),
        "reset": lambda: _native.Offsets(path, TOPIC_ID).reset(1, 2),
    }
    outcomes = {
        "commit": {(1, 5, False), (1, 6, False)},
        "fence": {(1, 5, False), (2, 5, False)},
        "reset": {(1, 5, False), (2, 2, False)},
    }
    for name, act in acts.items():
        seen = set()
        for nth in range(1, MOST_POINTS):
            _native.create_offsets(path, TOPIC_ID, 2)
            offsets = _native.Offsets(path, TOPIC_ID)
            offsets.fence(1)
            offsets.commit(1, 1, 5)
            died, points = die_at(nth, act)
            reached |= points
            seen.add(offsets.get(1)[:3])

            epoch = offsets.fence(1)
            offsets.commit(1, epoch, 9)
            with pytest.raises(errors.CommitFailedError):
                offsets.commit(1, epoch - 1, 8)
            assert offsets.get(1)[:2] == (epoch, 9)
            offsets.close()
            os.unlink(path)
            if not died:
                break
        assert seen == outcomes[name]
    assert {point for point in fault_points() if point.startswith(("offsets.word", "offsets.time"))} == reached


def test_a_file_whose_maker_dies_is_whole_or_not_there(path, tmp_path):
    reached: set[str] = set()
    for nth in range(1, MOST_POINTS):
        died, points = die_at(nth, lambda: _native.create_offsets(path, TOPIC_ID, 2))
        reached |= points
        if os.path.exists(path):
            offsets = _native.Offsets(path, TOPIC_ID)
            assert offsets.get(1)[:2] == (0, -1)
            offsets.close()
        _native.create_offsets(path, TOPIC_ID, 2)
        os.unlink(path)
        for name in os.listdir(tmp_path):
            assert ".offsets.new-" in name  # for `shmq gc`
            os.unlink(tmp_path / name)
        if not died:
            break
    assert {point for point in fault_points() if point.startswith(("files.create", "files.link"))} == reached


def stop_at(nth: int, act) -> int | None:
    """Run it in a forked child that stops itself at its nth fault point: the child, or None if it had fewer."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        _native.fault_arm(None, nth, signal.SIGSTOP)
        os._exit(act())
    _, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return child
    assert status == 0
    return None


@pytest.mark.parametrize("shut_out_by", ["fence", "reset"])
def test_a_member_that_was_stopped_in_a_commit_cannot_finish_it_once_it_was_shut_out(path, shut_out_by):
    def commit() -> int:
        try:
            _native.Offsets(path, TOPIC_ID).commit(1, 1, 6)
        except errors.CommitFailedError:
            return 9
        return 0

    statuses = []
    for nth in range(1, MOST_POINTS):
        _native.create_offsets(path, TOPIC_ID, 2)
        offsets = _native.Offsets(path, TOPIC_ID)
        offsets.fence(1)
        offsets.commit(1, 1, 5)
        child = stop_at(nth, commit)
        if child is None:
            break
        landed = offsets.get(1)[1] == 6
        offsets.fence(1) if shut_out_by == "fence" else offsets.reset(1, 2)
        at_fence = offsets.get(1)[:3]

        os.kill(child, signal.SIGCONT)
        _, status = os.waitpid(child, 0)

        assert offsets.get(1)[:3] == at_fence
        assert os.waitstatus_to_exitcode(status) == (0 if landed else 9)
        statuses.append(landed)
        offsets.close()
        os.unlink(path)
    assert child is None
    assert set(statuses) == {True, False}
