"""What the demo prints.

Owns: tables and the summary.
Must never: print a figure that was not measured in this run.
Sits: beside `count` and `race`.
"""

from __future__ import annotations

import statistics

from rich.console import Console
from rich.table import Table

from shmq.demo.count import Counted
from shmq.demo.race import Round
from shmq.demo.source import Source
from shmq.demo.workers import AT_ONCE

COMMONEST = 20


def say(console: Console, line: str, style: str | None = None) -> None:
    """Print a line as it is: names of files are no markup, and where it wraps is the terminal's affair."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def print_counts(console: Console, counted: Counted, source: Source) -> None:
    """The commonest names, the rate, and what could not be read."""
    table = Table(title=f"The {COMMONEST} commonest names", title_justify="left")
    for head in ("name", "times", "name", "times"):
        table.add_column(head, justify="right" if head == "times" else "left")
    commonest = [(name, f"{times:,}") for name, times in counted.names.most_common(COMMONEST)]
    half = (len(commonest) + 1) // 2
    for left, right in zip(commonest[:half], [*commonest[half:], ("", "")], strict=False):
        table.add_row(*left, *right)
    console.print(table)
    say(
        console,
        f"{len(counted.seen):,} files counted in {counted.seconds:.1f} s: "
        f"{len(counted.seen) / counted.seconds:,.0f} files/s, {source.total_bytes / counted.seconds / 1e6:.1f} MB/s; "
        f"{sum(counted.names.values()):,} names, {len(counted.names):,} different ones",
    )
    say(
        console,
        "The workers were a group. One was killed (kill -9) half-way and another started: nothing was lost, and what "
        f"it had not committed, {counted.doubled} of at most {AT_ONCE} results, came twice and was recognised.",
    )
    if counted.unreadable:
        name, reason = min(counted.unreadable.items())
        say(
            console,
            f"{len(counted.unreadable):,} of them Python does not tokenize to the end (counted up to there), such as "
            f"{name}: {reason}",
        )


def print_race(console: Console, rounds: list[Round]) -> None:
    """Rates of both sides: median and spread, and their ratio."""
    say(
        console,
        f"The same files, {rounds[0].records:,} records a round, to workers that only receive and check; "
        "median (lowest to highest):",
    )
    table = Table()
    for head in ("through", "records/s", "MB/s", "rounds"):
        table.add_column(head, justify="left" if head == "through" else "right")
    medians = {}
    for side in dict.fromkeys(each.side for each in rounds):
        rates = [each.records / each.seconds for each in rounds if each.side == side]
        megabytes = [each.sent_bytes / each.seconds / 1e6 for each in rounds if each.side == side]
        medians[side] = statistics.median(rates)
        table.add_row(
            side,
            f"{medians[side]:,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
            f"{statistics.median(megabytes):,.0f}",
            str(len(rates)),
        )
    console.print(table)
    queue, ours = medians.values()
    say(console, f"shmq carried {ours / queue:.1f} times as many records per second as multiprocessing.Queue.")
