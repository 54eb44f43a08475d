"""What a share consumer is made with, and what each of Kafka's words means on one host.

Owns: names, defaults, ranges and meaning of `ShareConsumer`'s options, and the rules between them.
Must never: act on an option.
Sits: in config; `ShareConsumer` reads it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from shmq.errors import KafkaConfigurationError

from .checks import INT32_MAX, Boolean, CallableOr, Choice, Number, Text
from .groups import GroupName
from .options import option
from .reading import ReadingConfig

MOST_DELIVERIES = 100


@dataclass(frozen=True, kw_only=True)
class ShareConsumerConfig(ReadingConfig):
    """Options of `ShareConsumer`. `share_acknowledgement_mode` is held as "implicit" or "explicit"."""

    group_id: str = option(
        None,
        GroupName(),
        "The share group, any text; needed. A consumer group has other names.",
    )
    value_deserializer: Any = option(  # noqa: RUF009  # it returns dataclasses.field()
        None,
        CallableOr("deserialize"),
        "Makes a value of bytes: `f(bytes)`, or an object with `deserialize(topic, headers, bytes)`. A record for "
        "which it raises is released, and given up after `delivery_count_limit`.",
    )
    share_acknowledgement_mode: str = option(
        "implicit",
        Choice({"implicit": "implicit", "explicit": "explicit"}),
        "`implicit`: the next `poll`, or a commit, accepts all that the last `poll` returned. `explicit`: each record "
        "is acknowledged by `acknowledge`, before the next `poll`.",
    )
    max_poll_records: int = option(
        500,
        Number(1, INT32_MAX),
        "Most records that one `poll` takes, hence how many one consumer keeps from the others; 1 where each is slow.",
    )
    acquisition_lock_duration_ms: float = option(
        30_000,
        Number(1, math.inf, "ms"),
        "How long a record is with a consumer that says nothing, until it is delivered to another. The records of a "
        "process that died are at once. inf: for as long as the process lives. The same for all members of a group.",
    )
    delivery_count_limit: int = option(
        5,
        Number(1, MOST_DELIVERIES),
        "How often a record is delivered before it is given up.",
    )
    dead_letter_topic: str | None = option(
        None,
        Text(optional=True),
        "Where records go that are rejected or given up, with headers that say why. None: they are only counted.",
    )
    auto_offset_reset: str = option(
        "earliest",
        Choice({"earliest": "earliest", "latest": "latest"}),
        "Where a new group begins. Kafka's default is `latest`; a queue must not lose what was sent before its first "
        "worker came.",
    )
    allow_auto_create_topics: bool = option(
        True,
        Boolean(),
        "Whether a topic, or the dead-letter topic, that does not exist is made, with one partition.",
    )
    request_timeout_ms: float = option(
        30_000,
        Number(0, math.inf, "ms", fractions=True),
        "Longest wait for another administrator of the same broker while the group or a topic is made.",
    )

    @classmethod
    def _related(cls, given: dict[str, Any]) -> dict[str, Any]:
        """A group is needed: there is no reading as a queue without somebody who remembers what is done."""
        if given.get("group_id") is None:
            raise KafkaConfigurationError("group_id", "None", "a share consumer needs one; any text")
        return given
