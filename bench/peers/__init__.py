"""Every peer, in the order of the table, and which of them this machine has."""

import importlib
import importlib.metadata
from collections.abc import Sequence

from bench.peers.base import Channel, Mode, Peer, Send
from bench.peers.bulk import FasterFifoLists, MpQueueLists, ShmqMany
from bench.peers.cloudtoid import Cloudtoid
from bench.peers.fasterfifo import FasterFifo, FasterFifoMany
from bench.peers.iceoryx import Iceoryx2
from bench.peers.mp_pipe import MpPipe
from bench.peers.mp_queue import MpQueue
from bench.peers.mp_simplequeue import MpSimpleQueue
from bench.peers.pyzmq import PyZmq
from bench.peers.semaphore import Semaphore
from bench.peers.shmq_topic import ShmqDisk, ShmqMemory
from bench.peers.zeroq_queue import ZeroQ

__all__ = ["ALL", "Channel", "Mode", "Peer", "Send", "find_version", "pick_peers", "why_missing"]

ALL: tuple[type[Peer], ...] = (
    ShmqMemory,
    ShmqDisk,
    MpQueue,
    MpSimpleQueue,
    MpPipe,
    FasterFifo,
    FasterFifoMany,
    PyZmq,
    Iceoryx2,
    Cloudtoid,
    ZeroQ,
    Semaphore,
    ShmqMany,
    MpQueueLists,
    FasterFifoLists,
)


def pick_peers(names: Sequence[str], others: Sequence[str] = ()) -> list[type[Peer]]:
    """Return the peers whose names start with one of `names` (all for none).

    Raises:
        ValueError: a name of nobody, neither here nor among `others`, which single suites have.
    """
    known = [*(peer.name for peer in ALL), *others]
    for name in names:
        if not any(each.startswith(name) for each in known):
            raise ValueError(f"no peer is called {name!r}; there are {', '.join(known)}")
    return [peer for peer in ALL if not names or peer.name.startswith(tuple(names))]


def why_missing(peer: type[Peer]) -> str | None:
    """Return why a peer cannot run here, None if it can."""
    try:
        module = importlib.import_module(peer.module)
    except ImportError as error:
        return f"not installed ({error})"
    if peer.module == "shmq" and not hasattr(module, "Producer"):
        return "not installed (found the source directory, not a built package)"
    return None


def find_version(peer: type[Peer]) -> str:
    """Return the version of a peer's package, or say where it comes from."""
    if peer.package is None:
        return "standard library"
    try:
        return importlib.metadata.version(peer.package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
