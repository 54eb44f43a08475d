"""Whether a place can hold a broker: a local filesystem, and a directory that is nobody else's.

Owns: finding a path's filesystem in the text of /proc/self/mountinfo, the list of those that cannot work, and the
check of owner and mode.
Must never: create or change anything.
Sits: in store, asked before a broker's directory is made and each time it is opened.
"""

from __future__ import annotations

import os
import re
import stat
from typing import NamedTuple

from shmq.errors import StorageError

from .files import storage_errors

_MOUNTS = "/proc/self/mountinfo"
_REMOTE = frozenset(
    """
    9p acfs afs beegfs ceph cifs coda drvfs fuse fuseblk gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs
    panfs prl_fs pvfs2 smb3 smbfs vboxsf virtiofs vmhgfs wekafs
    """.split()  # noqa: SIM905  # a list of words reads as one
)


class Mount(NamedTuple):
    """One line of mountinfo: `point` is where it is mounted, `kind` the filesystem's type."""

    mount_id: str
    parent_id: str
    point: str
    kind: str


def parse_mounts(text: str) -> list[Mount]:
    """Return the mounts that a mountinfo text lists, in its order. Source: proc_pid_mountinfo(5)."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if separator and len(fields) >= 5:
            mounts.append(Mount(fields[0], fields[1], _unescaped(fields[4]), after.split(" ")[0]))
    return mounts


def mount_of(path: str, mounts: list[Mount]) -> Mount | None:
    """Return the mount that an absolute path without symlinks lies on, None if the list has no root.

    Walks as the kernel does, from the root mount to the child that the path meets first, and so on. Only thus is a
    mount hidden that lies under a later one, while one that is merely listed earlier is not.
    """
    known = {each.mount_id for each in mounts}
    roots = [each for each in mounts if each.point == "/" and (each.parent_id not in known - {each.mount_id})]
    here = roots[-1] if roots else None
    while here is not None:
        beneath = [
            each
            for each in mounts
            if each.parent_id == here.mount_id and each is not here and _covers(each.point, path)
        ]
        if not beneath:
            break
        first_met = min(len(each.point) for each in beneath)
        here = [each for each in beneath if len(each.point) == first_met][-1]
    return here


def check_local(path: str) -> None:
    """Refuse a path on a network or FUSE filesystem. Those parts of it that do not exist yet do not matter.

    Raises:
        StorageError: naming the filesystem, the reason and what to do.
    """
    with storage_errors(_MOUNTS, "cannot be read"), open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
        mount = mount_of(os.path.realpath(path), parse_mounts(file.read()))
    if mount is not None and is_remote(mount.kind):
        raise StorageError(
            path,
            f"is on {mount.point}, a {mount.kind} filesystem; processes must see each other's stores to mapped files "
            "and record locks at once, which network and FUSE filesystems do not promise; choose a directory on a "
            "local disk (bootstrap_servers='shm:///directory')",
        )


def is_remote(kind: str) -> bool:
    """Return whether a filesystem of this type cannot hold a broker."""
    return kind in _REMOTE or kind.startswith("fuse.")


def check_private(path: str) -> None:
    """Refuse a directory that another user owns or may enter, or that its owner may not write.

    Raises:
        StorageError: saying what it is, what it must be, and how to make it so.
    """
    with storage_errors(path, "cannot be looked at"):
        status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISDIR(status.st_mode):
        raise StorageError(path, "is not a directory; choose another place")
    if status.st_uid != os.geteuid():
        raise StorageError(
            path,
            f"belongs to user {status.st_uid}, this process runs as {os.geteuid()}; choose a directory of your own",
        )
    if mode & 0o077:
        raise StorageError(path, f"has mode {mode:04o}, so others may enter; it must be 0700: chmod 700 {path}")
    if mode & 0o700 != 0o700 or not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise StorageError(path, f"is read-only (mode {mode:04o}); it must be writable: chmod 700 {path}, or remount")


def _covers(point: str, path: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def _unescaped(field: str) -> str:
    """Undo mountinfo's octal escapes of space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
