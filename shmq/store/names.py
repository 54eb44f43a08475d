"""Which names topics and brokers can have.

Owns: Kafka's rule for topics, and ours for brokers, whose names become directories beside hidden ones.
Must never: let a name through that could leave its directory.
Sits: leftmost in store; every name from outside passes here before it becomes part of a path.
"""

from __future__ import annotations

import re

from shmq.errors import InvalidTopicError

MAX_TOPIC_CHARACTERS = 249  # Kafka's: 255 for a file name, less a partition's suffix
MAX_BROKER_CHARACTERS = 64

_LEGAL = "only a-z, A-Z, 0-9, '.', '_' and '-' are allowed"


def check_topic_name(name: object) -> str:
    """Return `name` if a topic can have it.

    Raises:
        TypeError: it is not text.
        InvalidTopicError: it breaks a rule; the message says which.

    Source: org.apache.kafka.common.internals.Topic.
    """
    if not isinstance(name, str):
        raise TypeError(f"a topic's name must be str, not {type(name).__name__}")
    if not name:
        raise InvalidTopicError(name, "it is empty")
    if name in (".", ".."):
        raise InvalidTopicError(name, "it would be a directory's own entry")
    if len(name) > MAX_TOPIC_CHARACTERS:
        raise InvalidTopicError(name, f"it has {len(name)} characters, {MAX_TOPIC_CHARACTERS} are allowed")
    illegal = re.search(r"[^a-zA-Z0-9._-]", name)
    if illegal:
        raise InvalidTopicError(name, f"it has {illegal[0]!r}; {_LEGAL}")
    return name


def broken_broker_rule(name: str) -> str | None:
    """Return the rule that a broker's name breaks, None if it breaks none."""
    if not name:
        return "the broker's name is empty"
    if len(name) > MAX_BROKER_CHARACTERS:
        return f"the broker's name has {len(name)} characters, {MAX_BROKER_CHARACTERS} are allowed"
    if not name[0].isalnum():
        return "a broker's name begins with a letter or a digit"
    illegal = re.search(r"[^a-zA-Z0-9._-]", name)
    return f"the broker's name has {illegal[0]!r}; {_LEGAL}" if illegal else None
