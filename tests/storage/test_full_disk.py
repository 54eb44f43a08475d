"""No room: StorageFullError that says how much was wanted and how much is free; nothing is lost; room is enough to go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_disks import mounted, run_script


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    directory = tmp_path / "disk"
    directory.mkdir(mode=0o700)
    return directory


FILE_SYSTEMS = pytest.mark.parametrize("file_system", ["tmpfs", "ext4"])


@FILE_SYSTEMS
def test_a_send_that_finds_the_disk_full_says_so_and_goes_on_when_there_is_room(file_system: str, disk: Path) -> None:
    run_script(
        """
ballast(400_000)
with Producer(bootstrap_servers=address) as producer, Admin(bootstrap_servers=address) as admin:
    admin.create_topics({"t": {"configs": SEGMENT}})
    sent, error = fill(producer, "t")

    assert len(sent) > 100, len(sent)
    assert error.retriable and 60_000 < error.wanted_bytes <= 65536, error
    assert error.free_bytes < error.wanted_bytes, error
    assert str(error.wanted_bytes) in str(error) and str(error.free_bytes) in str(error), error
    assert error.path.endswith(".segment"), error
    assert not os.path.exists(error.path)
    again, _ = fill(producer, "t")
    assert again == []
    assert read("t") == sent and verify("t") == [None]

    os.unlink(directory + "/ballast")
    more = [b"more%d" % number + bytes(3000) for number in range(50)]
    offsets = [producer.send("t", value).get().offset for value in more]
    assert offsets == list(range(len(sent), len(sent) + 50))
    assert read("t") == sent + more and verify("t") == [None]
""",
        disk,
        mounted(file_system, disk, 3),
    )


@FILE_SYSTEMS
def test_a_spare_for_which_there_is_no_room_leaves_nothing_and_is_made_when_there_is(
    file_system: str, disk: Path
) -> None:
    run_script(
        """
ballast(400_000)
with Producer(bootstrap_servers=address) as producer, Admin(bootstrap_servers=address) as admin:
    admin.create_topics({"t": {"configs": SEGMENT}})
    sent, _ = fill(producer, "t")
    store = shmq.store.Topics(admin.broker)
    meta = store.load("t")
    files = sorted(os.listdir(meta.partition_directory(0)))
    with store.opened(meta) as [partition]:
        for _ in range(2):
            try:
                partition.prepare_spare()
                raise AssertionError("there was room")
            except StorageFullError as error:
                assert 60_000 < error.wanted_bytes <= 65536 and error.path.endswith(".segment"), error
        assert sorted(os.listdir(meta.partition_directory(0))) == files
        assert read("t") == sent and verify("t") == [None]

        os.unlink(directory + "/ballast")
        assert partition.prepare_spare()
        more, _ = fill(producer, "t")
        assert len(more) > 10 and read("t") == sent + more and verify("t") == [None]
""",
        disk,
        mounted(file_system, disk, 3),
    )


@FILE_SYSTEMS
def test_a_full_disk_refuses_a_batch_whole(file_system: str, disk: Path) -> None:
    run_script(
        """
with Producer(bootstrap_servers=address) as producer, Admin(bootstrap_servers=address) as admin:
    admin.create_topics({"t": {"configs": SEGMENT}})
    sent, _ = fill(producer, "t")
    try:
        producer.send_many("t", [bytes(1000)] * 40)
    except StorageFullError:
        pass
    else:
        raise AssertionError
    assert read("t") == sent
""",
        disk,
        mounted(file_system, disk, 3),
    )


def test_a_record_that_lingers_into_a_full_disk_fails_in_its_future(disk: Path) -> None:
    run_script(
        """
with Producer(bootstrap_servers=address, linger_ms=5, batch_size=50_000) as producer, Admin(bootstrap_servers=address) as admin:
    admin.create_topics({"t": {"configs": SEGMENT}})
    ballast(1 << 30)
    futures = [producer.send("t", bytes(10_000)) for _ in range(20)]
    told = []
    for future in futures:
        try:
            future.get(timeout=20)
        except StorageFullError as error:
            told.append(error.wanted_bytes)
    assert len(told) == 20, told
    os.unlink(directory + "/ballast")
    assert producer.send("t", b"found").get(timeout=20).offset == 0
