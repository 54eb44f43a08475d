"""Topics in memory on a mount that gives large pages, and on one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_disks import mounted, run_script

TOPIC = """
configs = {"storage": "memory"}
with Admin(bootstrap_servers=address) as admin:
    admin.create_topics({"t": {"configs": configs}, "disk": {}})
    with Producer(bootstrap_servers=address) as producer:
        producer.send("t", bytes(1000))
        producer.send("disk", bytes(1000))
    partitions = [each["partitions"][0] for each in admin.describe_topics(["t", "disk"])]
    print(*[each["large_page_bytes"] for each in partitions], partitions[0]["bytes"])
"""


@pytest.mark.parametrize("huge", ["always", "never"])
def test_describe_topics_tells_whether_the_mount_gave_large_pages(tmp_path: Path, huge: str) -> None:
    mounted("tmpfs", tmp_path, 1)  # or skip
    directory = tmp_path / "broker-directory"
    directory.mkdir(mode=0o700)
    mount = f"mount -t tmpfs -o size=64m,mode=1777,huge={huge} tmpfs /dev/shm"

    printed = run_script(TOPIC, directory, mount)

    large_page_bytes, of_disk, total = printed.split()
    assert of_disk == "None"
    assert (int(large_page_bytes) >= int(total)) == (huge == "always")
