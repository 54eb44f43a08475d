"""The language of clients and coordinator: JSON objects in frames over a Unix socket.

Owns: framing, its limits, and the names of messages.
Must never: unpickle, or believe a length that it was told.
Sits: left of groups; client and coordinator speak it.

A frame is a length (4 bytes, big-endian, at most `MAX_FRAME_BYTES`) and a JSON object in UTF-8, which has a `type`.

    client to coordinator
      hello   protocol                                 the first frame; answered by `welcome` or `error`
      join    group, and the fields of events.Join      `owned` and places as [topic, topic_id, partition]
      beat    poll_age_ms
      done    number                                   answers `assign`, once it is carried out
      leave   for_good
      request id, name, arguments                       administration; answered by `reply` with the same id

    coordinator to client
      welcome protocol, term, pid
      assign  number, generation, strategy, places       each as [topic, topic_id, partition, epoch]
      expel   reason
      bye                                                a leave is known for good; then it hangs up
      error   error, detail                              an error's name in shmq.errors, and its text; then it hangs up
      reply   id, and `result`, or `error` and `detail`

One connection carries one member at most.
"""

from __future__ import annotations

import json
import struct
from typing import Any

PROTOCOL = 1
MAX_FRAME_BYTES = 4 << 20
_LENGTH = struct.Struct(">I")

Message = dict[str, Any]


class FrameError(ValueError):
    """What came is no frame of this protocol."""


def encode(message: Message) -> bytes:
    """Return a message as a frame. Raises: FrameError: it is larger than a frame may be."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"a message of {len(body)} bytes; a frame holds {MAX_FRAME_BYTES}")
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Cuts a stream of bytes into messages; holds no more than one frame and what came with it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take in bytes and return the messages that are complete now.

        Raises:
            FrameError: this is not the protocol; nothing that follows can be understood.
        """
        self._buffer += data
        messages = []
        while len(self._buffer) >= _LENGTH.size:
            length = _LENGTH.unpack_from(self._buffer)[0]
            if length > MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {length} bytes was announced; {MAX_FRAME_BYTES} are allowed")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(_parse(bytes(self._buffer[_LENGTH.size : end])))
            del self._buffer[:end]
        return messages


def _parse(body: bytes) -> Message:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a frame of {len(body)} bytes that is no JSON: {error}") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise FrameError("a frame without a type")
    return message
