"""From `bootstrap_servers` to a broker's directory.

Owns: the forms of an address, the default broker, and what SHMQ_BROKER may change.
Must never: touch the directory; `broker` does.
Sits: in store; every client passes its `bootstrap_servers` through here first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from shmq.config.checks import shown
from shmq.config.suggest import did_you_mean
from shmq.errors import KafkaConfigurationError

from .names import broken_broker_rule

SCHEME = "shm://"
DEFAULT_ADDRESS = "shm://default"
ENVIRONMENT_NAME = "SHMQ_BROKER"

_NOT_GIVEN = (None, "localhost")  # kafka-python's default stands for "not given"
_KAFKA = (
    "is not a local broker's address: shm://name, or shm:///directory; real Kafka clusters are reached with "
    "kafka-python for now"
)


def broker_directory(
    bootstrap_servers: str | Sequence[str] | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Return the absolute directory of the broker that an address names.

    Args:
        bootstrap_servers: `shm://name`, which lies under the user's data directory, or `shm:///directory`, alone or
            in a list of one. None and "localhost" are the broker that SHMQ_BROKER names, else `shm://default`.
        environment: In place of the process's own.

    Raises:
        KafkaConfigurationError: any other form; it says which are possible.
    """
    environment = os.environ if environment is None else environment
    if bootstrap_servers is not None and not isinstance(bootstrap_servers, str):
        if len(bootstrap_servers) != 1:
            raise _refusal("bootstrap_servers", bootstrap_servers, "must name one broker; there is no cluster here")
        bootstrap_servers = bootstrap_servers[0]
    if bootstrap_servers not in _NOT_GIVEN:
        return _directory("bootstrap_servers", str(bootstrap_servers), environment)
    if environment.get(ENVIRONMENT_NAME):
        return _directory(ENVIRONMENT_NAME, environment[ENVIRONMENT_NAME], environment)
    return _directory("bootstrap_servers", DEFAULT_ADDRESS, environment)


def named_brokers_directory(environment: Mapping[str, str]) -> str:
    """Return the directory under which brokers lie that have a name. Source: XDG Base Directory Specification."""
    data_home = environment.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data_home):  # the specification: a relative one is to be ignored
        home = environment.get("HOME") or os.path.expanduser("~")
        data_home = os.path.join(home, ".local", "share")
    return os.path.join(data_home, "shmq")


def _directory(option: str, address: str, environment: Mapping[str, str]) -> str:
    if not address.startswith(SCHEME):
        raise _refusal(option, address, _KAFKA + _nearest(address))
    place = address.removeprefix(SCHEME)
    if "\0" in place:
        raise _refusal(option, address, "has a zero character, which no path can have")
    if place.startswith("/"):
        directory = os.path.normpath(place)
        if directory.strip("/") == "":
            raise _refusal(option, address, "is the root directory; give a directory of the broker's own")
        return "/" + directory.lstrip("/")
    broken = broken_broker_rule(place)
    if broken:
        hint = f"; for a directory write {SCHEME}/absolute/path" if "/" in place or place.startswith("~") else ""
        raise _refusal(option, address, broken + hint)
    return os.path.join(named_brokers_directory(environment), place)


def _nearest(address: str) -> str:
    """Return a hint for an address that was probably meant to be a local one."""
    if address.startswith("/"):
        return f"; did you mean {SCHEME}{address}?"
    scheme, separator, place = address.partition(":")
    if separator and not place.isdigit() and did_you_mean(scheme, ["shm"]):
        return f"; did you mean {SCHEME}{place.removeprefix('//')}?"
    if not separator and broken_broker_rule(address) is None:
        return f"; did you mean {SCHEME}{address}?"
    return ""


def _refusal(option: str, value: object, problem: str) -> KafkaConfigurationError:
    return KafkaConfigurationError(option, shown(value), problem)
