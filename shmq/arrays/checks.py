"""Is this array what the topic's items are? And if not: what it is instead, and what to do.

Owns: the comparison of dtype, byte order, shape and layout, and the words for each way of not fitting.
Must never: convert or copy: that is the caller's to decide.
Sits: under `sending` and `reserving`; over config's ItemType.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shmq.config import ItemType
from shmq.errors import TopicTypeError

if TYPE_CHECKING:
    import numpy as np

_NOTHING = "nothing was appended"
_BYTES = ("B", "b", "c")
_UNTYPED = "records of plain bytes"


def untyped(topic: str, advice: str) -> TopicTypeError:
    """Return the error of a call that needs items, for a topic that has none."""
    return TopicTypeError(topic, _UNTYPED, "typed items", f"{advice}, or make a topic with the options dtype and shape")


def checked_items(topic: str, item: ItemType, array: Any) -> np.ndarray[Any, Any]:
    """Return the items of an array, or of what numpy takes as one without a copy.

    Args:
        topic: For the message.
        item: What each item is.
        array: `(k, *shape)`; where the length of items varies: one item, `(n, *shape)`.

    Returns:
        `(k, *shape)`; `(1, n, *shape)` of an item whose length varies.

    Raises:
        TopicTypeError: another dtype, byte order or shape, Python objects, or not C-contiguous.
    """
    found = _as_array(topic, item, array)
    if item.varies:
        return _checked_one(topic, item, found)[None]
    if found.dtype != item.dtype or found.shape[1:] != item.shape or found.ndim == 0:
        raise _misfit(topic, item, found, ("k", *map(str, item.shape)))
    return _contiguous(topic, item, found)


def checked_item(topic: str, item: ItemType, value: Any) -> np.ndarray[Any, Any]:
    """Return one item as bytes, `(item_bytes,)` of uint8.

    Args:
        topic: For the message.
        item: What each item is.
        value: An array of its shape, or bytes of its size.

    Raises:
        TopicTypeError: it is neither.
    """
    import numpy as np

    if value is None:
        advice = f"{_NOTHING}; a typed topic has no records without a value"
        raise TopicTypeError(topic, f"items of {item}", "None", advice)
    if isinstance(value, (bytes, bytearray)) or (isinstance(value, memoryview) and value.format in _BYTES):
        view = memoryview(value)
        if not view.c_contiguous or not _is_size(item, view.nbytes):
            wanted = f"{item.item_bytes} bytes" if item.item_bytes else f"a multiple of {item.unit_bytes} bytes"
            advice = f"{_NOTHING}; an item is {wanted}, one after the other"
            raise TopicTypeError(topic, f"items of {item}", f"{view.nbytes} bytes", advice)
        return np.frombuffer(view, np.uint8)
    return as_bytes(_checked_one(topic, item, _as_array(topic, item, value)))


def as_bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a C-contiguous array's bytes, in place, whatever its dtype: not each can be had as a buffer."""
    import numpy as np

    return array.reshape(-1).view(np.uint8)


def _checked_one(topic: str, item: ItemType, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    shape = (array.shape[0], *item.shape) if item.varies and array.ndim else item.shape
    if array.dtype != item.dtype or array.shape != shape:
        raise _misfit(topic, item, array, (*(["n"] if item.varies else []), *map(str, item.shape)))
    if not array.size:
        advice = f"{_NOTHING}; an item without values has no bytes: leave it out"
        raise TopicTypeError(topic, f"items of {item}", f"an array {array.shape}", advice)
    return _contiguous(topic, item, array)


def _as_array(topic: str, item: ItemType, value: Any) -> np.ndarray[Any, Any]:
    """An array, or what lends its memory as one; lists would have to be copied, and guessed at."""
    import numpy as np

    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.generic) or hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return np.asarray(value)
    try:
        return np.asarray(memoryview(value))
    except TypeError:
        advice = f"{_NOTHING}; make an array of it: numpy.asarray(value, {_name(item.dtype)})"
        raise TopicTypeError(topic, f"items of {item}", f"an object of type {type(value).__name__}", advice) from None


def _contiguous(topic: str, item: ItemType, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.flags.c_contiguous:
        return array
    advice = f"{_NOTHING}; numpy.ascontiguousarray(array) makes a copy that is"
    given = f"an array whose items do not lie one after the other (strides {array.strides})"
    raise TopicTypeError(topic, f"C-contiguous items of {item}", given, advice)


def _misfit(topic: str, item: ItemType, array: np.ndarray[Any, Any], wanted: tuple[str, ...]) -> TopicTypeError:
    if array.dtype.hasobject:
        advice = f"its values are Python objects; make numbers of them: array.astype({_name(item.dtype)})"
    elif array.dtype != item.dtype and array.dtype.newbyteorder("=") == item.dtype:
        advice = "its byte order is another; array.astype(array.dtype.newbyteorder('=')) makes a copy that fits"
    elif array.dtype != item.dtype:
        advice = f"convert it: array.astype({_name(item.dtype)})"
    else:
        alone = array.shape == item.shape and not item.varies
        hint = "; array[None] makes it one item" if alone else ""
        advice = f"its shape must be ({', '.join(wanted)}{',' if len(wanted) == 1 else ''}){hint}"
    return TopicTypeError(
        topic, f"items of {item}", f"an array of {array.dtype} {array.shape}", f"{_NOTHING}; {advice}"
    )


def _is_size(item: ItemType, nbytes: int) -> bool:
    return nbytes > 0 and nbytes % item.unit_bytes == 0 and (item.varies or nbytes == item.unit_bytes)


def _name(dtype: np.dtype[Any]) -> str:
    return repr(str(dtype)) if dtype.names is None else "the topic's dtype"
