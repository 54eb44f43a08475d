"""The plots of one result, one PNG each: only those whose suites were run.

Owns: which plots there are, and writing them.
Must never: measure, or need a display.
Sits: behind `python -m bench` and `python -m bench plot`; matplotlib is imported when something is drawn.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.plots.bars import draw_arrays, draw_perspective
from bench.plots.curves import draw_asleep, draw_deaths, draw_polling, draw_rolls
from bench.plots.lines import (
    draw_bulk,
    draw_consumers,
    draw_groups,
    draw_partitions,
    draw_producers,
    draw_retained,
    draw_sizes,
)
from bench.plots.looks import INK
from bench.results import Results

SIZE_INCHES, DPI = (9.6, 5.4), 140
Draw = Callable[[Any, Results], bool]  # draws into axes; False if there is nothing to draw

PLOTS: dict[str, Draw] = {
    "rate-by-size": draw_sizes,
    "bulk": draw_bulk,
    "arrays": draw_arrays,
    "latency-polling": draw_polling,
    "latency-asleep": draw_asleep,
    "latency-rolls": draw_rolls,
    "latency-deaths": draw_deaths,
    "scaling-producers": draw_producers,
    "scaling-consumers": draw_consumers,
    "scaling-partitions": draw_partitions,
    "scaling-groups": draw_groups,
    "retained": draw_retained,
    "perspective": draw_perspective,
}


def draw_all(results: Results, directory: Path) -> list[Path]:
    """Draw every plot that the results have figures for; return the files.

    Args:
        results: Of a run, or loaded.
        directory: Made if it is not there; files of the same name are replaced.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    directory.mkdir(parents=True, exist_ok=True)
    style: Any = {"font.size": 10.5, "axes.spines.top": False, "axes.spines.right": False, "text.color": INK}
    written = []
    for name, draw in PLOTS.items():
        with pyplot.rc_context(style):
            figure: Any = pyplot.figure(figsize=SIZE_INCHES, layout="constrained")
            axes = figure.subplots()
            if draw(axes, results):
                figure.text(0.995, 0.005, source_of(results), ha="right", va="bottom", fontsize=7, color="#777777")
                figure.get_layout_engine().set(rect=(0, 0.025, 1, 0.975))
                figure.savefig(directory / f"{name}.png", dpi=DPI)
                written.append(directory / f"{name}.png")
            pyplot.close(figure)
    return written


def source_of(results: Results) -> str:
    """Say what was measured on what."""
    day, commit, cpus, cpu = (str(results.machine.get(name, "")) for name in ("date", "commit", "cpus", "cpu"))
    return f"shmq bench, {day[:10]}, commit {commit}, {cpus} x {cpu}"
