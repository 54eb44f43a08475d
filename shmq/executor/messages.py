"""What goes through the two queues of a pool: a tag, and mostly something packed.

Owns: the form of a message, the kinds there are, and how an exception travels.
Must never: unpack what a user sent before it is known whose it is.
Sits: left of the pool and the worker; over `packing`.

MESSAGE:   bytes, which queues are quick with:
             pos  size  field     meaning
               0     1  kind      below
               1     7  number    of the task; of READY, BROKEN and DIED that of the worker; little-endian
               8        packed    form of the kind's object; nothing where the object is None
           or if the packed form is large, or in parts: a tuple of the first 8 bytes and the parts
"""

from __future__ import annotations

from concurrent.futures.process import _RemoteTraceback  # what ProcessPoolExecutor uses, and its users know
from pickle import PickleBuffer, PicklingError
from traceback import format_exception
from typing import Any

from shmq import packing

CALL, STOP = range(2)
"""To the workers: a call, see `calls`; end after this."""
RESULT, ERROR, UNWANTED, READY, BROKEN, DIED, WAKE = range(7)
"""To the parent: what the function returned; (packed exception, traceback); a cancelled task was taken from the queue;
a worker is set up; its initializer failed, traceback; it is dead; look at the pool's flags."""

Parts = list[packing.Part]
Message = bytes | tuple[Any, ...]
_HEAD_BYTES = 8


def form(kind: int, number: int, packed: Parts | None = None) -> Message:
    """Return a message."""
    head = (number << 8 | kind).to_bytes(_HEAD_BYTES, "little")
    if packed is None:
        return head
    if len(packed) == 1 and len(packed[0]) < packing.OUT_OF_BAND_BYTES:
        return head + packed[0]
    return head, *map(PickleBuffer, packed)


def parse(message: Message) -> tuple[int, int, Any]:
    """Return the kind, the number, and what is packed behind them."""
    if isinstance(message, bytes):
        return message[0], int.from_bytes(message[1:_HEAD_BYTES], "little"), message[_HEAD_BYTES:]
    head, *parts = message
    return head[0], int.from_bytes(head[1:], "little"), parts


def unpack(body: Any) -> Any:
    """Return what is packed in a message. Raises whatever unpickling raises."""
    if not body:
        return None
    return packing.loads(body) if isinstance(body, bytes) else packing.loads_parts(body)


def form_result(task: int, result: object) -> Message:
    """Return the message of a result, or of the error why it cannot be pickled."""
    try:
        return form(RESULT, task, None if result is None else packing.dumps(result))
    except BaseException as error:
        return form_error(task, error)


def form_error(task: int, error: BaseException, before: str = "") -> Message:
    """Return the message of an exception; of why it cannot be pickled, if it cannot."""
    text = before + "".join(format_exception(error))
    try:
        packed = packing.joined(packing.dumps(error))
    except BaseException as second:
        reason = PicklingError(f"{type(error).__name__}: {error}") if before else second
        return form_error(task, reason, f"{text}\nThis exception cannot be pickled:\n\n")
    return form(ERROR, task, packing.dumps((packed, text)))


def unpack_error(body: Any) -> BaseException:
    """Return the exception of an ERROR, or what unpickling it has raised; its cause is the traceback in the worker."""
    packed, text = unpack(body)
    try:
        error = packing.loads(packed)
        if not isinstance(error, BaseException):
            raise TypeError(f"an exception was pickled, and {type(error).__name__} came back")
    except BaseException as second:
        error = second
    error.__cause__ = remote_traceback(text)
    return error


def remote_traceback(text: str) -> Exception:
    """Return what is the cause of an error that has a traceback in another thread or process."""
    return _RemoteTraceback(f'\n"""\n{text}"""')  # type: ignore[arg-type]  # a text, in spite of typeshed
