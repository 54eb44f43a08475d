"""Bars: what is compared at one size."""

import itertools
import math
from typing import Any

from bench.plots.looks import INK, OTHERS, OURS, finish, format_rate, looks_of, measured
from bench.results import Results


def draw_arrays(axes: Any, results: Results) -> bool:
    """Bars: bytes a second of each way, by what is moved."""
    sizes = {"in place 64 KiB": 65536, "in place 1 MiB": 1 << 20, "sent (1000, 256) float32": 1_024_000}
    bars = [(case, row) for case in sizes for rows in measured(results, "arrays", case).values() for row in rows]
    looks = looks_of([row.peer for _, row in bars], results)
    ticks, place = [], 0.0
    for case, group in itertools.groupby(bars, key=lambda bar: bar[0]):
        start = place
        for _, row in group:
            scale = sizes[case] / 1e9
            low, middle, high = (value * scale for value in (min(row.values), row.median or 0, max(row.values)))
            axes.barh(place, middle, color=looks[row.peer][0], alpha=0.85, height=0.8)
            axes.errorbar(middle, place, xerr=[[middle - low], [high - middle]], color=INK, lw=1, capsize=3)
            axes.annotate(f" {format_rate(row.median or 0)}/s", (high, place), va="center", fontsize=9)
            ticks.append((place, row.peer))
            place += 1
        axes.annotate(case, (0, start - 0.55), fontsize=10, fontweight="bold", va="bottom")
        place += 0.9
    if ticks:
        axes.set_yticks([tick for tick, _ in ticks], [peer for _, peer in ticks])
        axes.set_ylim(place - 1.2, -1.3)
        axes.margins(x=0.12)
        finish(axes, "Arrays: bytes moved, and arrays per second", "GB per second", "", legend=False)
        axes.grid(False, axis="y")
    return bool(ticks)


def draw_perspective(axes: Any, results: Results) -> bool:
    """Bars: rates of brokers behind a socket."""
    peers = measured(results, "perspective", "rate")
    for place, (peer, rows) in enumerate(peers.items()):
        axes.barh(place, rows[0].median, color=OURS if peer.startswith("shmq") else OTHERS[0], alpha=0.85, height=0.7)
        axes.annotate(f" {format_rate(rows[0].median or 0)}", (rows[0].median, place), va="center")
    if peers:
        axes.set_yticks(range(len(peers)), list(peers))
        axes.invert_yaxis()
        axes.set_xscale("log")
        rates = [rows[0].median or 1.0 for rows in peers.values()]
        axes.set_xlim(10 ** math.floor(math.log10(min(rates)) - 0.5), 4 * max(rates))
        axes.xaxis.set_major_formatter(format_rate)
        finish(
            axes,
            "For perspective: the same job through a broker behind a socket",
            "records of 100 B per second",
            "",
            False,
        )
        axes.grid(False, axis="y")
    return bool(peers)
