"""Distributions: latency by percentile."""

from collections.abc import Sequence
from typing import Any

from bench.plots.looks import DASHES, OTHERS, OURS, finish, format_time, looks_of, show_ticks
from bench.results import Curve, Results


def draw_percentiles(axes: Any, results: Results, curves: Sequence[Curve], title: str, what: str) -> bool:
    """Latency by percentile, the tail stretched: each step to the right is a tenth of what is left."""
    looks = looks_of([curve.peer for curve in curves], results)
    deepest = 0.9
    for number, curve in enumerate(curves):
        colour, _, dashes = looks[curve.peer]
        label = curve.peer if len({each.case for each in curves}) == 1 else f"{curve.peer}: {curve.case}"
        if len({each.peer for each in curves}) == 1:
            colour, dashes = (OURS, *OTHERS)[number % 7], DASHES[number % len(DASHES)]
            label = curve.case
        points = [(share, value) for share, value in zip(results.shares, curve.medians(), strict=True) if 0 < share < 1]
        while len(points) > 1 and points[-2][1] == points[-1][1]:
            points.pop()  # fewer were measured than this share needs
        weight = 2.4 if colour == OURS else 1.4
        axes.plot(
            [1 - share for share, _ in points],
            [value for _, value in points],
            color=colour,
            ls=dashes,
            lw=weight,
            label=label,
        )
        deepest = max(deepest, points[-1][0])
    if curves:
        axes.set(xscale="log", yscale="log", xlim=(1.0, 1 - deepest))
        tails = [tail for tail in (0.5, 0.1, 0.01, 0.001, 1e-4, 1e-5) if tail >= 1 - deepest]
        show_ticks(axes.xaxis, tails, [f"p{100 - 100 * tail:.7g}" for tail in tails])
        axes.yaxis.set_major_formatter(format_time(curves[0].unit))
        finish(axes, title, "percentile", what)
    return bool(curves)


def draw_polling(axes: Any, results: Results) -> bool:
    """Ping-pong, both sides polling."""
    curves = results.curves_of("pingpong", "polling")
    return draw_percentiles(axes, results, curves, "One-way latency at 100 B, both sides polling", "half a round trip")


def draw_asleep(axes: Any, results: Results) -> bool:
    """Ping-pong, both sides asleep."""
    curves = results.curves_of("pingpong", "asleep")
    return draw_percentiles(axes, results, curves, "One-way latency at 100 B, both sides asleep", "half a round trip")


def draw_rolls(axes: Any, results: Results) -> bool:
    """The open loop, with and without rolls."""
    curves = [curve for curve in results.curves if curve.suite == "rolls"]
    title = "Open loop at half the peak rate: latency from when a record was due"
    if not draw_percentiles(axes, results, curves, title, "latency"):
        return False
    looks = {"delivered": "-", "sent": (0, (5, 1.5)), "rolling": (0, (1.5, 1.2))}
    for line, curve in zip(axes.get_lines(), curves, strict=False):
        line.set(linestyle=looks[curve.case], color=OTHERS[0] if curve.peer == "no rolls" else OURS)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
    return True


def draw_deaths(axes: Any, results: Results) -> bool:
    """Everything that begins with a SIGKILL."""
    curves = [curve for curve in results.curves if curve.suite in ("healing", "groups", "queues")]
    names = {
        ("healing", "polling"): "a producer in an append; the reader polls",
        ("healing", "asleep"): "a producer in an append; the reader sleeps",
        ("groups", "member killed"): "a group's member: its partition flows",
        ("groups", "coordinator killed"): "the coordinator: the next one answers",
        ("queues", "redelivery"): "a worker with an item: another has it",
    }
    named = [
        Curve(each.suite, names.get((each.suite, each.case), each.case), "shmq", each.unit, each.rounds)
        for each in curves
    ]
    return draw_percentiles(axes, results, named, "SIGKILL: how long until others go on", "from the kill")
