"""Options of a broker as a whole.

Owns: their names, defaults, ranges and meaning.
Must never: touch the file that holds them.
Sits: in config; the store reads and writes it, the coordinator obeys it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from shmq.errors import InvalidConfigurationError

from .checks import INT64_MAX, Number
from .options import Option, option, options_of
from .suggest import did_you_mean


@dataclass(frozen=True)
class BrokerConfig:
    """Options of a broker. Make one with `parse`."""

    offsets_retention_ms: int = option(
        7 * 24 * 3600 * 1000,
        Number(0, INT64_MAX, "ms"),
        "A group without members is forgotten, with what it has committed, once it was empty for so long; then it "
        "holds no records back any more.",
    )

    @classmethod
    def parse(cls, given: Mapping[str, object]) -> BrokerConfig:
        """Return the config that `given` asks for; text stands for numbers. Raises: InvalidConfigurationError."""
        return cls().altered(given, ())

    def altered(self, changes: Mapping[str, object], reset: Iterable[str]) -> BrokerConfig:
        """Return the config with some options set, and others back at their defaults. Raises: as `parse`."""
        values: dict[str, Any] = {_option(name).name: _option(name).default for name in reset}
        for name, value in changes.items():
            values[_option(name).name] = _option(name).parse(value, InvalidConfigurationError, text=True)
        return replace(self, **values)

    def to_json(self) -> dict[str, object]:
        """Return the options as plain values, by name."""
        return asdict(self)


def _option(name: str) -> Option:
    options = {each_name: each for each in options_of(BrokerConfig).values() for each_name in each.names}
    if name not in options:
        raise InvalidConfigurationError(name, "", f"a broker has no such option{did_you_mean(name, options)}")
    return options[name]
