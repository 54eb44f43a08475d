from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmq.errors import (
    BrokerNotFoundError,
    CorruptRecordError,
    KafkaTimeoutError,
    NotABrokerError,
    StorageError,
    UnsupportedVersionError,
)
from shmq.store import Broker, Topics, collect, collect_instance, open_broker
from shmq.store.broker import memory_directory
from shmq.store.files import file_lock


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory for one broker; what it leaves in /dev/shm is removed afterwards."""
    yield tmp_path / "broker"
    for identity in tmp_path.glob("*/broker.json"):
        for instance in re.findall(r'"instance": "([0-9a-f]{16})"', identity.read_bytes().decode()):
            shutil.rmtree(memory_directory(instance), ignore_errors=True)


@pytest.fixture
def broker(place: Path) -> Iterator[Broker]:
    broker = open_broker(str(place))
    yield broker
    shutil.rmtree(broker.memory_directory, ignore_errors=True)
    broker.close()


def rewrite(place: Path, **changes: object) -> None:
    path = place / "broker.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_missing_directory_becomes_a_private_broker(place: Path, broker: Broker) -> None:
    assert place.stat().st_mode & 0o777 == 0o700
    assert Path(broker.memory_directory).stat().st_mode & 0o777 == 0o700
    assert {"broker.json", "procs", "procs.lock", "admin.lock", "topics"} <= set(os.listdir(place))
    assert os.listdir(place.parent) == ["broker"]


def test_the_same_broker_is_found_again(place: Path, broker: Broker) -> None:
    again = open_broker(str(place), create=False)

    assert again.instance == broker.instance
    again.close()


def test_an_empty_directory_becomes_a_broker(place: Path) -> None:
    place.mkdir(mode=0o755)

    open_broker(str(place)).close()

    assert place.stat().st_mode & 0o777 == 0o700


def test_a_broker_is_reached_through_a_symlink(place: Path, broker: Broker) -> None:
    link = place.parent / "link"
    link.symlink_to(place)

    again = open_broker(str(link))

    assert again.directory == broker.directory
    again.close()


def test_nothing_is_made_where_nothing_was_to_be_made(place: Path) -> None:
    with pytest.raises(BrokerNotFoundError, match="no broker here"):
        open_broker(str(place), create=False)

    assert not place.exists()


def test_a_directory_with_something_else_in_it_is_never_adopted(place: Path) -> None:
    place.mkdir(mode=0o700)
    (place / "thesis.txt").write_text("years of work")

    with pytest.raises(NotABrokerError, match=r"'thesis.txt'.*no broker\.json"):
        open_broker(str(place))

    assert os.listdir(place) == ["thesis.txt"]


def test_a_file_is_not_a_broker(place: Path) -> None:
    place.write_text("")

    with pytest.raises(NotABrokerError, match="not a directory"):
        open_broker(str(place))
    with pytest.raises(NotABrokerError, match="not a directory"):
        open_broker(str(place / "below"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 bytes that are no JSON"),
        (bytes(200), "no JSON"),
        (b'{"format": 1, "inst', "no JSON"),
        (b"[" * 60000, "no JSON"),
        (b'"text"', "without a format number"),
        (b'{"name": "somebody else\'s"}', "without a format number"),
        (b'{"format": 1}', "not the fields of format 1"),
        (b'{"format": 1, "instance": 5, "created_ms": 1, "boot_id": "", "shm_device": 1}', "instance is 5"),
        (b'{"format": 1, "instance": "../x", "created_ms": 1, "boot_id": "", "shm_device": 1}', "16 hex digits"),
    ],
)
def test_a_damaged_broker_json_is_refused_and_left_alone(place: Path, content: bytes, said: str) -> None:
    place.mkdir(mode=0o700)
    (place / "broker.json").write_bytes(content)

    with pytest.raises(NotABrokerError) as refused:
        open_broker(str(place))

    assert said in str(refused.value)
    assert str(place / "broker.json") in str(refused.value)
    assert (place / "broker.json").read_bytes() == content


def test_a_broker_of_a_newer_version_is_refused(place: Path, broker: Broker) -> None:
    rewrite(place, format=2)

    with pytest.raises(UnsupportedVersionError, match="format 2, this shmq reads 1"):
        open_broker(str(place))


@pytest.mark.parametrize(("mode", "said"), [(0o750, "others may enter"), (0o500, "read-only")])
def test_a_directory_with_another_mode_is_refused(place: Path, broker: Broker, mode: int, said: str) -> None:
    place.chmod(mode)

    with pytest.raises(StorageError, match=said):
        open_broker(str(place))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_broker_of_another_user_is_refused(place: Path, broker: Broker) -> None:
    os.chown(place, 12345, 12345)

    with pytest.raises(StorageError, match="belongs to user 12345"):
        open_broker(str(place))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(StorageError, match="cannot be made"):
        open_broker(str(tmp_path / "broker"))


def test_of_many_processes_that_make_a_broker_at_once_one_wins_and_all_use_it(place: Path) -> None:
    code = f"import sys; from shmq.store import open_broker; print(open_broker({str(place)!r}).identity.instance)"
    makers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(6)]

    instances = {maker.communicate(timeout=60)[0] for maker in makers}

    assert [maker.returncode for maker in makers] == [0] * 6
    assert len(instances) == 1
    assert os.listdir(place.parent) == ["broker"]


def test_after_a_reboot_the_processes_of_before_are_forgotten_and_the_topics_are_not(
    place: Path, broker: Broker
) -> None:
    Topics(broker).load_or_create("orders")
    before = (place / "procs").stat().st_ino
    rewrite(place, boot_id="another boot")

    again = open_broker(str(place))

    assert again.instance == broker.instance
    assert (place / "procs").stat().st_ino != before
    assert again.identity.boot_id == json.loads((place / "broker.json").read_text())["boot_id"] != "another boot"
    assert Topics(again).names() == ["orders"]
    again.close()


def test_another_shared_memory_is_adopted_when_nobody_uses_the_old_one(place: Path, broker: Broker) -> None:
    rewrite(place, shm_device=broker.identity.shm_device + 1)

    again = open_broker(str(place))

    assert again.identity.shm_device == broker.identity.shm_device
    again.close()


def test_another_shared_memory_is_warned_of_while_somebody_uses_the_old_one(place: Path, broker: Broker) -> None:
    code = f"""
