"""A broker directory on a network or FUSE file system: refused by every client before anything is made there.

No such file system can be had everywhere. So the kernel's list of this process's mounts is covered by another one, with
`mount --bind`, in a namespace of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from small_disks import mounted, run_script


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs"])
def test_no_client_opens_or_makes_a_broker_there(tmp_path: Path, kind: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)

    run_script(
        f"""
import subprocess

Admin(bootstrap_servers=address).close()
listed = open("/proc/self/mountinfo").read().splitlines()
pretended = [line.split(" - ")[0] + " - {kind} source rw" if f" {{directory}} " in line else line for line in listed]
assert pretended != listed
mounts = directory + "-mounts"
with open(mounts, "w") as file:
    print(*pretended, sep="\\n", file=file)
subprocess.run(["mount", "--bind", mounts, f"/proc/{{os.getpid()}}/mountinfo"], check=True)
for place in (address, f"shm://{{directory}}/new"):
    for client in (Producer, Consumer, Admin):
        try:
            client(bootstrap_servers=place)
        except StorageError as error:
            assert f"is on {{directory}}, a {kind} filesystem" in str(error), error
            assert "choose a directory on a local disk" in str(error), error
        else:
            raise AssertionError(f"{{client}} opened {{place}}")
assert os.listdir(directory) == ["broker"]
""",
        disk,
        mounted("tmpfs", disk, 3),
    )
