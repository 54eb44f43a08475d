"""Directories and file systems that cannot be written: StorageError that says so; nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_disks import mounted, run_script


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    directory = tmp_path / "disk"
    directory.mkdir(mode=0o700)
    return directory


# Root may write everywhere, so these become another user first, in a directory of that user's.
AS_NOBODY = """
import encodings.ascii, encodings.idna, tempfile  # they are not readable for everybody everywhere
if os.geteuid() == 0:
    place = tempfile.mkdtemp(prefix="shmq-nobody-", dir="/tmp")
    os.chown(place, 65534, 65534)
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    directory = place
    address = f"shm://{directory}/broker"

    @atexit.register
    def remove_place():
        for path, _, _ in os.walk(place):
            os.chmod(path, 0o700)
        shutil.rmtree(place)
"""


def test_a_broker_on_a_read_only_file_system_cannot_be_opened(disk: Path) -> None:
    run_script(
        """
with Producer(bootstrap_servers=address) as producer, Admin(bootstrap_servers=address) as admin:
    admin.create_topics({"t": {"configs": SEGMENT}})
    producer.send("t", b"v")
assert os.system(f"mount -o remount,ro {directory}") == 0
for client in (Producer, Consumer, Admin):
    try:
        client(bootstrap_servers=address)
    except StorageError as error:
        assert "read-only" in str(error).lower(), error
    else:
        raise AssertionError(client)
assert os.system(f"mount -o remount,rw {directory}") == 0
assert read("t") == [b"v"]
""",
        disk,
        mounted("tmpfs", disk, 3),
    )


def test_no_broker_is_made_on_a_read_only_file_system(disk: Path) -> None:
    run_script(
        """
assert os.system(f"mount -o remount,ro {directory}") == 0
try:
    Admin(bootstrap_servers=address)
except StorageError as error:
    assert "Read-only file system" in str(error), error
else:
    raise AssertionError
assert os.listdir(directory) == []
""",
        disk,
        mounted("tmpfs", disk, 3),
    )


def test_a_read_only_broker_directory_is_refused_with_what_to_do(disk: Path) -> None:
    run_script(
        AS_NOBODY
        + """
with Producer(bootstrap_servers=address) as producer, Admin(bootstrap_servers=address) as admin:
    admin.create_topics({"t": {"configs": SEGMENT}})
    producer.send("t", b"v")
os.chmod(directory + "/broker", 0o500)
for client in (Producer, Consumer, Admin):
    try:
        client(bootstrap_servers=address)
    except StorageError as error:
        assert "read-only" in str(error) and "chmod 700" in str(error), error
    else:
        raise AssertionError(client)
os.chmod(directory + "/broker", 0o700)
assert read("t") == [b"v"]
""",
        disk,
    )


def test_a_log_that_cannot_make_its_next_segment_says_so_and_goes_on_when_it_can(disk: Path) -> None:
    run_script(
        AS_NOBODY
        + """
with Producer(bootstrap_servers=address) as producer, Admin(bootstrap_servers=address) as admin:
    admin.create_topics({"t": {"configs": SEGMENT}})
    producer.send("t", b"first")
    partition = directory + "/broker/topics/t/0"
    os.chmod(partition, 0o500)
    sent = [b"first"]
    try:
        for number in range(1000):
            value = b"%d" % number + bytes(3000)
            producer.send("t", value)
            sent.append(value)
    except StorageError as error:
        assert "Permission denied" in str(error) and partition in str(error), error
    else:
        raise AssertionError
    assert 10 < len(sent) < 30, len(sent)
    assert read("t") == sent
    os.chmod(partition, 0o700)
    producer.send("t", b"last")
    assert read("t") == [*sent, b"last"] and verify("t") == [None]
""",
        disk,
    )


def test_files_that_cannot_be_opened_are_a_storage_error(disk: Path) -> None:
    run_script(
        AS_NOBODY
        + """
with Producer(bootstrap_servers=address) as producer, Admin(bootstrap_servers=address) as admin:
    admin.create_topics({"t": {"configs": SEGMENT}})
    producer.send("t", b"v")
for name in ("*.segment", "control"):
    (path,) = glob.glob(directory + "/broker/topics/t/0/" + name)
    for mode in (0o000, 0o400):
        os.chmod(path, mode)
        try:
            read("t")
        except StorageError as error:
            assert "Permission denied" in str(error) and path in str(error), error
        else:
            raise AssertionError(path)
    os.chmod(path, 0o600)
assert read("t") == [b"v"]
""",
        disk,
    )
