"""Options that several commands have, and the kinds of values that they take.

Owns: `--broker`, `--json`, NAME=VALUE, and text with backslash escapes.
Must never: open a broker while options are parsed.
Sits: under the commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from shmq.errors import KafkaConfigurationError
from shmq.store import broker_directory, open_broker

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Pair(click.ParamType[tuple[str, str]]):
    """NAME=VALUE."""

    name = "NAME=VALUE"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split at the first `=`."""
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not (name and equals):
            self.fail(f"{value!r} is not of the form NAME=VALUE", param, ctx)
        return name, text


class Escaped(click.ParamType[bytes]):
    r"""Text in which \n, \t, \0, \\ and \xNN stand for what a shell cannot well pass; taken as bytes."""

    name = "TEXT"

    def convert(self, value: str | bytes, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """Resolve the escapes; all else passes as the bytes that it is."""
        if isinstance(value, bytes):
            return value
        try:
            return os.fsencode(value).decode("unicode_escape").encode("latin-1")
        except UnicodeError as error:
            self.fail(f"{value!r} has an escape that is none ({error})", param, ctx)


def broker_option(command: _Command) -> _Command:
    """Add `--broker` as the parameter `broker`: an address, or None for the default one."""
    return click.option(
        "--broker",
        metavar="ADDRESS",
        callback=_checked_address,
        help="shm://name or shm:///directory; default: $SHMQ_BROKER, else shm://default.",
    )(command)


def json_option(command: _Command) -> _Command:
    """Add `--json` as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def pairs_dict(pairs: Iterable[tuple[str, str]], option: str) -> dict[str, str]:
    """Return NAME=VALUE pairs as a dict. Raises: click.UsageError: a name is given twice."""
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given:
            raise click.UsageError(f"{option}: {name} is given twice.")
        given[name] = value
    return given


def check_broker(broker: str | None) -> None:
    """Refuse an address where no broker is, since a mistyped one is not to become a new broker.

    Raises:
        BrokerNotFoundError, NotABrokerError, StorageError: see `store.open_broker`.
    """
    open_broker(broker_directory(broker), create=False).close()


def _checked_address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        broker_directory(value)
    except KafkaConfigurationError as error:
        raise click.BadParameter(f"{value!r} {error.problem}", ctx=ctx, param=param) from None
    return value
