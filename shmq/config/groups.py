"""Checkers of the options that make a consumer a member of a group.

Owns: names of groups' assignors, and what an identity may be.
Must never: know a group, or how an assignor works.
Sits: under `consumer`, beside `checks`.
"""

from __future__ import annotations

from collections.abc import Sequence

from .checks import Checker, UnfitError, shown

ASSIGNORS = ("range", "roundrobin", "sticky", "cooperative-sticky")


class GroupName(Checker):
    """Text that is not empty, or None."""

    @property
    def allowed(self) -> str:
        """Text, or None."""
        return "text or None"

    def check(self, value: object) -> str | None:
        """Return the name."""
        if value is not None and not isinstance(value, str):
            raise UnfitError(f"must be text, not {type(value).__name__}")
        if value == "":
            raise UnfitError("must not be empty; leave it out for none")
        return value


class Strategies(Checker):
    """Assignors, best first: by name, or as classes or objects that have kafka-python's `name`."""

    @property
    def allowed(self) -> str:
        """The names."""
        return "a list of " + ", ".join(ASSIGNORS)

    def check(self, value: object) -> tuple[str, ...]:
        """Return the names."""
        given = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
        names = [each if isinstance(each, str) else getattr(each, "name", None) for each in given]
        for name, each in zip(names, given, strict=True):
            if name not in ASSIGNORS:
                raise UnfitError(f"{shown(each)} is no assignor that the coordinator has; {self.allowed} is allowed")
        if not names:
            raise UnfitError(f"must name at least one assignor; {self.allowed} is allowed")
        return tuple(dict.fromkeys(str(name) for name in names))

    def show(self, value: object) -> str:
        """Return the names as a table writes them."""
        return ", ".join(value) if isinstance(value, tuple) else str(value)
