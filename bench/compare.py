"""Two results side by side: what changed, as a ratio, and whether it is more than the rounds vary among themselves."""

from collections import Counter
from collections.abc import Iterable

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bench.report import SCALES, format_median
from bench.results import Results, Row

NOISE = 1.1  # a smaller change of the median is none
LIKE = ("cpu", "cpus", "kernel", "python")  # what should be the same in both
STYLES = {"better": "green", "worse": "red", "same": "default", "unclear": "yellow", "": "dim"}


def print_comparison(
    console: Console, before: Results, after: Results, suites: Iterable[str] = (), changed: bool = False
) -> None:
    """Print every row that both results have, how much better the second is, and what only one of them has.

    Args:
        console: Where to.
        before, after: A and B.
        suites: Only these; empty: all.
        changed: Only rows that are better or worse.
    """
    wanted = set(suites) or {row.suite for row in (*before.rows, *after.rows)}
    table = Table(
        title="A: before, B: after; a gain above 1 is better",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
        title_justify="left",
        title_style="bold",
    )
    for column in ("suite", "case", "peer", "unit"):
        table.add_column(column, no_wrap=True)
    for column in ("A", "B", "gain"):
        table.add_column(column, justify="right", no_wrap=True, min_width=6)
    table.add_column("", no_wrap=True, min_width=7)
    counts: Counter[str] = Counter()
    for old in before.rows:
        new = after.row(old.suite, old.case, old.peer)
        if new is None or old.suite not in wanted:
            continue
        word = judge_change(old, new)
        counts[word] += 1
        if not changed or word in ("better", "worse"):
            _, unit = SCALES.get(old.unit, (1.0, old.unit))
            gain, style = format_gain(old, new), STYLES[word]
            table.add_row(
                *(old.suite, old.case, old.peer, unit, format_median(old), format_median(new), gain, word), style=style
            )
    print_sources(console, before, after)
    console.print(table)
    console.print(", ".join(f"{count} {word}" for word, count in counts.items() if word) or "nothing in common")
    console.print(
        f"better, worse: the median changed by more than {NOISE:g} x and no round of one reaches a round of the other; "
        "unclear: it changed, but rounds overlap, or there is one alone",
        highlight=False,
    )
    for name, ours, theirs in (("A", before, after), ("B", after, before)):
        alone = [row for row in ours.rows if row.suite in wanted and theirs.row(row.suite, row.case, row.peer) is None]
        if alone:
            console.print(
                f"only in {name}: {', '.join(dict.fromkeys(f'{r.suite} {r.peer}' for r in alone))}", highlight=False
            )


def print_sources(console: Console, before: Results, after: Results) -> None:
    """Print what both were measured on, and warn of what makes them hard to compare."""
    for name, results in (("A", before), ("B", after)):
        machine = results.machine
        console.print(
            f"{name}: {machine.get('date')}  commit {machine.get('commit')}  "
            f"{machine.get('cpus')} x {machine.get('cpu')}, load {machine.get('load_1min')}",
            highlight=False,
        )
    pairs = [(name, before.machine.get(name), after.machine.get(name)) for name in LIKE]
    pairs += [(name, before.settings.get(name), after.settings.get(name)) for name in ("rounds", "seconds", "kills")]
    for peer in before.peers.keys() & after.peers.keys() - {"shmq-memory", "shmq-disk", "shmq-many"}:
        pairs.append((peer, before.peers[peer].get("version"), after.peers[peer].get("version")))
    for name, old, new in pairs:
        if old != new:
            console.print(f"[yellow]not alike[/] {name}: A {old}, B {new}", highlight=False)


def judge_change(old: Row, new: Row) -> str:
    """Return "better", "worse", "same", "unclear", or nothing where one was not measured."""
    gain = find_gain(old, new)
    if gain is None:
        return ""
    if 1 / NOISE <= gain <= NOISE:
        return "same"
    overlap = min(old.values) <= max(new.values) and min(new.values) <= max(old.values)
    if overlap or min(len(old.values), len(new.values)) < 2:
        return "unclear"
    return "better" if gain > 1 else "worse"


def find_gain(old: Row, new: Row) -> float | None:
    """Return the ratio of the medians, turned so that above 1 is better; None where one was not measured."""
    if not old.median or not new.median:
        return None
    return new.median / old.median if old.higher_is_better else old.median / new.median


def format_gain(old: Row, new: Row) -> str:
    """Return the ratio as text."""
    gain = find_gain(old, new)
    return "" if gain is None else f"{gain:.2f} x"
