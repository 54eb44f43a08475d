"""Brokers that cannot be used, through every client: spoilt directories, other versions, no process slot left."""

from __future__ import annotations

import json
import re
import shutil
from multiprocessing import Pipe
from pathlib import Path

import pytest

from shmq import Admin, Consumer, Producer, _native, errors


def make_broker(place: Path) -> None:
    with Admin(bootstrap_servers=f"shm://{place}") as admin:
        admin.create_topics(["t"])


def is_a_file(place: Path) -> None:
    place.write_text("")


def is_not_ours(place: Path) -> None:
    place.mkdir(mode=0o700)
    (place / "thesis.txt").write_text("years of work")


def is_open_to_others(place: Path) -> None:
    make_broker(place)
    place.chmod(0o755)


def is_of_another_version(place: Path) -> None:
    make_broker(place)
    path = place / "broker.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


def has_a_truncated_identity(place: Path) -> None:
    make_broker(place)
    path = place / "broker.json"
    path.write_text(path.read_text()[:20])


def has_a_zeroed_identity(place: Path) -> None:
    make_broker(place)
    path = place / "broker.json"
    path.write_bytes(bytes(path.stat().st_size))


def has_zeroed_processes(place: Path) -> None:
    make_broker(place)
    path = place / "procs"
    path.write_bytes(bytes(path.stat().st_size))


def has_truncated_processes(place: Path) -> None:
    make_broker(place)
    with (place / "procs").open("r+b") as file:
        file.truncate(5000)


def has_processes_of_another_version(place: Path) -> None:
    make_broker(place)
    with (place / "procs").open("r+b") as file:
        file.seek(8)
        file.write((99).to_bytes(4, "little"))


@pytest.fixture
def spoilt(request, tmp_path):
    """A directory that was spoilt; what its broker left in shared memory is removed afterwards."""
    place = tmp_path / "spoilt"
    request.param(place)
    yield place
    for owner in Path("/dev/shm").glob("shmq-*/broker"):
        if owner.is_file() and owner.read_text() == str(place):
            shutil.rmtree(owner.parent)


SPOILT = [
    (is_a_file, errors.NotABrokerError, "is not a directory"),
    (is_not_ours, errors.NotABrokerError, "'thesis.txt'.*choose another directory"),
    (is_open_to_others, errors.StorageError, "others may enter.*chmod 700"),
    (is_of_another_version, errors.UnsupportedVersionError, "format 99, this shmq reads 1"),
    (has_a_truncated_identity, errors.NotABrokerError, "20 bytes that are no JSON"),
    (has_a_zeroed_identity, errors.NotABrokerError, "no JSON"),
    (has_zeroed_processes, errors.CorruptSegmentError, "procs"),
    (has_truncated_processes, errors.CorruptSegmentError, "procs"),
    (has_processes_of_another_version, errors.UnsupportedVersionError, "format 99, this shmq reads 2"),
]


def contents(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("client", [Producer, Consumer])
@pytest.mark.parametrize(("spoilt", "error", "said"), SPOILT, indirect=["spoilt"])
def test_a_spoilt_directory_is_refused_and_left_as_it_is(spoilt, client, error, said):
    before = contents(spoilt)

    with pytest.raises(error, match=said) as refused:
        client(bootstrap_servers=f"shm://{spoilt}")

    assert str(spoilt) in str(refused.value)
    assert contents(spoilt) == before


@pytest.mark.parametrize(("spoilt", "error", "said"), SPOILT, indirect=["spoilt"])
def test_an_admin_refuses_a_spoilt_directory_too_or_tells_in_its_answer(spoilt, error, said):
    before = contents(spoilt)

    try:
        with Admin(bootstrap_servers=f"shm://{spoilt}") as admin:  # it looks at the processes only when it needs them
            (topic,) = admin.describe_topics(["t"])
            code, text = topic["error_code"], topic["error_message"]
    except error as refused:
        code, text = refused.error_code, str(refused)

    assert code == error.error_code
    assert re.search(said, text)
    assert str(spoilt) in text
    assert contents(spoilt) == before


def test_a_partition_of_another_version_is_refused_by_all_who_open_it(broker):
    place = broker.create()
    (control,) = broker.directory.rglob("control")
    with control.open("r+b") as file:
        file.seek(8)
        file.write((99).to_bytes(4, "little"))

    for call in (
        lambda: broker.producer().send("t", b"v"),
        lambda: broker.consumer("t"),
        lambda: broker.consumer().end_offsets([place]),
    ):
        with pytest.raises(errors.UnsupportedVersionError, match="control: format 99, this shmq reads"):
            call()
    (described,) = broker.admin.describe_topics(["t"])
    assert "control: format 99, this shmq reads" in described["error_message"]


# -- processes -------------------------------------------------------------------------------------------------------


def test_when_every_process_slot_is_taken_the_next_one_is_told_and_comes_in_when_one_ends(broker, wait_until):
    procs = broker.directory / "procs"
    procs.unlink()
    _native.create_procs(str(procs), int(broker.instance, 16), 2)
    mine = broker.producer()
    read, write = Pipe()

    def second():
        consumer = broker.consumer()
        read.recv()
        consumer.close()

    def third():
        for client in (Producer, Consumer):
            with pytest.raises(errors.TooManyProcessesError, match="all 2 process slots are taken") as refused:
                client(bootstrap_servers=broker.address)
        return refused.value

    def fourth():
        with broker.producer() as producer:
            return producer.send("t", b"v").get().offset

    other = broker.fork(second)
    wait_until(lambda: len(live(broker)) == 2)
    refused = broker.fork(third).result()
    write.send("end")
    other.result()
    offset = broker.fork(fourth).result()

    assert refused.retriable
    assert (offset, mine.send("t", b"v").get().offset) == (0, 1)


def live(broker) -> list:
    with broker.admin.broker.process() as process:
        return [row for row in process.slots() if row[3] == "live"]


def test_clients_of_one_process_share_a_slot(broker):
    procs = broker.directory / "procs"
    procs.unlink()
    _native.create_procs(str(procs), int(broker.instance, 16), 1)
    broker.create()

    for _ in range(20):
        broker.producer().send("t", b"v")
        broker.consumer("t")

    assert len(live(broker)) == 1
