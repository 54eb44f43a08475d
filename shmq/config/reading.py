"""What all consumers are made with.

Owns: the options that `Consumer` and `ShareConsumer` have alike.
Must never: act on an option.
Sits: in config, under the options of either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .checks import Boolean, CallableOr, Number
from .client import ClientConfig
from .options import option


@dataclass(frozen=True, kw_only=True)
class ReadingConfig(ClientConfig):
    """Options of what reads records."""

    key_deserializer: Any = option(  # noqa: RUF009  # it returns dataclasses.field()
        None,
        CallableOr("deserialize"),
        "Makes a key of bytes: `f(bytes)`, or an object with `deserialize(topic, headers, bytes)`.",
    )
    value_deserializer: Any = option(  # noqa: RUF009  # it returns dataclasses.field()
        None,
        CallableOr("deserialize"),
        "Makes a value of bytes: `f(bytes)`, or an object with `deserialize(topic, headers, bytes)`.",
    )
    check_crcs: bool = option(
        True,
        Boolean(),
        "Whether each batch's CRC is checked as it is read; only topics with `crc=true` have them.",
    )
    consumer_timeout_ms: float = option(
        math.inf,
        Number(0, math.inf, "ms", fractions=True),
        "Iteration ends when no record came for so long.",
    )
    metrics_enabled: bool = option(True, Boolean(), "Whether `metrics()` counts anything.")
    spin_us: float = option(
        20,
        Number(0, 1_000_000, "us", fractions=True),
        "How long a wait for records looks again and again before it sleeps; 0 sleeps at once.",
        ours=True,
    )
