"""Errors of consumer groups: memberships that are over, commits that came too late, groups that are not as expected.

Owns: their names (kafka-python's), Kafka's codes and the wording.
Must never: be raised without the group's name and what to do.
Sits: beside `caller` and `world`.
"""

from __future__ import annotations

from .base import IllegalArgumentError, RetriableError, ShmqError, valued


@valued
class CommitFailedError(ShmqError):
    """A partition belongs to this member no longer, so its commit changed nothing."""

    error_code = 22
    group_id: str
    topic: str
    partition: int
    detail: str = "it was given to another member"

    def __str__(self) -> str:
        return (
            f"group {self.group_id!r}: {self.topic}-{self.partition} cannot be committed: {self.detail}; what was read "
            "since the last commit is read again by its owner; poll() to go on, and if this happens often poll more "
            "often, lower max_poll_records, or raise max_poll_interval_ms"
        )


@valued
class InvalidRecordStateError(ShmqError):
    """A record is with this share consumer no longer, so its acknowledgement changed nothing."""

    error_code = 121
    group_id: str
    topic: str
    partition: int
    offsets: tuple[int, ...]

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.offsets[:5])) + (", ..." if len(self.offsets) > 5 else "")
        return (
            f"share group {self.group_id!r}: {self.topic}-{self.partition}: the acknowledgement of offset {shown} came "
            "too late: the lock had expired, and the record goes, or went, to another consumer; nothing was changed; "
            "if this happens often RENEW in time, poll fewer records at once, or raise acquisition_lock_duration_ms"
        )


@valued
class InvalidGroupIdError(ShmqError):
    """A group cannot have this name."""

    error_code = 24
    group_id: str
    rule: str

    def __str__(self) -> str:
        return f"no name for a group: {self.group_id[:80]!r}: {self.rule}"


@valued
class GroupIdNotFoundError(ShmqError):
    """There is no such group."""

    error_code = 69
    group_id: str

    def __str__(self) -> str:
        return f"there is no group {self.group_id!r}; `shmq groups list` shows those that there are"


@valued
class NonEmptyGroupError(ShmqError):
    """A group with members cannot be changed in this way."""

    error_code = 68
    group_id: str
    members: int

    def __str__(self) -> str:
        return f"group {self.group_id!r} has {self.members} members; close them first"


@valued
class GroupSubscribedToTopicError(ShmqError):
    """Offsets of a topic that the group is reading cannot be deleted or altered."""

    error_code = 86
    group_id: str
    topic: str

    def __str__(self) -> str:
        return f"group {self.group_id!r} has members that read {self.topic}; close them first"


@valued
class _MembershipError(ShmqError):
    """What a coordinator says to a consumer: the group, and the coordinator's words."""

    group_id: str
    detail: str

    def __str__(self) -> str:
        return f"group {self.group_id!r}: {self.detail}"


class FencedInstanceIdError(_MembershipError):
    """Another consumer has taken this one's `group_instance_id`."""

    error_code = 82


class InconsistentGroupProtocolError(_MembershipError):
    """The members of the group have no assignor in common."""

    error_code = 23


class UnknownMemberIdError(_MembershipError):
    """The coordinator does not know this member (any more)."""

    error_code = 25


class CoordinatorNotAvailableError(_MembershipError, RetriableError):
    """The coordinator could not be started, or does not answer."""

    error_code = 15


class InvalidSessionTimeoutError(IllegalArgumentError):
    """A session that no heartbeat could keep alive."""

    error_code = 26


def membership_error(name: str, group_id: str, detail: str) -> ShmqError:
    """Return the error that a coordinator named, with its words."""
    known = {each.__name__: each for each in _MembershipError.__subclasses__()}
    return known.get(name, UnknownMemberIdError)(group_id, detail)
