"""The ring of a topic in memory, where its sizes were not given: small enough to stay in the processor's cache.

Owns: the default sizes of such a ring, and the reasons for them.
Must never: overrule what was given.
Sits: in config, under topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .checks import MIB

SEGMENT_BYTES, RETENTION_BYTES = 2 * MIB, 16 * MIB
"""A segment is one large page of x86_64. Eight of them: a reader may lag, some are pinned by views, and all lie in a
usual last-level cache."""
_LARGEST_SEGMENT_BYTES = 16 * MIB  # to which it grows by itself: rolls cost nothing that matters from there on
_MESSAGES = 4  # of the largest size that a segment holds at least, or most of what follows the last would be lost


def hot_ring(given: Mapping[str, Any], message_bytes: int) -> dict[str, int]:
    """Return segment_bytes and retention_bytes for a topic in memory, as far as `given` leaves them open.

    Args:
        given: Options that were given, by name.
        message_bytes: The largest record that is known to come; 0 if none is.
    """
    segments = RETENTION_BYTES // SEGMENT_BYTES
    wanted = min(given.get("retention_bytes", RETENTION_BYTES) // segments, _LARGEST_SEGMENT_BYTES)
    for_messages = -(-_MESSAGES * message_bytes // MIB) * MIB
    segment_bytes = given.get("segment_bytes", max(SEGMENT_BYTES, wanted, min(for_messages, 512 * MIB)))
    return {"segment_bytes": segment_bytes, "retention_bytes": max(RETENTION_BYTES, segments * segment_bytes)}
