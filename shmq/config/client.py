"""What every client takes, and how a client's keyword arguments become its config.

Owns: reading keyword arguments against a declaration, unknown names, and the options that all clients share.
Must never: resolve an address or touch a broker.
Sits: over `options` and `foreign`; `producer` and `consumer` declare the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from shmq.errors import KafkaConfigurationError

from .checks import Checker, Number, Text, UnfitError, shown
from .foreign import FOREIGN
from .options import option, options_of
from .suggest import did_you_mean

_Config = TypeVar("_Config", bound="ClientConfig")


class Servers(Checker):
    """Where the broker is: text, or a list of it as kafka-python takes; what it says is read by the store."""

    @property
    def allowed(self) -> str:
        """The forms."""
        return "shm://name, shm:///directory"

    def check(self, value: object) -> object:
        """Return the address or addresses."""
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, Sequence) and value and all(isinstance(each, str) for each in value):
            return tuple(value)
        raise UnfitError(f"must be text such as 'shm://default', or a list of it, not {shown(value)}")


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """Options of all clients. Make a subclass with `parse`; the constructor does not check."""

    bootstrap_servers: str | tuple[str, ...] | None = option(
        "localhost",
        Servers(),
        "Which broker. `localhost`, kafka-python's default, is the one that SHMQ_BROKER names, else `shm://default`.",
    )
    client_id: str | None = option(
        None,
        Text(optional=True),
        "Name of this client in metrics and messages; made up from its kind and a number when absent.",
        default_text="made up",
    )

    @classmethod
    def parse(cls: type[_Config], configs: Mapping[str, object]) -> _Config:
        """Return the config that a client's keyword arguments ask for.

        Args:
            configs: The client's keyword arguments, by kafka-python's names and ours.

        Raises:
            KafkaConfigurationError: unknown name, or a value that cannot be; it says what can.
        """
        options = options_of(cls)
        given: dict[str, Any] = {}
        for name, value in configs.items():
            if name in options:
                given[name] = options[name].parse(value, KafkaConfigurationError)
            else:
                _check_foreign(name, value, known=options.keys() | FOREIGN.keys())
        return cls(**cls._related(given))

    @classmethod
    def _related(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Return the values given, once the rules between options hold; for subclasses that have some."""
        return given


@dataclass(frozen=True, kw_only=True)
class AdminConfig(ClientConfig):
    """Options of `Admin`."""

    request_timeout_ms: float = option(
        30000,
        Number(0, float("inf"), "ms", fractions=True),
        "How long a call waits for another administrator of the same broker to finish.",
    )


def _check_foreign(name: str, value: object, known: set[str]) -> None:
    """Let an option pass that only kafka-python has a use for, if it asks for nothing."""
    if name not in FOREIGN:
        raise KafkaConfigurationError(name, shown(value), f"there is no such option{did_you_mean(name, known)}")
    default, reason = FOREIGN[name]
    if type(value) is not type(default) or value != default:
        raise KafkaConfigurationError(name, shown(value), reason)
