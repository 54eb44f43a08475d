"""The nearest known name to one that is not known.

Owns: how near is near enough to be worth suggesting.
Must never: raise, or suggest a name that would be refused.
Sits: used by every check of a name: options, topics, broker addresses.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_NEAR_ENOUGH = 0.6


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known name nearest to `name`, or "" if none is near.

    Args:
        name: What was given; case, and whether words are joined by `.`, `_` or `-`, do not count.
        known: The names that would have been right.
    """
    by_plain_form = {_plain(each): each for each in sorted(known)}
    nearest = difflib.get_close_matches(_plain(name), by_plain_form, n=1, cutoff=_NEAR_ENOUGH)
    return f"; did you mean {by_plain_form[nearest[0]]!r}?" if nearest else ""


def _plain(name: str) -> str:
    return name.lower().replace(".", "_").replace("-", "_")
