"""What every error is: a class that carries its values as arguments and builds its message from them.

Owns: the base class, equality and pickling, and the errors that carry no values of their own.
Must never: import another room.
Sits: leftmost of the Python rooms; `caller`, `world` and `native` build on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, TypeVar, dataclass_transform

_Error = TypeVar("_Error", bound="ShmqError")
_UNKNOWN_SERVER_ERROR = -1


@dataclass_transform(eq_default=False, field_specifiers=(field,))
def valued(error: type[_Error]) -> type[_Error]:
    """Give an error class its values as fields; they become its arguments, hence what it pickles and compares by."""
    return dataclass(eq=False, repr=False)(error)


@dataclass(eq=False, repr=False, init=False)
class ShmqError(Exception):
    """Base of all errors here; `KafkaError` is another name of the same class.

    Attributes:
        retriable: Whether the same call may succeed later without anything being corrected.
        error_code: Kafka's protocol number of this error, -1 where Kafka has none.

    Source: KafkaError of kafka-python; codes from Kafka's protocol guide.
    """

    retriable: ClassVar[bool] = False
    error_code: ClassVar[int] = _UNKNOWN_SERVER_ERROR

    def __post_init__(self) -> None:
        self.args = tuple(getattr(self, each.name) for each in fields(self) if each.init)

    def __str__(self) -> str:
        return " ".join(str(each) for each in self.args) or type(self).__name__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShmqError) and type(self) is type(other) and self.args == other.args

    def __hash__(self) -> int:
        return hash((type(self), self.args))


KafkaError = ShmqError


class RetriableError(ShmqError):
    """The same call may succeed later."""

    retriable = True


class KafkaTimeoutError(RetriableError):
    """A wait ended before what it waited for."""


class IllegalArgumentError(ShmqError, ValueError):
    """A value that no state of the world would make right."""


class IllegalStateError(ShmqError):
    """The object is not in a state in which this can be done."""


class WakeupError(ShmqError):
    """`Consumer.wakeup()` ended this wait. Source: WakeupException of Kafka's Java client."""

    def __str__(self) -> str:
        return "the wait was ended by wakeup() from another thread; call again to go on"


@valued
class InternalError(ShmqError):
    """A fault in shmq itself."""

    what: str

    def __str__(self) -> str:
        return f"{self.what}; this is a fault in shmq, please report it"
