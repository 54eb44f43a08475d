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

from shmq.errors import KafkaConfigurationError

from .checks import GIB, INT32_MAX, INT64_MAX, Boolean, ByteCount, CallableOr, Choice, Number, shown
from .groups import GroupName, Strategies
from .options import option
from .reading import ReadingConfig

_OLD_RESET_WORDS = {"smallest": "earliest", "largest": "latest"}


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
class ConsumerConfig(ReadingConfig):
    """Options of `Consumer`. `auto_offset_reset` is held as "latest", "earliest" or "none"."""

    group_id: str | None = option(
        None,
        GroupName(),
        "The group that this consumer is a member of; any text. None: no group, and nothing is committed.",
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
    max_poll_records: int = option(500, Number(1, INT32_MAX), "Most records that one `poll` returns.")
    values: str = option(
        "bytes",
        Choice({"bytes": "bytes", "memoryview": "memoryview"}),
        "What `record.value` is: `bytes`, copied out; or a read-only `memoryview` of the shared memory, which stays as "
        "it is for as long as the view lives. A `value_deserializer` is given the same.",
        ours=True,
    )
    max_pinned_bytes: int = option(
        GIB,
        ByteCount(0, INT64_MAX),
        "Most bytes of segments that the views of this whole process may keep from being used again; more than that is "
        "copied. Of several consumers, the one made last that names it decides.",
        ours=True,
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
    enable_auto_commit: bool = option(
        True,
        Boolean(),
        "Whether a member of a group commits by itself what earlier polls returned: in `poll` every so often, before a "
        "partition goes to another member, and on `close`.",
    )
    auto_commit_interval_ms: float = option(
        5000,
        Number(0, INT32_MAX, "ms", fractions=True),
        "How often.",
    )
    default_offset_commit_callback: Any = option(  # noqa: RUF009  # it returns dataclasses.field()
        None,
        CallableOr("__call__"),
        "Called as `f(offsets, error or None)` after each commit that `enable_auto_commit` made.",
    )
    group_instance_id: str | None = option(
        None,
        GroupName(),
        "Static identity: this member's partitions wait for it up to `session_timeout_ms` when it is gone.",
    )
    partition_assignment_strategy: tuple[str, ...] = option(
        ("range", "roundrobin"),
        Strategies(),
        "Who assigns partitions to members, best first; all members must have one in common. All of them move only the "
        "partitions that must move.",
    )
    session_timeout_ms: float = option(
        45_000,
        Number(1, INT32_MAX, "ms"),
        "A member whose process gives no sign of life for so long loses its partitions. A death is noticed at once.",
    )
    heartbeat_interval_ms: float = option(
        3000,
        Number(1, INT32_MAX, "ms"),
        "How often a member gives one; below `session_timeout_ms`, better at most a third of it.",
    )
    max_poll_interval_ms: float = option(
        300_000,
        Number(1, INT32_MAX, "ms"),
        "A member that does not `poll` for so long loses its partitions.",
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

    @classmethod
    def _related(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Refuse a session that no heartbeat could keep alive; warn of one that a single late one ends."""
        session = given.get("session_timeout_ms", 45_000)
        beat = given.get("heartbeat_interval_ms", 3000)
        if beat >= session:
            raise KafkaConfigurationError(
                "session_timeout_ms", str(session), f"must be above heartbeat_interval_ms, which is {beat}"
            )
        if beat * 3 > session:
            warnings.warn(
                f"heartbeat_interval_ms={beat} is more than a third of session_timeout_ms={session}: "
                "one heartbeat that comes late may cost the membership",
                UserWarning,
                stacklevel=4,
            )
        if given.get("group_instance_id") is not None and given.get("group_id") is None:
            raise KafkaConfigurationError("group_instance_id", shown(given["group_instance_id"]), "needs a group_id")
        return given
