"""Two results side by side: what changed, as a ratio."""

from rich.console import Console
from rich.table import Table

from bench.report import format_cell
from bench.results import Results, Row

NOISE = 1.1  # a change smaller than this is not coloured


def print_comparison(console: Console, before: Results, after: Results) -> None:
    """Print every row that both results have, and how much better the second is."""
    table = Table(title="A: before, B: after; above 1 is better", title_justify="left", title_style="bold")
    for column in ("suite", "case", "peer", "unit"):
        table.add_column(column, no_wrap=True)
    for column in ("A", "B", "better by"):
        table.add_column(column, justify="right")
    for old in before.rows:
        new = after.row(old.suite, old.case, old.peer)
        if new is not None:
            unit = "k records/s" if old.unit == "records/s" else old.unit
            row = (old.suite, old.case, old.peer, unit, format_cell(old), format_cell(new), format_gain(old, new))
            table.add_row(*row)
    for name, results in (("A", before), ("B", after)):
        machine = results.machine
        console.print(f"{name}: {machine['date']}  commit {machine['commit']}  {machine['cpus']} x {machine['cpu']}")
    console.print(table)


def format_gain(old: Row, new: Row) -> str:
    """Return the ratio of the medians, turned so that above 1 is better."""
    if not old.median or not new.median:
        return ""
    gain = new.median / old.median if old.higher_is_better else old.median / new.median
    style = "green" if gain > NOISE else "red" if gain < 1 / NOISE else "default"
    return f"[{style}]{gain:.2f} x[/]"
