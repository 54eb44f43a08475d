"""From an object to the bytes that lie in a queue, and back.

Owns: pickling with multiprocessing's reducers, large buffers out of band (pickle 5), and the form that joins them.
Must never: copy a large buffer before it lies in shared memory, or hold on to an object that was packed.
Sits: left of the queues; `blobs` writes what comes from here, and knows nothing of what it means.

PACKED FORM: a pickle stream as it is (it begins with 0x80), or if there are buffers out of band, little-endian:

  pos  size  field           meaning
    0     1  kind            0x50
    4     4  buffers         n, at least 1
    8     8  stream_bytes
   16   8 n  buffer_bytes    of each buffer
  16+8n      stream          then each buffer, at the next multiple of 64
"""

from __future__ import annotations

import copyreg
import operator
import pickle
import struct
from collections.abc import Callable, Sequence
from itertools import accumulate
from multiprocessing.reduction import ForkingPickler
from typing import Any

from shmq._native import pickle_plain

Part = bytes | bytearray | memoryview
Reducer = Callable[[Any], Any]

OUT_OF_BAND_BYTES = 65536
"""Buffers from here on travel out of band; below, a copy costs less than keeping accounts of them."""

_PROTOCOL = 5
_PICKLED, _PACKED = 0x80, 0x50
_HEAD = struct.Struct("<B3xIQ")
_ALIGNMENT = 64
_MOST_CLASSES = 1000
_unpickle = pickle.loads  # a global of ours is found faster


def dumps(obj: Any) -> list[Part]:
    """Return the packed form of an object, in parts whose concatenation it is.

    Args:
        obj: Whatever `multiprocessing.Queue` takes; reducers from `ForkingPickler.register` and `copyreg` apply.

    Returns:
        1 part for most objects. Arrays, `bytes` and other buffers of 64 KiB and more are parts of their own and are not
        copied: until the parts are joined or written, their memory must not change.

    Raises:
        Whatever pickling raises: PicklingError, TypeError, AttributeError, or what a reducer of the user's raises.

    Safe from any thread, and within a reducer.
    """
    if (plain := pickle_plain(obj)) is not None:
        return [plain]
    try:
        packer = _idle.pop()
    except IndexError:
        packer = _Packer()
    parts = packer.pack(obj)
    _idle.append(packer)  # not after an error: what it holds then is garbage
    return parts


def loads(data: Part) -> Any:
    """Return the object that a packed form stands for.

    Args:
        data: The form in one piece. Arrays out of band are views of it, if it is writable; else of one copy.

    Raises:
        pickle.UnpicklingError: these bytes are no packed form; the message says why.
        And whatever unpickling raises.
    """
    try:
        kind = data[0]
    except IndexError:
        raise pickle.UnpicklingError("no packed object: 0 bytes") from None
    if kind == _PICKLED:
        return _unpickle(data)  # nobody but this user writes to a queue's directory
    if kind != _PACKED:
        raise pickle.UnpicklingError(f"no packed object: {len(data)} bytes that begin with {kind:#04x}")
    return _loads_packed(memoryview(data).cast("B"))


def loads_parts(parts: Sequence[Part]) -> Any:
    """Return the object of a packed form that is still in parts, as `dumps` gave them. Large ones are not copied."""
    if parts[0][0] != _PACKED:
        return loads(parts[0] if len(parts) == 1 else b"".join(parts))
    _, count, _ = _HEAD.unpack_from(parts[0])
    stream = parts[1 : len(parts) - 2 * count]
    return _unpickle(joined(stream), buffers=parts[len(parts) - 2 * count + 1 :: 2])


def joined(parts: Sequence[Part]) -> bytes:
    """Return the packed form in one piece; one part as it is, more of them copied once."""
    return parts[0] if len(parts) == 1 and isinstance(parts[0], bytes) else b"".join(parts)


def size_of(parts: Sequence[Part]) -> int:
    """Return how many bytes the packed form has."""
    return len(parts[0]) if len(parts) == 1 else sum(map(len, parts))


class _Reducers(dict[type, Reducer]):
    """What a pickler asks how to reduce an object: multiprocessing's and copyreg's tables, as they are now.

    Classes that are in neither are kept here, since asking Python code about each object would take longer than
    pickling it. `refresh` forgets them when one of the tables has grown.
    """

    def __init__(self) -> None:
        super().__init__()
        self.extra: dict[type, Reducer] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
        self.common: dict[type, Reducer] = copyreg.dispatch_table
        self.known = 0  # how many entries both had

    def refresh(self) -> None:
        self.known = len(self.extra) + len(self.common)
        self.clear()

    def __missing__(self, cls: type) -> Reducer:
        reducer = self.extra.get(cls) or self.common.get(cls)
        if reducer is None:
            if issubclass(cls, type):
                raise KeyError(cls)  # a class is pickled by its name
            reducer = _reduce_array if cls.__module__ == "numpy" and cls.__name__ == "ndarray" else _reduce
            if len(self) >= _MOST_CLASSES:
                self.clear()
            self[cls] = reducer
        return reducer


