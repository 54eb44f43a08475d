"""The shapes in which kafka-python's admin client returns results, filled from what the store says.

Owns: the names of their fields, and Kafka's error codes in them.
Must never: touch a broker.
Sits: under `admin`, beside `admin_forms`, which reads arguments.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from shmq.admin_forms import enum_of
from shmq.config import BrokerConfig, TopicConfig
from shmq.config.checks import Boolean, Number
from shmq.config.options import Option, options_of
from shmq.config.topic import TOPIC_OPTIONS, topic_option
from shmq.errors import ShmqError
from shmq.types import ConfigFilterType

_ONLY_BROKER = 0


class Results:
    """What became of each topic of a call, in Kafka's form."""

    def __init__(self, raise_errors: bool) -> None:
        self._raise_errors = raise_errors
        self._results: list[dict[str, Any]] = []
        self._first_error: ShmqError | None = None

    @contextlib.contextmanager
    def of(self, start: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Take down what becomes of one topic, `start` at first; an error from within is noted, not raised."""
        result = {**start, "error_code": 0, "error_message": None}
        self._results.append(result)
        try:
            yield result
        except ShmqError as error:
            result |= {"error_code": error.error_code, "error_message": str(error)}
            self._first_error = self._first_error or error

    def finish(self) -> list[dict[str, Any]]:
        """Return all results, or raise the first error if that was asked for."""
        if self._raise_errors and self._first_error:
            raise self._first_error
        return self._results


def described_partition(number: int, stats: dict[str, int], large_page_bytes: int | None) -> dict[str, Any]:
    """Return one entry of "partitions" of `Admin.describe_topics`."""
    return {
        "error_code": 0,
        "partition_index": number,
        "leader_id": _ONLY_BROKER,
        "leader_epoch": 0,
        "replica_nodes": [_ONLY_BROKER],
        "isr_nodes": [_ONLY_BROKER],
        "offline_replicas": [],
        "beginning_offset": stats["begin"],
        "end_offset": stats["end"],
        "bytes": stats["bytes"],
        "segments": stats["segments"],
        "large_page_bytes": large_page_bytes,
    }


def described_options(
    config: TopicConfig, names: Iterable[str] | None, include_synonyms: bool, config_filter: object
) -> dict[str, dict[str, Any]]:
    """Return one topic's entry of `Admin.describe_configs`; `names` None means all options."""
    wanted = enum_of(ConfigFilterType, config_filter)
    asked = TOPIC_OPTIONS.keys() if names is None else {topic_option(name).name for name in names}
    return {
        each.dotted: _described_option(each, config, include_synonyms)
        for each in TOPIC_OPTIONS.values()
        if each.name in asked and _passes(each, config, wanted)
    }


def described_broker(config: BrokerConfig) -> dict[str, dict[str, Any]]:
    """Return the broker's entry of `Admin.describe_configs`."""
    return {
        each.dotted: {
            "value": _text(getattr(config, each.name)),
            "read_only": False,
            "config_source": "DYNAMIC_BROKER_CONFIG"
            if getattr(config, each.name) != each.default
            else "DEFAULT_CONFIG",
            "is_sensitive": False,
            "synonyms": [],
            "config_type": "LONG",
            "documentation": each.doc,
        }
        for each in options_of(BrokerConfig).values()
    }


def _passes(option: Option, config: TopicConfig, wanted: ConfigFilterType) -> bool:
    given = option.name in config.explicit
    return {
        ConfigFilterType.ALL: True,
        ConfigFilterType.DYNAMIC: option.alterable,
        ConfigFilterType.MODIFIED: given,
        ConfigFilterType.DEFAULT: not given,
        ConfigFilterType.STATIC: False,
    }[wanted]


def _described_option(option: Option, config: TopicConfig, include_synonyms: bool) -> dict[str, Any]:
    value = _text(getattr(config, option.name))
    source = "DYNAMIC_TOPIC_CONFIG" if option.name in config.explicit else "DEFAULT_CONFIG"
    synonyms = [{"name": option.dotted, "value": value, "source": source}]
    if option.name in config.explicit:
        synonyms.append({"name": option.dotted, "value": _text(option.default), "source": "DEFAULT_CONFIG"})
    kinds = {Boolean: "BOOLEAN", Number: "LONG"}
    return {
        "value": value,
        "read_only": not option.alterable,
        "config_source": source,
        "is_sensitive": False,
        "synonyms": synonyms if include_synonyms else [],
        "config_type": next((text for kind, text in kinds.items() if isinstance(option.checker, kind)), "STRING"),
        "documentation": option.doc,
    }


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def outcomes(names: Iterable[str], act: Callable[[str], object], raise_errors: bool) -> list[tuple[str, str]]:
    """Do it to each and return what became of it: "OK", or the name of an error, unless that shall be raised."""
    results = []
    for name in names:
        try:
            act(name)
            results.append((name, "OK"))
        except ShmqError as error:
            if raise_errors:
                raise
            results.append((name, type(error).__name__))
    return results
