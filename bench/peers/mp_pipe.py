"""multiprocessing.Pipe: two system calls a record, no lock, no pickling."""

from collections.abc import Iterator

from bench.children import CONTEXT
from bench.peers.base import Channel, Mode, Peer, Send


class MpPipe(Peer):
    """One way (`duplex=False`: a pipe, not a socket pair); `send_bytes` is the call for bytes. Bounded by the pipe."""

    name = "mp-pipe"
    module = "multiprocessing"
    modes = frozenset({Mode.THROUGHPUT, Mode.ASLEEP})
    usage = "send_bytes / recv_bytes; copies: length header (up to 16 KiB), pipe in, pipe out, bytes of a buffer"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._reader, self._writer = CONTEXT.Pipe(duplex=False)

    def open_sender(self) -> Send:
        return self._writer.send_bytes

    def open_receiver(self) -> Iterator[bytes]:
        return self._values()

    def _values(self) -> Iterator[bytes]:
        receive = self._reader.recv_bytes
        while True:
            yield receive()

    def remove(self) -> None:
        self._reader.close()
        self._writer.close()
