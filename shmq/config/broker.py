"""Options of a broker as a whole.

Owns: their names, defaults, ranges and meaning.
Must never: touch the file that holds them.
Sits: in config; the store reads and writes it, the coordinator obeys it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shmq.errors import InvalidConfigurationError

from .checks import INT64_MAX, Number
from .options import option, options_of
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
        options = {name: each for each in options_of(cls).values() for name in each.names}
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name not in options:
                hint = did_you_mean(name, options)
                raise InvalidConfigurationError(name, repr(value), f"a broker has no such option{hint}")
            values[options[name].name] = options[name].parse(value, InvalidConfigurationError, text=True)
        return cls(**values)

    def to_json(self) -> dict[str, object]:
        """Return the options as plain values, by name."""
        return asdict(self)
