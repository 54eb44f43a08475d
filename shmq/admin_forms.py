"""The many forms in which kafka-python's admin client takes its arguments, each read into one.

Owns: those forms, and what of them cannot be here (replicas, brokers other than 0, options of brokers).
Must never: touch a broker.
Sits: under `admin`, which does what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

from shmq.config import did_you_mean
from shmq.errors import IllegalArgumentError, InvalidPartitionsError, InvalidReplicationFactorError
from shmq.types import AlterConfigOp, ConfigResource, ConfigResourceType, NewPartitions, NewTopic, TopicPartition

_Enum = TypeVar("_Enum", bound=IntEnum)
_TOPIC_FIELDS = ("num_partitions", "replication_factor", "assignments", "configs")
_DEFAULT = -1
_ONLY_BROKER = 0


@dataclass(frozen=True)
class TopicRequest:
    """One topic to create, as asked for; nothing is checked yet but the form."""

    name: str
    num_partitions: int
    replication_factor: int
    assignments: Mapping[int, Sequence[int]]
    configs: Mapping[str, object]

    def partitions(self) -> int:
        """Return how many partitions it shall have.

        Raises:
            InvalidReplicationFactorError: more than one copy of something is asked for.
            InvalidPartitionsError: the assignments do not number partitions from 0, or differ from num_partitions.
            IllegalArgumentError: a broker other than 0 is asked for.
        """
        if self.replication_factor not in (_DEFAULT, 1):
            raise InvalidReplicationFactorError(self.name, self.replication_factor)
        if not self.assignments:
            return 1 if self.num_partitions == _DEFAULT else self.num_partitions
        check_assignments(self.name, self.assignments.values())
        count = len(self.assignments)
        if set(self.assignments) != set(range(count)) or self.num_partitions not in (_DEFAULT, count):
            raise InvalidPartitionsError(
                self.name, self.num_partitions, f"assignments are given for {sorted(self.assignments)}; leave them out"
            )
        return count


def topic_requests(new_topics: object) -> list[TopicRequest]:
    """Read `new_topics` of `Admin.create_topics`: {name: fields}, [name, ...] or [NewTopic, ...].

    Raises:
        TypeError: it is none of these.
        IllegalArgumentError: it is empty, or a field is unknown.
    """
    if isinstance(new_topics, Mapping):
        requests = [_from_fields(name, fields) for name, fields in new_topics.items()]
    elif isinstance(new_topics, (str, bytes)) or not isinstance(new_topics, Iterable):
        raise TypeError(f"new_topics must be a dict, or a list of names or NewTopic, not {type(new_topics).__name__}")
    else:
        requests = [_from_item(each) for each in new_topics]
    if not requests:
        raise IllegalArgumentError("new_topics is empty; name at least one topic")
    return requests


def partition_total(topic: str, wanted: object) -> int:
    """Read one value of `Admin.create_partitions`: a total, {"count": total}, or NewPartitions.

    Raises:
        TypeError: it is none of these.
        InvalidReplicationFactorError, IllegalArgumentError: see `check_assignments`.
    """
    total, assignments = wanted, None
    if isinstance(wanted, NewPartitions):
        total, assignments = wanted.total_count, wanted.new_assignments
    elif isinstance(wanted, Mapping):
        total, assignments = wanted.get("count"), wanted.get("assignments")
    if isinstance(total, bool) or not isinstance(total, int):
        raise TypeError(f"topic {topic!r}: the number of partitions must be int, not {type(total).__name__}")
    check_assignments(topic, assignments or ())
    return total


def check_assignments(topic: str, assignments: Iterable[Sequence[int]]) -> None:
    """Refuse assignments of partitions to anything but broker 0 alone.

    Raises:
        InvalidReplicationFactorError: a partition shall have several copies.
        IllegalArgumentError: there is no such broker.
    """
    for brokers in assignments:
        if len(brokers) > 1:
            raise InvalidReplicationFactorError(topic, len(brokers))
        if list(brokers) != [_ONLY_BROKER]:
            raise IllegalArgumentError(f"topic {topic!r}: assigned to brokers {list(brokers)}; there is only broker 0")


def record_deletions(records_to_delete: object) -> dict[TopicPartition, int]:
    """Read `records_to_delete` of `Admin.delete_records`: {TopicPartition: offset}.

    Raises:
        TypeError: it is no such dict.
        IllegalArgumentError: it is empty, or an offset is below -1, which is the end.
    """
    if not isinstance(records_to_delete, Mapping):
        raise TypeError(f"records_to_delete must be {{TopicPartition: offset}}, not {type(records_to_delete).__name__}")
    deletions = {}
    for place, offset in records_to_delete.items():
        match place:
            case (str(), int()) if not isinstance(place[1], bool):
                pass
            case _:
                raise TypeError(f"a partition is a TopicPartition(topic, partition), not {place!r}")
        if isinstance(offset, bool) or not isinstance(offset, int):
            raise TypeError(f"{place[0]}-{place[1]}: an offset must be int, not {type(offset).__name__}")
        if not -1 <= offset < 1 << 63:
            raise IllegalArgumentError(f"{place[0]}-{place[1]}: an offset is 0 or more, or -1 (the end), not {offset}")
        deletions[TopicPartition(*place)] = offset
    if not deletions:
        raise IllegalArgumentError("records_to_delete is empty; name at least one partition")
    return deletions


def split_resources(
    resources: Iterable[ConfigResource],
) -> tuple[list[tuple[str, ConfigResource]], list[tuple[str, ConfigResource]]]:
    """Return those that are topics and those that are the broker, with names. Raises: IllegalArgumentError: neither."""
    topics, brokers = [], []
    for each in resources:
        if not isinstance(each, ConfigResource):
            raise TypeError(f"config_resources must be a list of ConfigResource, not of {type(each).__name__}")
        if each.resource_type is ConfigResourceType.TOPIC:
            topics.append((each.name, each))
        elif each.resource_type is ConfigResourceType.BROKER and each.name == "0":
            brokers.append((each.name, each))
        else:
            raise IllegalArgumentError(f"{each!r}: topics have options here, and the one broker, whose name is '0'")
    return topics, brokers


def config_changes(resource: ConfigResource) -> tuple[dict[str, object], list[str]]:
    """Return the options to set, and those to bring back to their defaults.

    Raises:
        TypeError: `configs` is not a dict.
        IllegalArgumentError: an operation that no option here allows.
    """
    if not isinstance(resource.configs, Mapping):
        raise TypeError(f"{resource!r}: configs must be a dict of values, not {type(resource.configs).__name__}")
    changes: dict[str, object] = {}
    reset = []
    for name, given in resource.configs.items():
        op, value = given if isinstance(given, tuple) else (AlterConfigOp.SET, given)
        operation = enum_of(AlterConfigOp, op)
        if operation is AlterConfigOp.SET:
            changes[name] = value
        elif operation is AlterConfigOp.DELETE:
            reset.append(name)
        else:
            raise IllegalArgumentError(f"{name}: {operation.name} needs an option that is a list; there is none here")
    return changes, reset


def listed(given: Iterable[Any], what: str) -> list[Any]:
    """Return a list of topics as a list. Raises: TypeError: it is one name, whose letters would be taken for names."""
    if isinstance(given, (str, bytes)):
        raise TypeError(f"{what} must be a list of names, not one; write [{given!r}]")
    return list(given)


def enum_of(kind: type[_Enum], given: object) -> _Enum:
    """Return a member by itself, its name in any case or its number. Raises: IllegalArgumentError: there is none."""
    for member in kind:
        if given == member or (isinstance(given, str) and given.upper() == member.name):
            return member
    names = ", ".join(member.name for member in kind)
    raise IllegalArgumentError(f"{given!r} is no {kind.__name__}; one of {names}")


def _from_fields(name: str, fields: Any) -> TopicRequest:
    if not isinstance(fields, Mapping):
        raise TypeError(f"topic {name!r}: its fields must be a dict, not {type(fields).__name__}")
    for field in fields:
        if field not in _TOPIC_FIELDS:
            hint = did_you_mean(str(field), _TOPIC_FIELDS) or f"; the fields are {', '.join(_TOPIC_FIELDS)}"
            raise IllegalArgumentError(f"topic {name!r}: there is no field {field!r}{hint}")
    return TopicRequest(
        name,
        fields.get("num_partitions", _DEFAULT),
        fields.get("replication_factor", _DEFAULT),
        fields.get("assignments") or {},
        fields.get("configs") or {},
    )


def _from_item(item: object) -> TopicRequest:
    if isinstance(item, str):
        return TopicRequest(item, _DEFAULT, _DEFAULT, {}, {})
    if isinstance(item, NewTopic):
        return TopicRequest(
            item.name, item.num_partitions, item.replication_factor, item.replica_assignments, item.topic_configs
        )
    raise TypeError(f"new_topics must be a dict, or a list of names or NewTopic, not of {type(item).__name__}")
