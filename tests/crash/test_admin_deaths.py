"""An administrator dies at its 1st, 2nd, 3rd ... step on the file system, until a run ends untouched.

The steps are Python's audit events, so a step that is added later is covered without a change here.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sources import fault_points

from shmq import _native
from shmq.admin import Admin
from shmq.store import collect
from shmq.types import ConfigResource

ADMIN_POINTS = {"alter": "options.", "delete": "partition."}
STEPS = ("open", "os.", "shutil.", "fcntl.")
MOST_STEPS = 2000


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    with Admin(bootstrap_servers=f"shm://{tmp_path / 'broker'}") as admin:
        yield admin
        shutil.rmtree(admin.broker.memory_directory, ignore_errors=True)


def dies_at(step: int, operation: Callable[[], object]) -> bool:
    """Run `operation` in a forked child that kills itself at its `step`-th step; False if it has fewer."""
    child = os.fork()
    if child == 0:
        taken = 0

        def count(event: str, _: tuple[object, ...]) -> None:
            nonlocal taken
            if event.startswith(STEPS):
                taken += 1
                if taken == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        operation()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


def until_untouched(operation: Callable[[], object]) -> Iterator[None]:
    """Let `operation` die at each of its steps in turn, and give the test a look after each death and at the end."""
    for step in range(1, MOST_STEPS):
        died = dies_at(step, operation)
        yield
        if not died:
            assert step > 10
            return
    raise AssertionError(f"still dying after {MOST_STEPS} steps")


def nothing_is_left_over(admin: Admin) -> bool:
    places = (admin.broker.creating_directory, admin.broker.altering_directory, admin.broker.deleting_directory)
    return not any(os.listdir(place) for place in places)


@pytest.mark.parametrize("storage", ["disk", "memory"])
def test_a_topic_whose_creator_dies_is_whole_or_not_there(admin: Admin, storage: str) -> None:
    request = {"t": {"num_partitions": 2, "configs": {"storage": storage}}}

    for _ in until_untouched(lambda: admin.create_topics(request)):
        if not admin.list_topics():
            admin.create_topics(request)
        assert [each["end_offset"] for each in admin.describe_topics(["t"])[0]["partitions"]] == [0, 0]
        admin.delete_topics(["t"])
        assert nothing_is_left_over(admin)


@pytest.mark.parametrize("storage", ["disk", "memory"])
def test_a_topic_whose_deleter_dies_is_whole_or_gone_for_the_next_administrator(admin: Admin, storage: str) -> None:
    request = {"t": {"num_partitions": 2, "configs": {"storage": storage}}}
    admin.create_topics(request)

    for _ in until_untouched(lambda: admin.delete_topics(["t"])):
        collect(admin.broker)
        assert nothing_is_left_over(admin)
        if admin.list_topics():
            assert admin.describe_topics(["t"])[0]["error_code"] == 0
        else:
            admin.create_topics(request)


@pytest.mark.parametrize("storage", ["disk", "memory"])
def test_a_topic_whose_widener_dies_has_the_old_or_the_new_partitions(admin: Admin, storage: str) -> None:
    request = {"t": {"configs": {"storage": storage}}}
    admin.create_topics(request)

    for _ in until_untouched(lambda: admin.create_partitions({"t": 3})):
        partitions = admin.describe_topics(["t"])[0]["partitions"]
        assert len(partitions) in (1, 3)
        collect(admin.broker)
        if len(partitions) == 3:
            admin.delete_topics(["t"])
            admin.create_topics(request)


def test_a_topic_whose_alterer_dies_has_the_old_or_the_new_options_in_all_partitions(admin: Admin) -> None:
    admin.create_topics({"t": {"num_partitions": 2}})
    change = [ConfigResource("topic", "t", {"retention.ms": "7", "segment.bytes": "1MiB", "retention.bytes": "4MiB"})]
    reset = dict.fromkeys(("retention.ms", "segment.bytes", "retention.bytes"), ("DELETE", None))

    for _ in until_untouched(lambda: admin.alter_configs(change)):
        collect(admin.broker)
        assert nothing_is_left_over(admin)
        changed = admin.describe_configs([ConfigResource("topic", "t")])["topic"]["t"]
        assert len(changed) in (0, 3)
        admin.alter_configs([ConfigResource("topic", "t", reset)])


def test_a_broker_whose_maker_dies_is_whole_or_not_there(tmp_path: Path) -> None:
    place = tmp_path / "broker"

    def make() -> None:
        Admin(bootstrap_servers=f"shm://{place}")

    for _ in until_untouched(make):
        with Admin(bootstrap_servers=f"shm://{place}") as admin:
            assert admin.list_topics() == []
            collect(admin.broker)
            assert os.listdir(tmp_path) == ["broker"]
            shutil.rmtree(place)
            shutil.rmtree(admin.broker.memory_directory)


@pytest.mark.parametrize("what", ["alter", "delete"])
def test_an_administrator_that_dies_between_two_words_of_a_partition_is_finished_by_the_next(
    admin: Admin, what: str
) -> None:
    change = [ConfigResource("topic", "t", {"retention.ms": "7", "segment.bytes": "1MiB", "retention.bytes": "4MiB"})]
    operate = {"alter": lambda: admin.alter_configs(change), "delete": lambda: admin.delete_topics(["t"])}[what]
    reached = set()
    for nth in range(1, MOST_STEPS):
        admin.create_topics({"t": {"num_partitions": 2}})
        line, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(theirs, 2)
            _native.fault_arm(None, nth, signal.SIGKILL)
            operate()
            os._exit(0)
        os.close(theirs)
        with open(line) as told:
            reached |= {text.removeprefix("fault point ").strip() for text in told}
        status = os.waitpid(child, 0)[1]

        collect(admin.broker)
        assert nothing_is_left_over(admin)
        if admin.list_topics():
            assert len(admin.describe_configs([ConfigResource("topic", "t")])["topic"]["t"]) in (0, 3)
            admin.delete_topics(["t"])
        if status == 0:
            break
    assert {point for point in fault_points() if point.startswith(ADMIN_POINTS[what])} <= reached
