"""What a producer is made with, and what each of Kafka's words means on one host.

Owns: names, defaults, ranges and meaning of `Producer`'s options, and the rules between them.
Must never: act on an option.
Sits: in config; `Producer` reads it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from shmq.errors import KafkaConfigurationError

from .checks import INT32_MAX, Boolean, CallableOr, Choice, Number
from .client import ClientConfig
from .options import option

_MAX_IN_FLIGHT_OF_IDEMPOTENCE = 5
_COMPRESSION = "compression does not exist here: records stay as they are in shared memory; leave it out"


@dataclass(frozen=True, kw_only=True)
class ProducerConfig(ClientConfig):
    """Options of `Producer`. `acks` is held as -1, 0 or 1."""

    key_serializer: Any = option(  # noqa: RUF009  # it returns dataclasses.field()
        None,
        CallableOr("serialize"),
        "Makes bytes of a key: `f(key)`, or an object with `serialize(topic, headers, key)`.",
    )
    value_serializer: Any = option(  # noqa: RUF009  # it returns dataclasses.field()
        None,
        CallableOr("serialize"),
        "Makes bytes of a value: `f(value)`, or an object with `serialize(topic, headers, value)`.",
    )
    enable_idempotence: bool = option(
        True,
        Boolean(),
        "An append is there once or not at all, whatever this says. As in Kafka, True together with `acks` other than "
        "all, `retries=0` or more than 5 in flight is refused.",
    )
    delivery_timeout_ms: float = option(
        120_000,
        Number(0, math.inf, "ms", fractions=True),
        "Longest time from `send` to its result, over waiting, lingering and trying again.",
    )
    acks: int = option(
        -1,
        Choice({0: 0, 1: 1, -1: -1, "all": -1}),
        "How many replicas must have a record. An append is complete before `send` returns and there is one replica, "
        "so 0, 1 and all behave the same.",
    )
    compression_type: None = option(
        None,
        Choice({None: None}, refused=dict.fromkeys(("gzip", "snappy", "lz4", "zstd"), _COMPRESSION)),
        "None: records lie in shared memory as they are.",
    )
    retries: float = option(
        math.inf,
        Number(0, math.inf),
        "How often an append is tried again that others undid because this process was stopped in the middle of it; "
        "there are at most 3 attempts.",
    )
    batch_size: int = option(
        16384,
        Number(0, INT32_MAX, "bytes"),
        "With `linger_ms`, a partition's waiting records are appended once they are this many bytes.",
    )
    linger_ms: float = option(
        0,
        Number(0, INT32_MAX, "ms", fractions=True),
        "How long a record may wait for others to be appended with; at 0, `send` appends at once.",
    )
    partitioner: Any = option(  # noqa: RUF009  # it returns dataclasses.field()
        None,
        CallableOr("partition"),
        "Chooses a record's partition: an object with kafka-python's `partition(...)`, or "
        "`f(key_bytes, all_partitions, available_partitions)`. None: murmur2 of the key; without a key, one partition "
        "for a while, then another.",
    )
    max_block_ms: float = option(
        60_000,
        Number(0, math.inf, "ms", fractions=True),
        "Longest wait of `send` for room in a topic with `retention=consumed`.",
    )
    max_request_size: int = option(
        1_048_576,
        Number(1, INT32_MAX, "bytes"),
        "Largest record, with key and headers, that this producer sends; the topic's `max_message_bytes` holds too.",
    )
    allow_auto_create_topics: bool = option(
        True,
        Boolean(),
        "Whether sending to a topic that does not exist makes it, with one partition and default options.",
    )
    max_in_flight_requests_per_connection: int = option(
        5,
        Number(1, INT32_MAX),
        "Appends of one producer to one partition are always one after another, whatever this says.",
    )
    retry_backoff_ms: float = option(
        100,
        Number(0, INT32_MAX, "ms", fractions=True),
        "No effect: an append that was undone is tried again at once, since nothing is overloaded.",
    )
    request_timeout_ms: float = option(
        30_000,
        Number(0, math.inf, "ms", fractions=True),
        "Longest wait for another administrator of the same broker when a topic is made by sending to it.",
    )
    metrics_enabled: bool = option(True, Boolean(), "Whether `metrics()` counts anything.")

    @classmethod
    def _related(cls, given: dict[str, Any]) -> dict[str, Any]:
        """As in kafka-python, asking for idempotence and against it is an error; by default it yields."""
        conflicts = [
            name
            for name, conflicting in (
                ("acks", given.get("acks", -1) != -1),
                ("retries", given.get("retries", math.inf) == 0),
                (
                    "max_in_flight_requests_per_connection",
                    given.get("max_in_flight_requests_per_connection", 1) > _MAX_IN_FLIGHT_OF_IDEMPOTENCE,
                ),
            )
            if conflicting
        ]
        if conflicts and given.get("enable_idempotence"):
            name = conflicts[0]
            raise KafkaConfigurationError(
                name,
                str(given[name]),
                "cannot go with enable_idempotence=True, which needs acks='all', retries of 1 or more and at most "
                f"{_MAX_IN_FLIGHT_OF_IDEMPOTENCE} in flight; leave one of the two out",
            )
        return {"enable_idempotence": False, **given} if conflicts else given
