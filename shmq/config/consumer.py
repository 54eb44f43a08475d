"""What a consumer is made with, and what each of Kafka's words means on one host.

Owns: names, defaults, ranges and meaning of `Consumer`'s options.
Must never: act on an option.
Sits: in config; `Consumer` reads it.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

from .checks import INT32_MAX, Boolean, CallableOr, Checker, Choice, Number, UnfitError
from .client import ClientConfig
from .options import option

_OLD_RESET_WORDS = {"smallest": "earliest", "largest": "latest"}


class NoGroupYet(Checker):
    """None: there are no groups without a coordinator."""

    @property
    def allowed(self) -> str:
        """The one value."""
        return "None"

    def check(self, value: object) -> None:
        """Return None."""
        if value is not None:
            raise UnfitError("groups come with the coordinator; leave group_id out and use assign()")


class ResetWord(Choice):
    """Where to go from an offset that is not there; the words of Kafka before 0.9 are read with a warning."""

    def check(self, value: object) -> object:
        """Return the word in use today."""
        if isinstance(value, str) and value in _OLD_RESET_WORDS:
            now = _OLD_RESET_WORDS[value]
            warnings.warn(f"auto_offset_reset={value!r} is now called {now!r}", DeprecationWarning, stacklevel=6)
            value = now
        return super().check(value)


@dataclass(frozen=True, kw_only=True)
class ConsumerConfig(ClientConfig):
    """Options of `Consumer`. `auto_offset_reset` is held as "latest", "earliest" or "none"."""

    group_id: None = option(None, NoGroupYet(), "None; groups come with the coordinator.")
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
    fetch_max_wait_ms: float = option(
        500,
        Number(0, INT32_MAX, "ms", fractions=True),
        "How long `poll` waits for `fetch_min_bytes` once there is a first record.",
    )
    fetch_min_bytes: int = option(
        1,
        Number(0, INT32_MAX, "bytes"),
        "How many bytes of records `poll` would rather wait for.",
    )
    fetch_max_bytes: int = option(
        52_428_800,
        Number(0, INT32_MAX, "bytes"),
        "About how many bytes one `poll` takes at most over all partitions; a first record is taken whatever its size.",
    )
    max_partition_fetch_bytes: int = option(
        1_048_576,
        Number(0, INT32_MAX, "bytes"),
        "About how many bytes one `poll` takes at most from one partition; a first record is taken whatever its size.",
    )
    auto_offset_reset: str = option(
        "latest",
        ResetWord({"latest": "latest", "earliest": "earliest", "none": "none"}),
        "Where to begin without a position, or when the position is no longer there: at the end, at the beginning, "
        "or with an error.",
    )
    check_crcs: bool = option(
        True,
        Boolean(),
        "Whether each batch's CRC is checked as it is read; only topics with `crc=true` have them.",
    )
    max_poll_records: int = option(500, Number(1, INT32_MAX), "Most records that one `poll` returns.")
    consumer_timeout_ms: float = option(
        math.inf,
        Number(0, math.inf, "ms", fractions=True),
        "Iteration ends when no record came for so long.",
    )
    allow_auto_create_topics: bool = option(
        True,
        Boolean(),
        "Whether assigning a topic that does not exist makes it, with one partition and default options.",
    )
    exclude_internal_topics: bool = option(
        True,
        Boolean(),
        "No effect: the broker has no topics of its own yet.",
    )
    enable_auto_commit: bool = option(True, Boolean(), "No effect without a group.")
    auto_commit_interval_ms: float = option(
        5000,
        Number(0, INT32_MAX, "ms", fractions=True),
        "No effect without a group.",
    )
    retry_backoff_ms: float = option(
        100,
        Number(0, INT32_MAX, "ms", fractions=True),
        "No effect: nothing that a consumer does needs a second try.",
    )
    request_timeout_ms: float = option(
        30_000,
        Number(0, math.inf, "ms", fractions=True),
        "Longest wait for another administrator of the same broker when a topic is made by assigning it.",
    )
    metrics_enabled: bool = option(True, Boolean(), "Whether `metrics()` counts anything.")
    spin_us: float = option(
        20,
        Number(0, 1_000_000, "us", fractions=True),
        "How long a wait for records looks again and again before it sleeps; 0 sleeps at once.",
        ours=True,
    )
