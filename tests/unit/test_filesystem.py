from __future__ import annotations

import os
from pathlib import Path

import pytest

from shmq.errors import StorageError
from shmq.store.filesystem import Mount, check_local, check_private, is_remote, mount_of, parse_mounts

MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:40 / /home rw,relatime shared:1 - nfs4 server:/home rw
31 30 0:41 / /home/me/my\040disk rw,relatime - ext4 /dev/vdb rw
32 27 0:42 /sub /srv/a rw,relatime master:2 propagate_from:1 - fuse.sshfs me@host:/ rw
33 27 0:43 / /data rw - xfs /dev/vdc rw
34 33 0:44 / /data rw - cifs //server/share rw
35 33 0:45 / /data/hidden rw - tmpfs tmpfs rw
36 27 0:46 / /dat rw - btrfs /dev/vdd rw
not a line of mountinfo
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/var/x", "ext4"),
        ("/proc/self", "proc"),  # listed before the root that it is mounted on
        ("/home/me/x", "nfs4"),
        ("/homes", "ext4"),  # a prefix of text, not of path
        ("/home/me/my disk/x", "ext4"),  # an escaped space
        ("/srv/a/x", "fuse.sshfs"),  # a bind mount, with optional fields
        ("/data/x", "cifs"),  # mounted over: the last one shows
        ("/data/hidden/x", "cifs"),  # mounted below what was mounted over
        ("/dat/x", "btrfs"),
    ],
)
def test_the_filesystem_of_a_path_is_found_as_the_kernel_finds_it(path: str, kind: str) -> None:
    mount = mount_of(path, parse_mounts(MOUNTS))

    assert mount is not None
    assert mount.kind == kind


def test_octal_escapes_are_undone() -> None:
    line = r"1 0 0:1 / /a\040b\011c\134d rw - ext4 x rw"

    assert parse_mounts(line) == [Mount("1", "0", "/a b\tc\\d", "ext4")]


def test_without_a_root_nothing_is_claimed() -> None:
    assert mount_of("/x", []) is None


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuseblk", "virtiofs"])
def test_network_and_fuse_filesystems_are_refused(kind: str) -> None:
    assert is_remote(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "f2fs", "ext2"])
def test_local_filesystems_are_not(kind: str) -> None:
    assert not is_remote(kind)


def test_a_directory_of_this_machine_passes(tmp_path: Path) -> None:
    check_local(str(tmp_path / "not" / "yet" / "there"))


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o777])
def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)

    with pytest.raises(StorageError, match=rf"{mode:04o}.*chmod 700"):
        check_private(str(tmp_path))


def test_a_directory_that_its_owner_may_not_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(StorageError, match="read-only"):
        check_private(str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)

    with pytest.raises(StorageError, match="belongs to user 12345"):
        check_private(str(tmp_path))


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StorageError, match="not a directory"):
        check_private(str(tmp_path / "file"))
