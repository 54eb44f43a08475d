"""What a step can do: succeed, fail, be impossible here; and how targets are judged."""

from __future__ import annotations

import pytest
from rich.progress import Progress

from bench.plan import NotHereError, Outcome, Step, make_curve, percentile
from bench.results import Results, Row
from bench.run import take
from bench.servers import find
from bench.verdict import Target, judge, make_ratio


@pytest.fixture
def blank():
    return Results({}, {}, {})


def run(results, measure):
    take(Step("bulk", "mp-queue", ("a", "b"), "us", False, measure), results, Progress(disable=True))


def test_each_case_gets_its_value_and_each_distribution_its_rounds(blank):
    for number in (1.0, 2.0):
        run(blank, lambda number=number: Outcome([number, 5 * number], {}, {"polling": make_curve([number])}))

    assert [row.values for row in blank.rows] == [[1.0, 2.0], [5.0, 10.0]]
    assert set(blank.curves[0].medians()) == {1.5}


def test_a_step_that_raises_is_a_failure_of_all_its_cases(blank):
    def measure():
        raise ValueError("wrong record")

    run(blank, measure)

    assert [row.errors for row in blank.failed()] == [["ValueError: wrong record"]] * 2


@pytest.mark.parametrize("error", [NotHereError("no server"), ImportError("no client")])
def test_what_is_not_installed_is_no_failure(blank, error):
    def measure():
        raise error

    run(blank, measure)

    assert blank.failed() == []
    assert {row.missing for row in blank.rows} == {str(error)}


def test_a_server_that_is_not_installed_is_named_with_its_package():
    with pytest.raises(NotHereError, match="redis-server is not installed"):
        find(None, "redis-server")


def test_percentiles_are_values_that_occurred():
    assert [percentile([1, 2, 3, 4], share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 3, 4, 4]


def rows(ours, theirs, higher_is_better=True):
    return [Row("s", "c", name, "u", higher_is_better, values) for name, values in (("a", ours), ("b", theirs))]


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    assert make_ratio("x", 2, *rows([10.0, 40.0, 90.0], [10.0, 20.0, 30.0])).measured == 2.0


@pytest.mark.parametrize(
    ("higher_is_better", "ours", "met", "ending"),
    [
        (True, 3.0, True, "met"),
        (True, 1.0, False, "missed by 50 % of the target"),
        (False, 1.0, True, "met"),
        (False, 3.0, False, "missed by 50 % of the target"),
        (False, 20.0, False, "missed: 10 times the target"),
    ],
)
def test_a_target_says_by_how_much_it_is_missed(higher_is_better, ours, met, ending):
    target = make_ratio("x", 2, *rows([ours], [1.0], higher_is_better), higher_is_better)

    assert target.met is met
    assert target.sentence().endswith(ending)


def test_what_was_not_measured_is_neither_met_nor_missed(blank):
    assert {target.met for target in judge(blank)} == {None}
    assert Target("x", 2, True, " x", None).sentence() == "x: at least 2 x - not measured"
