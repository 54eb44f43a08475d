"""A coordinator dies at its 1st, 2nd, 3rd ... step of starting, of an assignment and of a takeover; the next one goes on."""

from __future__ import annotations

import functools
import os
import re
import signal
from pathlib import Path

import pytest
from sources import PACKAGE

from shmq import OffsetAndMetadata, TopicPartition, _native, errors
from shmq.coordinator.service import serve

MOST_POINTS = 100
PLACE = TopicPartition("t", 0)


def python_fault_points() -> set[str]:
    files = (PACKAGE / "coordinator").glob("*.py")
    return {name for path in files for name in re.findall(r'fault_point\("([^"]+)"\)', path.read_text())}


class Doomed:
    """A coordinator in a forked child, that dies at its nth point."""

    def __init__(self, directory: Path, nth: int) -> None:
        self._line, theirs = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(theirs, 2)
            _native.fault_arm(None, nth, signal.SIGKILL)
            serve(str(directory))
            os._exit(0)
        os.close(theirs)

    def end(self) -> tuple[bool, set[str]]:
        """Whether it died by itself, and where; else it is told to end."""
        if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            os.kill(self.pid, signal.SIGTERM)
            status = os.waitpid(self.pid, 0)[1]
        else:
            status = signal.SIGKILL
        with open(self._line) as told:
            points = {line.removeprefix("fault point ").strip() for line in told if line.startswith("fault point")}
        return status == signal.SIGKILL, points


@pytest.fixture
def members(broker, wait_until):
    """Two members that have shared four partitions, and committed; their coordinator is gone."""
    broker.create(partitions=4)
    broker.has_deaths = True
    both = [broker.consumer("t", group_id="g", group_instance_id=name) for name in "ab"]
    settle(both, wait_until, 2, 2)
    return both


def settle(consumers, wait_until, *counts: int) -> None:
    def is_settled() -> bool:
        for consumer in consumers:
            consumer.poll(timeout_ms=2)
        return [len(consumer.assignment()) for consumer in consumers] == list(counts)

    wait_until(is_settled)


def test_the_next_coordinator_goes_on_wherever_one_dies(broker, members, wait_until):
    """Each time a third member joins, and the coordinator dies over it; then it is gone, and its successor dies."""
    reached: set[str] = set()
    for nth in range(1, MOST_POINTS):
        broker.kill_coordinator()
        doomed = Doomed(broker.directory, nth)
        third = broker.consumer("t", group_id="g", client_id=f"third-{nth}")
        consumers = [*members, third]
        poll_until(wait_until, consumers, third.assignment)
        died, points = doomed.end()
        reached |= points

        poll_until(wait_until, consumers, functools.partial(have_one_owner_each, consumers))
        for consumer in consumers:
            for place in consumer.assignment():
                consumer.commit({place: OffsetAndMetadata(nth, "", -1)})
        assert {each: members[0].committed(TopicPartition("t", each)) for each in range(4)} == dict.fromkeys(
            range(4), nth
        )
        third.close()
        settle(members, wait_until, 2, 2)
        if not died:
            break
    assert python_fault_points() <= reached


def poll_until(wait_until, consumers, condition) -> None:
    wait_until(lambda: [consumer.poll(timeout_ms=2) for consumer in consumers] and condition())


def have_one_owner_each(consumers) -> bool:
    places = [place for consumer in consumers for place in consumer.assignment()]
    return len(places) == len(set(places)) == 4


def test_a_member_that_was_expelled_cannot_commit_wherever_the_coordinator_dies(broker, wait_until):
    """Expelling is saved before the epoch is raised: the next coordinator raises it."""
    broker.create(partitions=1)
    broker.has_deaths = True
    for nth in range(1, MOST_POINTS):
        member = broker.consumer("t", group_id="g", enable_auto_commit=False)
        settle([member], wait_until, 1)
        member_id = member.group_metadata().member_id
        broker.kill_coordinator()
        doomed = Doomed(broker.directory, nth)
        try:
            broker.admin.remove_group_members("g", [member_id])
        except errors.CoordinatorNotAvailableError:
            broker.admin.remove_group_members("g", [member_id])
        died, _ = doomed.end()

        with pytest.raises(errors.CommitFailedError):
            member.commit({PLACE: OffsetAndMetadata(nth, "", -1)})
        member.close()
        if not died:
            return
    raise AssertionError(f"still dying after {MOST_POINTS} points")
