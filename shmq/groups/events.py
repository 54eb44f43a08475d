"""What a group's state machine takes in and gives out: plain values, in the order in which they happen.

Owns: their names and fields.
Must never: know a clock, a socket or a file.
Sits: under `machine`, which turns events into effects; the coordinator feeds it and carries the effects out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """One partition of one topic as it exists now: a topic that was made anew has another `topic_id`."""

    topic: str
    topic_id: int
    partition: int


class TopicInfo(NamedTuple):
    """A topic that exists: its random number, and how many partitions it has."""

    topic_id: int
    partitions: int


# -- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Join:
    """A consumer wants to be a member, or one that was cut off from its coordinator is back.

    Attributes:
        member_id: Chosen by the member, never used twice; the same one as before when it is back.
        instance_id: Static identity (`group_instance_id`), None for a dynamic member.
        topics: What it subscribes to, by name; empty with a pattern.
        pattern: A regular expression that topic names must match from their beginning, or None.
        strategies: Names of the assignors that it knows, best first.
        owned: What it still holds, when it is back; None if it was never away and only subscribes to something else.
        session_timeout_ms: Silence for so long costs it its membership.
        max_poll_interval_ms: So does going without a `poll` for so long.
        client_id, pid, process: Who it is, for people who look; `process` is its name.
    """

    member_id: str
    instance_id: str | None
    topics: tuple[str, ...]
    pattern: str | None
    strategies: tuple[str, ...]
    owned: tuple[Place, ...] | None
    session_timeout_ms: int
    max_poll_interval_ms: int
    client_id: str
    pid: int
    process: str


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life. `poll_age_ms`: how long ago it polled last."""

    member_id: str
    poll_age_ms: int


@dataclass(frozen=True, slots=True)
class Done:
    """A member has carried out the `Assign` of this number: it holds what that has, and committed what it gave up."""

    member_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Leave:
    """A member goes. `for_good`: a static member, too, gives up its place."""

    member_id: str
    for_good: bool = False


@dataclass(frozen=True, slots=True)
class Died:
    """The process of a member is gone. A static member keeps its place until its session is over."""

    member_id: str


@dataclass(frozen=True, slots=True)
class TopicsChanged:
    """All topics that there are now."""

    topics: dict[str, TopicInfo]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time goes by: sessions may be over."""


Event = Join | Beat | Done | Leave | Died | TopicsChanged | Tick


# -- effects, to be carried out in order, after the new state has been saved ------------------------------------------


@dataclass(frozen=True, slots=True)
class Raise:
    """Raise the epoch of this partition's committed offset: no earlier owner can commit any more."""

    place: Place


@dataclass(frozen=True, slots=True)
class Assign:
    """Tell a member what it may hold from now on. What it holds beyond that it lets go of, and says so (`Done`).

    Attributes:
        number: Rises with each that this member is told.
        generation: Of the group.
    """

    member_id: str
    number: int
    generation: int
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Expel:
    """Tell a member that it is one no longer; `reason`: "session", "poll", "instance" (another took its identity)."""

    member_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell a consumer that it cannot join: `error` is the name of an error of Kafka's, `detail` says what to do."""

    member_id: str
    error: str
    detail: str


Effect = Raise | Assign | Expel | Refuse
