"""How plots look: the same colour, marker and line for a peer in every plot, and numbers with units at the axes."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from bench.results import Results, Row

INK, FAINT = "#222222", "#bbbbbb"
# Okabe and Ito's colours, which the colour-blind can tell apart; ours always the same, others in order.
OURS, OURS_TOO = "#D55E00", "#E69F00"
OTHERS = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#7F7F7F")
MARKERS = "sD^vPX<>hp"
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
LOOKS = {"shmq-memory": (OURS, "o", "-"), "shmq-disk": (OURS_TOO, "o", (0, (5, 1.5)))}


def looks_of(peers: Sequence[str], results: Results) -> dict[str, tuple[Any, Any, Any]]:
    """Return colour, marker and line of each peer: by its place among all peers of the results."""
    known = [name for name in results.peers if name not in LOOKS]
    known += [name for name in dict.fromkeys(peers) if name not in LOOKS and name not in known]
    looks = dict(LOOKS)
    for number, name in enumerate(known):
        colour, dashes = OTHERS[number % len(OTHERS)], DASHES[number // len(OTHERS) % len(DASHES)]
        looks[name] = (OURS if name.startswith("shmq") else colour, MARKERS[number % len(MARKERS)], dashes)
    return looks


def draw_line(axes: Any, xs: Sequence[float], rows: Sequence[Row], label: str, look: tuple[Any, Any, Any]) -> None:
    """Draw medians as a line, and the range of the rounds as a band."""
    colour, marker, dashes = look
    weight = 2.4 if colour == OURS else 1.3
    axes.plot(xs, [row.median for row in rows], color=colour, marker=marker, ls=dashes, lw=weight, ms=5.5, label=label)
    lows, highs = [min(row.values) for row in rows], [max(row.values) for row in rows]
    axes.fill_between(xs, lows, highs, color=colour, alpha=0.13, lw=0)


def finish(axes: Any, title: str, x: str, y: str, legend: bool = True) -> None:
    """Set title, labels, grid, and the legend beside the plot."""
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, which="major", color=FAINT, lw=0.5, alpha=0.7)
    axes.set_axisbelow(True)
    if legend:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)


def show_ticks(axis: Any, values: Sequence[float], labels: Sequence[str]) -> None:
    """Label exactly these values."""
    from matplotlib.ticker import NullLocator

    axis.set_ticks(values, labels)
    axis.set_minor_locator(NullLocator())


def format_rate(value: float, _position: object = None) -> str:
    """Return 2.5 M, 300 k, 40."""
    for factor, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.4g}"


def format_bytes(size_bytes: float) -> str:
    """Return 64 KiB."""
    for factor, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size_bytes >= factor:
            return f"{size_bytes / factor:g} {unit}"
    return f"{size_bytes:g} B"


def format_time(unit: str) -> Callable[[float, object], str]:
    """Return what writes a number of `unit` (ns, us, ms) as 200 ns, 3 us, 10 ms."""
    scale = {"ns": 1.0, "us": 1e3, "ms": 1e6}[unit]

    def form(value: float, _position: object = None) -> str:
        for factor, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
            if value * scale >= factor * 0.999:
                return f"{value * scale / factor:.4g} {name}"
        return f"{value * scale:.4g} ns"

    return form


def number_in(case: str) -> int:
    """Return the number that a case has."""
    found = re.search(r"\d+", case)
    assert found is not None, case
    return int(found[0])


def measured(results: Results, suite: str, start: str = "") -> dict[str, list[Row]]:
    """Return the rows of a suite whose cases begin so, by peer, without those that failed."""
    rows = [row for row in results.suite(suite) if row.case.startswith(start) and row.median is not None]
    return {peer: [row for row in rows if row.peer == peer] for peer in dict.fromkeys(row.peer for row in rows)}
