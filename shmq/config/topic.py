"""What a topic is made with: the declaration of every topic option, and the rules between them.

Owns: names, defaults, ranges and meaning of topic options; which of them were given and which follow defaults.
Must never: know where a topic lies or whether it exists.
Sits: in config; store keeps it in meta.json and hands `native()` to the C core.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from shmq.errors import InvalidConfigurationError

from .checks import GIB, INT32_MAX, INT64_MAX, KIB, MIB, Boolean, ByteCount, Choice, Number, shown
from .items import DtypeText, ItemType, ShapeText
from .options import Option, option, options_of
from .ring import hot_ring
from .suggest import did_you_mean

MIN_RING_SLOTS, MAX_RING_SLOTS = 1024, 65536
_RING_SLOTS_PER_SEGMENT = 4
_SPARE_SLOTS = 2  # one segment being prepared, one being retired
_DEFAULT_MAX_MESSAGE_BYTES = MIB + 12  # Kafka's: 1 MiB of records and its batch overhead

_BOUNDED = "a ring is bounded, so Kafka's -1 (no limit) is not possible; give the most bytes that a partition may keep"
_COMPACT = "compaction does not exist here; 'delete' or 'consumed' is possible"
_KAFKA_ONLY = """
    compression.type delete.retention.ms file.delete.delay.ms flush.messages flush.ms index.interval.bytes
    local.retention.bytes local.retention.ms max.compaction.lag.ms message.downconversion.enable
    message.format.version message.timestamp.after.max.ms message.timestamp.before.max.ms
    message.timestamp.difference.max.ms min.cleanable.dirty.ratio min.compaction.lag.ms min.insync.replicas
    preallocate remote.storage.enable segment.index.bytes segment.jitter.ms segment.ms unclean.leader.election.enable
