"""What a run is to measure: the plan from the command line, and the steps that each suite makes of it.

A step is one measurement of one peer. Suites order their steps so that all peers take turns (A B C A B C ...): what
the machine does meanwhile then falls on all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from bench.peers import Mode, Peer
from bench.roles.transfer import Pace

T = TypeVar("T")

# The shares of a distribution that are kept: close together where the tail is.
SHARES = (
    *(0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.993),
    *(0.995, 0.997, 0.998, 0.999, 0.9993, 0.9995, 0.9997, 0.9998, 0.9999, 0.99995, 0.99998, 0.99999, 1.0),
)


class NotHereError(Exception):
    """What is to be measured is not to be had on this machine: a line in the report and not a failure."""


@dataclass(frozen=True)
class Outcome:
    """What one measurement found."""

    values: Sequence[float]  # one per case of the step
    notes: dict[str, float] = field(default_factory=dict)  # what to note beside them
    curves: dict[str, list[float]] = field(default_factory=dict)  # distributions by name, each as of make_curve()


@dataclass(frozen=True)
class Plan:
    """What to run, how often, how long."""

    suites: tuple[str, ...]
    sizes_bytes: tuple[int, ...]
    rounds: int
    pace: Pace
    kills: int  # per way of waiting
    quick: bool
    peers: tuple[type[Peer], ...]  # those that are installed
    wanted: tuple[str, ...] = ()  # names must start with one of these; empty: all

    def peers_for(self, mode: Mode) -> list[type[Peer]]:
        """Return the installed peers that can do `mode`."""
        return [peer for peer in self.peers if mode in peer.modes]

    def wants(self, name: str) -> bool:
        """Say whether a peer of this name is asked for."""
        return not self.wanted or name.startswith(self.wanted)

    @property
    def fewer_rounds(self) -> int:
        """The rounds of suites that take long: one in a quick run."""
        return self.either(self.rounds, 1)

    def either(self, full: T, quick: T) -> T:
        """Return what a full run, or a quick one, is to use."""
        return quick if self.quick else full

    def shorter(self, longest_s: float) -> Pace:
        """Return the pace for a suite that needs no more than `longest_s`."""
        return Pace(min(self.pace.warmup_s, 0.3), min(self.pace.seconds, longest_s))


@dataclass(frozen=True)
class Step:
    """One measurement of one peer, which yields one value for each of its cases."""

    suite: str
    peer: str
    cases: tuple[str, ...]
    unit: str
    higher_is_better: bool
    measure: Callable[[], Outcome]


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def make_curve(ordered: Sequence[float], scale: float = 1.0) -> list[float]:
    """Return the values at SHARES, multiplied by `scale`."""
    return [percentile(ordered, share) * scale for share in SHARES]