class _Packer:
    """One pickler, used again and again: making one would take longer than most dumps."""

    def __init__(self) -> None:
        self._chunks: list[Part | pickle.PickleBuffer] = []
        self._buffers: list[memoryview] = []
        self._reducers = _Reducers()
        self.write = self._chunks.append  # a chunk is 64 KiB of the stream, or a large bytes or bytearray, not copied
        pickler = pickle.Pickler(self, _PROTOCOL, buffer_callback=self._keep)
        pickler.dispatch_table = self._reducers
        self._dump, self._clear_memo = pickler.dump, pickler.clear_memo

    def pack(self, obj: Any) -> list[Part]:
        reducers = self._reducers
        if reducers.known != len(reducers.extra) + len(reducers.common):
            reducers.refresh()
        self._dump(obj)
        self._clear_memo()
        chunks = self._chunks
        if len(chunks) == 1 and not self._buffers:
            return [chunks.pop()]  # type: ignore[list-item]  # one chunk alone is the pickler's own bytes
        parts: list[Part] = [each.raw() if isinstance(each, pickle.PickleBuffer) else each for each in chunks]
        chunks.clear()
        return parts if not self._buffers else self._with_buffers(parts)

    def _keep(self, buffer: pickle.PickleBuffer) -> bool:
        """Asked by the pickler: shall this buffer lie in the stream?"""
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND_BYTES:
            return True
        self._buffers.append(view)
        return False

    def _with_buffers(self, stream: list[Part]) -> list[Part]:
        buffers = [*self._buffers]
        self._buffers.clear()
        sizes = [each.nbytes for each in buffers]
        stream_bytes = sum(map(len, stream))
        parts = [_HEAD.pack(_PACKED, len(sizes), stream_bytes) + struct.pack(f"<{len(sizes)}Q", *sizes), *stream]
        end = len(parts[0]) + stream_bytes
        for buffer in buffers:
            parts += [bytes(-end % _ALIGNMENT), buffer]
            end += -end % _ALIGNMENT + buffer.nbytes
        return parts


_idle: list[_Packer] = []
"""Packers that nobody is using: as many as threads, and reducers in them, have ever packed at once."""
_reduce: Reducer = operator.methodcaller("__reduce_ex__", _PROTOCOL)


def _reduce_array(array: Any) -> Any:
    """Reduce an array as numpy does, but shorter; a read-only one arrives writable, as through multiprocessing.

    Most arrays are numbers in one piece; numpy's own way takes twice as long, mostly for a description of the dtype.
    """
    flags = array.flags
    if flags.c_contiguous and (char := (_char_of or _learn_chars()).get(id(array.dtype))):
        reduced = restore_array, (pickle.PickleBuffer(array), char, array.shape)
    else:
        reduced = array.__reduce_ex__(_PROTOCOL)
    if flags.writeable or not array.size or not isinstance(reduced[1][0], pickle.PickleBuffer):
        return reduced
    rebuild, (buffer, *rest) = reduced
    return rebuild, (pickle.PickleBuffer(_writable_alias(buffer)), *rest)


def restore_array(data: Part, char: str, shape: tuple[int, ...]) -> Any:
    """Return an array over `data`: what a pickled array calls."""
    return (_array_type or _learn_array_type())(shape, char, data)


_char_of: dict[int, str] = {}
"""Of numpy's own dtypes of numbers, by the id of the one object that each of them is."""
_array_type: Any = None


def _learn_chars() -> dict[int, str]:
    import numpy as np  # not at the top: who has no arrays needs no numpy

    _char_of.update({id(np.dtype(char)): char for char in "?bBhHiIlLqQefdFD"})
    return _char_of


def _learn_array_type() -> Any:
    import numpy as np

    global _array_type
    _array_type = np.ndarray
    return _array_type


def _writable_alias(buffer: pickle.PickleBuffer) -> Any:
    """The same memory, as a flat array that says that it may be written; pickle only reads it."""
    import numpy as np

    class Alias:
        memory = np.frombuffer(buffer.raw(), np.uint8)
        __array_interface__ = {**memory.__array_interface__, "data": (memory.ctypes.data, False)}  # noqa: RUF012

    return np.asarray(Alias())


def _loads_packed(data: memoryview) -> Any:
    """Unpickle a form with buffers out of band."""
    try:
        _, count, stream_bytes = _HEAD.unpack_from(data)
        sizes = struct.unpack_from(f"<{count}Q", data, _HEAD.size)
    except (struct.error, OverflowError, MemoryError):
        raise pickle.UnpicklingError(f"no packed object: its head does not fit {len(data)} bytes") from None
    begin = _HEAD.size + 8 * count
    ends = [*accumulate(sizes, lambda end, size: end + -end % _ALIGNMENT + size, initial=begin + stream_bytes)]
    if ends[-1] != len(data):
        raise pickle.UnpicklingError(f"no packed object: {len(data)} bytes, but its head says {ends[-1]}")
    whole = memoryview(bytearray(data)) if data.readonly else data
    buffers = [whole[end - size : end] for end, size in zip(ends[1:], sizes, strict=True)]
    return _unpickle(data[begin : begin + stream_bytes], buffers=buffers)
