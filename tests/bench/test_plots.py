"""Plots are drawn from a saved result, each in a file, without a display."""

from __future__ import annotations

import dataclasses

import pytest

from bench.plots import PLOTS, draw_all
from bench.results import Results

PNG = b"\x89PNG\r\n\x1a\n"


def test_every_plot_is_drawn_beside_the_json(bench, saved):
    outcome = bench("plot", saved)

    assert outcome.exit_code == 0, outcome.output
    drawn = {path.stem: path.read_bytes() for path in saved.parent.glob("*.png")}
    assert drawn.keys() == PLOTS.keys()
    assert all(image.startswith(PNG) and len(image) > 10_000 for image in drawn.values())


def test_only_what_was_measured_is_drawn(tmp_path, results):
    rows = [row for row in results.rows if row.suite == "throughput"]
    part = dataclasses.replace(results, rows=rows, curves=[])

    assert [path.name for path in draw_all(part, tmp_path / "new" / "plots")] == ["rate-by-size.png"]


def test_a_peer_that_failed_does_not_keep_the_others_from_being_drawn(tmp_path, results):
    for row in results.suite("throughput"):
        if row.peer == "zeroq":
            row.values, row.errors = [], ["ChildError: gone"]

    assert tmp_path / "rate-by-size.png" in draw_all(results, tmp_path)


def test_nothing_is_drawn_of_nothing(bench, tmp_path):
    from bench.results import save

    save(Results({}, {}, {}), tmp_path / "empty.json")

    outcome = bench("plot", tmp_path / "empty.json")

    assert (outcome.exit_code, outcome.output.strip()) == (0, "drawn: nothing")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(200.0, "ns", "200 ns"), (3.0, "us", "3 µs"), (12_000.0, "us", "12 ms"), (2000.0, "ms", "2 s")],
)
def test_times_have_the_unit_that_suits_them(value, unit, text):
    from bench.plots.looks import format_time

    assert format_time(unit)(value) == text
