"""From a user's keys and values to bytes, and back.

Owns: the three forms that a serializer may have, and saying where one failed.
Must never: change the type of an error that a user's own code raised, or run anything of the user's twice.
Sits: left of producer and consumer; serializers run in the caller's thread, before anything is appended.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

Header = tuple[str, bytes]
Buffer = bytes | bytearray | memoryview
Serialize = Callable[[str, Sequence[Header], Any], "Buffer | None"]
Deserialize = Callable[[str, Sequence[Header], "bytes | None"], Any]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Serializer(ABC):
    """Makes bytes of keys or values. Source: kafka-python's class of this name."""

    @abstractmethod
    def serialize(self, topic: str, headers: Sequence[Header], data: Any) -> Buffer | None:
        """Return `data` as bytes, or None for a record without it; whatever it raises, `send` raises."""

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """Called once by the producer's `close()`."""


class Deserializer(ABC):
    """Makes keys or values of bytes. Source: kafka-python's class of this name."""

    @abstractmethod
    def deserialize(self, topic: str, headers: Sequence[Header], data: bytes | None) -> Any:
        """Return what `data` stands for; whatever it raises, `poll` raises."""

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """Called once by the consumer's `close()`."""


def bind_serializer(serializer: Any, option: str) -> Serialize | None:
    """Return one function for what `key_serializer` or `value_serializer` may be; None for None.

    Args:
        serializer: None, `f(data)`, an object with `serialize(topic, headers, data)`, or one with
            `serialize(topic, data)`.
        option: The option's name, for messages.

    Returns:
        `f(topic, headers, data)`. What the user's code raises keeps its type and gets a note that names the option
        and the topic. A result that is neither bytes-like nor None is a TypeError.
    """
    if serializer is None:
        return None
    call = _bind(serializer, "serialize")

    def serialize(topic: str, headers: Sequence[Header], data: Any) -> Buffer | None:
        try:
            made = call(topic, headers, data)
        except Exception as error:
            error.add_note(f"raised by {option} for topic {topic!r}; nothing was appended")
            raise
        return as_buffer(made, topic, f"what {option} returned")

    return serialize


def bind_deserializer(deserializer: Any, option: str) -> Deserialize | None:
    """Return one function for what `key_deserializer` or `value_deserializer` may be; see `bind_serializer`."""
    if deserializer is None:
        return None
    call = _bind(deserializer, "deserialize")

    def deserialize(topic: str, headers: Sequence[Header], data: bytes | None) -> Any:
        try:
            return call(topic, headers, data)
        except Exception as error:
            error.add_note(f"raised by {option} for topic {topic!r}")
            raise

    return deserialize


def as_buffer(data: Any, topic: str, what: str) -> Buffer | None:
    """Return `data` if it can be appended as it is.

    Args:
        data: Bytes-like, or None.
        topic: Where it was to go, for the message.
        what: "the value", "the key" or the like, for the message.

    Raises:
        TypeError: it is neither; nothing was appended.
    """
    if data is None or isinstance(data, (bytes, bytearray, memoryview)):
        return data
    try:
        return memoryview(data)
    except TypeError:
        raise TypeError(
            f"{what} for topic {topic!r} is of type {type(data).__name__}, not bytes-like or None; nothing was "
            "appended; set value_serializer or key_serializer (such as str.encode) to make bytes of it"
        ) from None


def close_serdes(*serdes: Any) -> None:
    """Call `close()` of those that have one."""
    for each in serdes:
        close = getattr(each, "close", None)
        if callable(close):
            close()


def _bind(serde: Any, method_name: str) -> Callable[[str, Sequence[Header], Any], Any]:
    """Find out once which form a serde has, so that a TypeError from inside it is never taken for a wrong form."""
    method = getattr(serde, method_name, None)
    if not callable(method):
        return lambda _topic, _headers, data: serde(data)
    if isinstance(serde, (Serializer, Deserializer)) or not _takes_two(method):
        return method  # type: ignore[no-any-return]  # the user's
    return lambda topic, _headers, data: method(topic, data)


def _takes_two(method: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(method).parameters.values()
    except ValueError:  # some built-in methods tell nothing of themselves
        return False
    required = [each for each in parameters if each.kind in _POSITIONAL and each.default is each.empty]
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    open_ended = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    return len(required) <= 2 and len(positional) == 2 and not open_ended