assert read("t") == [b"found"]
""",
        disk,
        mounted("tmpfs", disk, 2),
    )


def test_retention_that_makes_room_is_not_stopped_by_a_disk_that_is_nearly_full(disk: Path) -> None:
    """A topic that has its bytes goes round in them: the oldest segment goes before the next is made."""
    run_script(
        """
with Producer(bootstrap_servers=address) as producer, Admin(bootstrap_servers=address) as admin:
    admin.create_topics({"t": {"configs": {"segment_bytes": 65536, "retention_bytes": 4 * 65536}}})
    for number in range(120):
        producer.send("t", b"%d" % number + bytes(3000))
    ballast(1 << 30)
    for number in range(120, 600):
        producer.send("t", b"%d" % number + bytes(3000))
    values = [int(value.rstrip(b"\\0")) for value in read("t")]
    assert values == list(range(values[0], 600)) and len(values) > 50, values
""",
        disk,
        mounted("tmpfs", disk, 2),
    )


@FILE_SYSTEMS
def test_a_topic_that_the_disk_has_no_room_for_is_not_created_and_leaves_nothing(file_system: str, disk: Path) -> None:
    run_script(
        """
with Admin(bootstrap_servers=address) as admin:
    admin.create_topics(["old"])
    ballast(1 << 30)
    try:
        admin.create_topics({"new": {"num_partitions": 20}})
    except StorageFullError as error:
        assert error.free_bytes < 40_000, error
    else:
        raise AssertionError
    assert admin.list_topics() == ["old"]
    assert os.listdir(directory + "/broker/creating") == []
    os.unlink(directory + "/ballast")
    admin.create_topics({"new": {"num_partitions": 20}})
    assert admin.list_topics() == ["new", "old"]
""",
        disk,
        mounted(file_system, disk, 3),
    )


@FILE_SYSTEMS
def test_a_broker_that_the_disk_has_no_room_for_is_not_made_and_leaves_nothing(file_system: str, disk: Path) -> None:
    run_script(
        """
ballast(1 << 30)
before = sorted(os.listdir(directory))
try:
    Admin(bootstrap_servers=address)
except StorageFullError as error:
    assert error.path.startswith(directory), error
else:
    raise AssertionError
assert sorted(os.listdir(directory)) == before
os.unlink(directory + "/ballast")
with Producer(bootstrap_servers=address) as producer:
    assert not producer.partitions_for("t") or read("t") == []
""",
        disk,
        mounted(file_system, disk, 3),
    )


def test_sixty_four_megabytes_of_shared_memory_give_an_error_and_never_sigbus(disk: Path) -> None:
    """Docker's default /dev/shm, and a topic in memory that would like a gigabyte."""
    run_script(
        """
with Producer(bootstrap_servers=address) as producer, Admin(bootstrap_servers=address) as admin:
    admin.create_topics({"t": {"configs": {"storage": "memory", "segment_bytes": 16 << 20}}})
    sent, error = fill(producer, "t", size=1_000_000)
    assert 40 < len(sent) < 64, len(sent)
    assert 16_000_000 < error.wanted_bytes and error.free_bytes < error.wanted_bytes, error
    assert read("t") == sent
    admin.delete_topics(["t"])
    admin.create_topics({"t": {"configs": {"storage": "memory", "segment_bytes": 16 << 20}}})
    with Producer(bootstrap_servers=address) as another:
        another.send("t", b"found")
    assert read("t") == [b"found"]
""",
        disk,
        mounted("tmpfs", disk, 2) + " && mount -t tmpfs -o size=64m tmpfs /dev/shm",
    )


def test_shared_memory_without_room_for_a_doorbell_is_a_storage_error(disk: Path) -> None:
    run_script(
        """
with Producer(bootstrap_servers=address) as producer, Admin(bootstrap_servers=address) as admin:
    admin.create_topics({"t": {"configs": SEGMENT}})
    with Consumer("t", bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        ballast(1 << 30, "/dev/shm/ballast")
        producer.send("t", b"first")
        assert [record.value for record in consumer.poll()[TopicPartition("t", 0)]] == [b"first"]
        try:
            consumer.poll(timeout_ms=50)
        except StorageError as error:
            assert "/dev/shm" in str(error) or "sem" in str(error), error
        else:
            raise AssertionError
        os.unlink("/dev/shm/ballast")
        assert consumer.poll(timeout_ms=50) == {}
""",
        disk,
        mounted("tmpfs", disk, 2) + " && mount -t tmpfs -o size=1m tmpfs /dev/shm",
    )