import sys
from shmq.store import open_broker
with open_broker({str(place)!r}).process():
    print("ready", flush=True)
    sys.stdin.read()
"""
    user = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    user.stdout.readline()
    rewrite(place, shm_device=broker.identity.shm_device + 1)

    with pytest.warns(RuntimeWarning, match="1 processes use this broker with another /dev/shm"):
        open_broker(str(place)).close()

    user.communicate("", timeout=60)


def test_a_stopped_administrator_is_waited_for_no_longer_than_asked(broker: Broker) -> None:
    topics = Topics(broker, timeout_ms=30)

    with (
        file_lock(os.path.join(broker.directory, "admin.lock"), 0),
        pytest.raises(KafkaTimeoutError, match=r"admin\.lock.*30 ms"),
    ):
        topics.load_or_create("orders")

    assert topics.names() == []


@pytest.mark.parametrize("content", [b"", bytes(100), b"{}", b'{"format": 1}', b'{"format": 1, "topic_id": "x"}'])
def test_a_topic_with_a_damaged_meta_json_is_told_and_can_be_deleted(broker: Broker, content: bytes) -> None:
    topics = Topics(broker)
    topics.load_or_create("orders")
    Path(broker.topics_directory, "orders", "meta.json").write_bytes(content)

    with pytest.raises(CorruptRecordError, match=r"orders/meta\.json"):
        topics.load("orders")
    topics.delete("orders")

    assert topics.names() == []


def test_a_topic_directory_without_meta_json_is_damaged_not_unknown(broker: Broker) -> None:
    topics = Topics(broker)
    topics.load_or_create("orders")
    Path(broker.topics_directory, "orders", "meta.json").unlink()

    with pytest.raises(CorruptRecordError, match="is missing"):
        topics.load("orders")


def test_collecting_removes_what_deaths_left_and_nothing_else(place: Path, broker: Broker) -> None:
    topics = Topics(broker)
    topics.load_or_create("orders")
    instance = broker.identity.instance
    left = [
        place.parent / ".broker.new-00",
        Path(broker.creating_directory, "00000000000000aa"),
        Path(broker.memory_directory, "00000000000000bb"),
        Path(broker.topics_directory, "orders", "1"),
    ]
    for each in left:
        each.mkdir()
    files = [
        place / "broker.json.new-00112233aabbccdd",
        Path(broker.topics_directory, "orders", "meta.json.new-00112233aabbccdd"),
        Path(f"/dev/shm/sem.shmq-{instance}-1023-77"),
    ]
    for each in files:
        each.write_bytes(b"")

    report = collect(broker)

    assert set(report.removed) == {str(each) for each in left + files}
    assert report.problems == []
    assert topics.load("orders").partitions == 1
    assert collect(broker).removed == []


def test_the_shared_memory_of_a_broker_that_is_gone_is_removed_once_nobody_uses_it(place: Path) -> None:
    broker = open_broker(str(place))
    shutil.rmtree(place)

    in_use = collect_instance(broker.identity.instance)
    broker.close()
    unused = collect_instance(broker.identity.instance)

    assert in_use.removed == []
    assert unused.removed == [broker.memory_directory]
    assert not os.path.exists(broker.memory_directory)


def test_the_shared_memory_of_a_broker_that_moved_follows_it(place: Path, broker: Broker) -> None:
    moved = place.rename(place.parent / "moved")

    again = open_broker(str(moved))
    collect_instance(again.identity.instance)

    assert again.instance == broker.instance
    assert os.path.exists(broker.memory_directory)
    again.close()
