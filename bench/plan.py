"""What a run is to measure: the plan from the command line, and the steps that each suite makes of it.

A step is one measurement of one peer. Suites order their steps so that all peers take turns (A B C A B C ...): what
the machine does meanwhile then falls on all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.peers import Mode, Peer
from bench.roles import Pace

SUITES = ("throughput", "pingpong", "healing", "scaling")
Outcome = tuple[list[float], dict[str, float]]  # one value per case of the step; what to note beside them


@dataclass(frozen=True)
class Plan:
    """What to run, how often, how long."""

    suites: tuple[str, ...]
    sizes_bytes: tuple[int, ...]
    rounds: int
    pace: Pace
    kills: int  # per way of waiting
    peers: tuple[type[Peer], ...]  # those that are installed
    missing: dict[str, str] = field(default_factory=dict)  # name -> why it cannot run

    def peers_for(self, mode: Mode) -> list[type[Peer]]:
        """Return the installed peers that can do `mode`."""
        return [peer for peer in self.peers if mode in peer.modes]

    def has(self, name: str) -> bool:
        """Say whether a peer of this name is installed and asked for."""
        return any(peer.name == name for peer in self.peers)

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
