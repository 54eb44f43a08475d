"""A bare POSIX semaphore: the least that waking another process can cost from Python."""

from collections.abc import Iterator
from typing import Any

from bench.peers.base import Channel, Mode, Peer, Send


class Semaphore(Peer):
    """Carries nothing: the yardstick for the ping-pong asleep."""

    name = "semaphore"
    module = "posix_ipc"
    package = "posix_ipc"
    modes = frozenset({Mode.ASLEEP})
    usage = "release / acquire; carries nothing"
    carries_bytes = False

    def __init__(self, channel: Channel) -> None:
        import posix_ipc

        super().__init__(channel)
        self._name = f"/{channel.name}"
        posix_ipc.Semaphore(self._name, posix_ipc.O_CREX).close()

    def open_sender(self) -> Send:
        release = self._open().release
        return lambda _value: release()

    def open_receiver(self) -> Iterator[bytes]:
        return receive_from(self._open())

    def _open(self) -> Any:
        import posix_ipc

        return posix_ipc.Semaphore(self._name)

    def remove(self) -> None:
        import posix_ipc

        posix_ipc.unlink_semaphore(self._name)


def receive_from(semaphore: Any) -> Iterator[bytes]:
    """Return an empty value for each time the semaphore was released."""
    acquire = semaphore.acquire
    while True:
        acquire()
        yield b""