def test_a_broker_cannot_be_opened_while_shared_memory_is_full_and_can_be_afterwards(disk: Path) -> None:
    run_script(
        """
ballast(1 << 30, "/dev/shm/ballast")
try:
    Admin(bootstrap_servers=address)
except StorageError as error:
    assert "/dev/shm" in str(error), error
else:
    raise AssertionError
os.unlink("/dev/shm/ballast")
with Admin(bootstrap_servers=address) as admin:
    assert admin.create_topics(["t"])
""",
        disk,
        mounted("tmpfs", disk, 2) + " && mount -t tmpfs -o size=1m tmpfs /dev/shm",
    )


@pytest.mark.parametrize("handler", ["SIG_IGN", "SIG_DFL"])
def test_a_limit_on_file_sizes_is_storage_full_and_not_sigxfsz(handler: str, disk: Path) -> None:
    """RLIMIT_FSIZE; needs no rights, so this one runs everywhere."""
    run_script(
        f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.{handler})
with Producer(bootstrap_servers=address) as producer, Admin(bootstrap_servers=address) as admin:
    admin.create_topics({{"t": {{"configs": SEGMENT}}}})
    producer.send("t", b"before")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    sent, error = fill(producer, "t")
    assert 0 < len(sent) < 30, len(sent)
    assert (error.free_bytes, 60_000 < error.wanted_bytes <= 65536) == (50_000, True), error
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    producer.send("t", b"after")
    assert read("t") == [b"before", *sent, b"after"]
""",
        disk,
    )


@FILE_SYSTEMS
def test_committing_needs_no_room_and_a_file_of_offsets_is_made_and_grown_whole_or_not_at_all(
    file_system: str, disk: Path
) -> None:
    run_script(
        """
from shmq import _native
path = directory + "/t.offsets"
_native.create_offsets(path, 7, 2)
offsets = _native.Offsets(path, 7)
ballast(1 << 30)

for number in range(1000):
    offsets.commit(1, 0, number)
assert offsets.fence(1) == 1
for act in (lambda: offsets.grow(50_000), lambda: _native.create_offsets(directory + "/other.offsets", 7, 50_000)):
    try:
        act()
    except StorageFullError as error:
        assert 3_000_000 < error.wanted_bytes and error.free_bytes < error.wanted_bytes, error
        assert ".offsets" in str(error), error
    else:
        raise AssertionError
assert sorted(os.listdir(directory)) == ["ballast", "t.offsets"]
assert offsets.get(1)[:2] == (1, 999)
offsets.commit(1, 1, 1000)

os.unlink(directory + "/ballast")
offsets.grow(20_000)
offsets.commit(19_999, 0, 5)
again = _native.Offsets(path, 7)
assert (again.get(1)[1], again.get(19_999)[1]) == (1000, 5)
""",
        disk,
        mounted(file_system, disk, 3),
    )


def test_a_large_payload_for_which_there_is_no_room_leaves_nothing_and_free_files_make_way_for_it(disk: Path) -> None:
    run_script(
        """
from shmq.blobs import Blobs

MIB = 1 << 20
with Admin(bootstrap_servers=address) as admin, admin.broker.process() as process:
    os.mkdir(directory + "/queue")
    blobs = Blobs(directory + "/queue", process)
    first = blobs.write([b"1" * 4 * MIB])
    for _ in range(3):
        try:
            blobs.write([b"2" * 5 * MIB])
        except StorageFullError as error:
            assert error.wanted_bytes > 5 * MIB > error.free_bytes > 0, error
        else:
            raise AssertionError("there was room")
        assert len(os.listdir(directory + "/queue")) == 1

    assert blobs.read(first) == b"1" * 4 * MIB
    second = blobs.write([b"2" * 5 * MIB])
    assert blobs.read(second) == b"2" * 5 * MIB
    assert len(os.listdir(directory + "/queue")) == 1

    ballast(16 * MIB)
    assert blobs.place([b"3" * 100_000]) == b"3" * 100_000  # there may be room in the log
    blobs.close()
    assert os.listdir(directory + "/queue") == []
""",
        disk,
        mounted("tmpfs", disk, 8),
    )
