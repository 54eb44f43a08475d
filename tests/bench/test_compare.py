"""`compare` says what changed, and what is only noise."""

from __future__ import annotations

import pytest

from bench.compare import find_gain, judge_change
from bench.results import Row, save


def row(*values: float, higher_is_better: bool = True) -> Row:
    return Row("throughput", "8 B", "shmq-memory", "records/s", higher_is_better, list(values))


@pytest.fixture
def other(tmp_path, made_results):
    def write(factor: float, **machine: object):
        results = made_results(factor)
        results.machine |= machine
        save(results, tmp_path / "other.json")
        return tmp_path / "other.json"

    return write


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ((100, 101), (200, 210), "better"),
        ((200, 210), (100, 101), "worse"),
        ((100, 101), (104, 105), "same"),
        ((100, 190), (140, 300), "unclear"),
        ((100,), (200,), "unclear"),
        ((), (100,), ""),
    ],
)
def test_a_change_is_one_only_if_the_rounds_say_so(old, new, word):
    assert judge_change(row(*old), row(*new)) == word


def test_a_cost_that_fell_is_a_gain():
    assert find_gain(row(100, higher_is_better=False), row(50, higher_is_better=False)) == 2.0


def test_it_prints_each_row_with_what_became_of_it(bench, saved, other):
    outcome = bench("compare", saved, other(2.0))

    assert outcome.exit_code == 0
    line = next(line for line in outcome.output.splitlines() if "throughput" in line and "zeroq" in line)
    assert "2.00 x" in line
    assert "better" in line
    assert "only in" not in outcome.output
    assert "not alike" not in outcome.output


def test_it_leaves_out_what_did_not_change(bench, saved, other):
    outcome = bench("compare", saved, other(1.0), "--changed")

    assert "zeroq" not in outcome.output
    assert "same" in outcome.output


def test_it_warns_of_another_machine(bench, saved, other):
    assert "not alike cpus: A 2, B 64" in bench("compare", saved, other(1.0, cpus=64)).output


def test_it_names_what_only_one_has(bench, saved, other, results):
    results.rows = [each for each in results.rows if each.suite != "bulk"]
    save(results, saved)

    assert "only in B: bulk shmq-memory, bulk shmq-many" in bench("compare", saved, other(1.0)).output


def test_it_keeps_to_the_suites_asked_for(bench, saved, other):
    outcome = bench("compare", saved, other(3.0), "--only", "partitions")

    assert "partitions" in outcome.output
    assert "throughput" not in outcome.output


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("not JSON", "is not JSON"),
        ("[]", "is not a result of this benchmark"),
        ('{"schema": 1, "rows": []}', "its schema is 1, wanted is 2"),
        ('{"schema": 2, "rows": [{"what": 1}]}', "is damaged"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "plot", "show"])
def test_a_file_that_is_no_result_is_refused(bench, saved, tmp_path, text, complaint, command):
    bad = tmp_path / "bad.json"
    bad.write_text(text)

    outcome = bench(command, *([saved] if command == "compare" else []), bad)

    assert outcome.exit_code == 1
    assert complaint in outcome.output.replace("\n", " ")