"""


@dataclass(frozen=True, kw_only=True)
class TopicConfig:
    """The options of one topic, all of them, checked. Make it with `parse`; the constructor does not check.

    Attributes:
        explicit: The options that were given; the others follow defaults, and may move when these are altered.
    """

    segment_bytes: int = option(
        16 * MIB,
        ByteCount(64 * KIB, 512 * MIB),
        "Size of one segment file. A partition is a ring of them, and grows and shrinks by whole ones.",
        default_text="16777216; in memory 2097152, or more for large records or a large `retention_bytes`",
    )
    retention_bytes: int = option(
        GIB,
        ByteCount(128 * KIB, INT64_MAX, refused={-1: _BOUNDED}),
        "Most bytes that one partition keeps; at least 2 segments.",
        default_text="1073741824; in memory 16777216, or 8 segments",
    )
    retention_ms: int = option(
        7 * 24 * 60 * 60 * 1000,
        Number(-1, INT64_MAX, "ms"),
        "With `retention=delete`, a segment is dropped once it and its records are older, when a new one is begun or "
        "by the coordinator; -1 is never.",
    )
    retention: str = option(
        "delete",
        Choice({"delete": "delete", "consumed": "consumed"}, refused={"compact": _COMPACT, "compact,delete": _COMPACT}),
        "What a full ring does: `delete` drops the oldest segment (Kafka's `cleanup.policy=delete`, accepted as the "
        "same); `consumed` lets producers wait until every reader is past it.",
        ours=True,
    )
    max_message_bytes: int = option(
        _DEFAULT_MAX_MESSAGE_BYTES,
        ByteCount(1, INT32_MAX),
        "Largest record; at most 7/8 of `segment_bytes`, less 8192.",
        default_text="1048588, or what fits a segment",
    )
    storage: str = option(
        "disk",
        Choice({"disk": "disk", "memory": "memory"}),
        "Where segments lie: `disk` in the broker's directory (survives a reboot), `memory` in /dev/shm (does not).",
        ours=True,
        alterable=False,
    )
    crc: bool = option(
        True,
        Boolean(),
        "Whether each batch carries a CRC32C.",
        ours=True,
        default_text="true on disk, false in memory",
    )
    message_timestamp_type: str = option(
        "CreateTime",
        Choice({"CreateTime": "CreateTime", "LogAppendTime": "LogAppendTime"}),
        "Whose clock a record's timestamp is from: the one that `send` was given or took, or the append's own.",
    )
    claim_timeout_ms: int = option(
        1000,
        Number(10, 600_000, "ms"),
        "How long a stopped producer may hold up readers in the middle of an append before the append is undone; "
        "a dead one's is undone at once.",
        ours=True,
    )
    dtype: str | None = option(
        None,
        DtypeText(),
        "Makes the topic typed: each record is an item of this numpy dtype and of `shape`, without headers. Structured "
        "ones as `x:f4,y:i8` or as numpy prints them; no Python objects, little-endian.",
        ours=True,
        alterable=False,
        default_text="none: records are bytes",
    )
    shape: str = option(
        "",
        ShapeText(),
        "With `dtype`: the shape of an item. `*` first: each item is an array of a length of its own.",
        ours=True,
        alterable=False,
        default_text="one value",
    )
    explicit: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, options: Mapping[str, object]) -> TopicConfig:
        """Return the options given, checked one by one and together, with defaults for the rest.

        Args:
            options: By our name, Kafka's dotted one, or `shmq.` and the dotted one for options that Kafka lacks.
                Values may be text, as Kafka has them; numbers of bytes may have a unit: "16MiB".

        Raises:
            InvalidConfigurationError: unknown or doubled name, or a value that cannot be; it says what can.
        """
        return cls._completed(_checked(options))

    def altered(
        self, changes: Mapping[str, object], reset: Collection[str] = (), ring_slots: int | None = None
    ) -> TopicConfig:
        """Return these options with some changed.

        Args:
            changes: As for `parse`.
            reset: Names of options that shall follow their defaults again.
            ring_slots: Slots of the ring that the topic was created with; None if none was created yet.

        Raises:
            InvalidConfigurationError: as `parse`; or an option that cannot be altered; or a retention for which the
                ring is too small.
        """
        changed, dropped = _checked(changes), {topic_option(name).name for name in reset}
        given = {name: getattr(self, name) for name in self.explicit - dropped} | changed
        after = self._completed(given)
        for name, each in TOPIC_OPTIONS.items():
            if not each.alterable and getattr(after, name) != getattr(self, name):
                raise _refusal(name, getattr(after, name), f"is {getattr(self, name)!r} for the life of the topic")
        most = (ring_slots or MAX_RING_SLOTS) - _SPARE_SLOTS
        if after.segments > most:
            raise _refusal(
                "retention_bytes",
                after.retention_bytes,
                f"needs {after.segments} segments of {after.segment_bytes} bytes, but the topic's ring was created "
                f"for {most}; {most * after.segment_bytes} bytes is the most; raise segment_bytes, or make a new topic",
            )
        return after

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TopicConfig:
        """Return the options that `to_json` stored. Raises: InvalidConfigurationError: something there cannot be."""
        stored_explicit = stored.get("explicit")
        if not isinstance(stored_explicit, list):
            raise _refusal("explicit", stored_explicit, "must be a list of option names")
        explicit = frozenset(topic_option(str(name)).name for name in stored_explicit)
        values = {name: stored[name] for name in TOPIC_OPTIONS if name in stored}
        unknown = sorted(stored.keys() - values.keys() - {"explicit"})
        if unknown:
            topic_option(unknown[0])
        return dataclasses.replace(cls._completed(_checked(values)), explicit=explicit)

    def to_json(self) -> dict[str, object]:
        """Return all options as plain values, for meta.json."""
        return {name: getattr(self, name) for name in TOPIC_OPTIONS} | {"explicit": sorted(self.explicit)}

    @property
    def item_type(self) -> ItemType | None:
        """What each record is, None where records are bytes."""
        return None if self.dtype is None else ItemType(self.dtype, self.shape)

    @property
    def segments(self) -> int:
        """How many segments `retention_bytes` allows; at least 2."""
        return self.retention_bytes // self.segment_bytes

    @property
    def ring_slots(self) -> int:
        """Slots of the ring to create: room to raise retention fourfold, within bounds."""
        return min(max(MIN_RING_SLOTS, _RING_SLOTS_PER_SEGMENT * self.segments), MAX_RING_SLOTS)

    def native(self) -> dict[str, Any]:
        """Return the options as the C core takes them, as keyword arguments."""
        return {
            "segment_bytes": self.segment_bytes,
            "retention_bytes": self.retention_bytes,
            "retention_ms": self.retention_ms,
            "retention": ("delete", "consumed").index(self.retention),
            "max_message_bytes": self.max_message_bytes,
            "crc": self.crc,
            "timestamp_type": ("CreateTime", "LogAppendTime").index(self.message_timestamp_type),
            "claim_timeout_ms": self.claim_timeout_ms,
            # On disk a page that was written back and dropped would be read again before it is overwritten.
            "reuse": self.storage == "memory",
            "item_bytes": self.item_type.item_bytes if self.item_type is not None else 0,
        }

    @classmethod
    def _completed(cls, given: Mapping[str, Any]) -> TopicConfig:
        """Fill in defaults, some of which follow other options, and check the rules between options."""
        bare = cls(**given)
        follow: dict[str, Any] = {"crc": bare.storage == "disk"}
        if bare.storage == "memory":
            item = 0 if bare.item_type is None else bare.item_type.item_bytes
            follow |= hot_ring(given, max(item, given.get("max_message_bytes", 0)))
        bare = cls(**{**follow, **given})
        limit = max_message_bytes_of(bare.segment_bytes)
        item_bytes = _checked_item_bytes(bare, limit)
        follow["max_message_bytes"] = min(max(_DEFAULT_MAX_MESSAGE_BYTES, item_bytes), limit)
        config = cls(**{**follow, **given}, explicit=frozenset(given))
        if config.max_message_bytes < item_bytes:
            raise _refusal(
                "max_message_bytes",
                config.max_message_bytes,
                f"is less than an item of {config.item_type}, which has {item_bytes} bytes; leave it out",
            )
        if config.max_message_bytes > limit:
            needed = segment_bytes_for(config.max_message_bytes)
            raise _refusal(
                "max_message_bytes",
                config.max_message_bytes,
                f"does not fit a segment: segment_bytes is {config.segment_bytes}, which allows {limit}; "
                f"raise segment_bytes to {needed} or more",
            )
        if config.segments < 2:
            raise _refusal(
                "retention_bytes",
                config.retention_bytes,
                f"must hold at least 2 segments of segment_bytes={config.segment_bytes}: {2 * config.segment_bytes}",
            )
        if config.segments > MAX_RING_SLOTS - _SPARE_SLOTS:
            most = (MAX_RING_SLOTS - _SPARE_SLOTS) * config.segment_bytes
            raise _refusal(
                "retention_bytes",
                config.retention_bytes,
                f"is {config.segments} segments of segment_bytes={config.segment_bytes}; {most} bytes is the most, "
                "or raise segment_bytes",
            )
        return config


TOPIC_OPTIONS: dict[str, Option] = options_of(TopicConfig)
_BY_NAME = {name: each for each in TOPIC_OPTIONS.values() for name in each.names}
_BY_NAME["cleanup.policy"] = _BY_NAME["cleanup_policy"] = TOPIC_OPTIONS["retention"]


def max_message_bytes_of(segment_bytes: int) -> int:
    """Return the largest `max_message_bytes` that a segment of this size allows."""
    return segment_bytes * 7 // 8 - 8192


def segment_bytes_for(message_bytes: int) -> int:
    """Return the smallest `segment_bytes` that allows records of this size."""
    return -(-(message_bytes + 8192) * 8 // 7)


def topic_option(name: object) -> Option:
    """Return the option of this name, in any of its forms. Raises: InvalidConfigurationError: there is none."""
    if isinstance(name, str) and name in _BY_NAME:
        return _BY_NAME[name]
    if isinstance(name, str) and name.replace("_", ".") in _KAFKA_ONLY.split():
        raise InvalidConfigurationError(name, "", "is an option of Kafka's that topics here do not have; leave it out")
    hint = did_you_mean(str(name), _BY_NAME) or f"; the options are {', '.join(TOPIC_OPTIONS)}"
    raise InvalidConfigurationError(str(name), "", f"there is no such topic option{hint}")


def _checked(options: Mapping[str, object]) -> dict[str, Any]:
    """Resolve names and check values one by one."""
    given: dict[str, Any] = {}
    for name, value in options.items():
        found = topic_option(name)
        if found.name in given:
            raise _refusal(name, value, f"the option {found.name!r} is given twice, under two names")
        given[found.name] = found.parse(value, InvalidConfigurationError, text=True)
    return given


def _checked_item_bytes(config: TopicConfig, limit: int) -> int:
    """Bytes of an item, 0 where there are none or they vary. Refuses a shape without a dtype, and too large ones."""
    item = config.item_type
    if item is None:
        if config.shape:
            raise _refusal("shape", config.shape, "needs a dtype, such as dtype=float32")
        return 0
    if item.unit_bytes > limit:
        raise _refusal(
            "shape",
            config.shape,
            f"makes an item of {item} {item.unit_bytes} bytes large, but segment_bytes={config.segment_bytes} allows "
            f"{limit}; raise segment_bytes to {segment_bytes_for(item.unit_bytes)} or more",
        )
    return item.item_bytes


def _refusal(name: str, value: object, problem: str) -> InvalidConfigurationError:
    return InvalidConfigurationError(name, shown(value), problem)
