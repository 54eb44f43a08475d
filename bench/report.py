"""The tables and the targets, for a terminal (or 120 columns of plain text)."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.catalogue import SUITES
from bench.results import Results, Row
from bench.verdict import Target

WIDTH = 120
SCALES = {"records/s": (1000.0, "k records/s"), "items/s": (1000.0, "k items/s")}


def make_console() -> Console:
    """Return a console that does not squeeze tables when the output is not a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def print_report(console: Console, results: Results, targets: list[Target]) -> None:
    """Print what was measured on what, the tables, then the targets."""
    print_machine(console, results)
    for name in SUITES:
        if rows := results.suite(name):
            print_suite(console, name, rows)
    print_missing(console, results)
    print_errors(console, results)
    print_targets(console, targets)


def print_machine(console: Console, results: Results) -> None:
    """Print machine, settings and versions."""
    machine, settings = results.machine, results.settings
    console.print(
        f"\n{machine['date']}  commit {machine['commit']}\n{machine['cpus']} x {machine['cpu']}, {machine['caches']}, "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}, {machine['python']}\n"
        f"memory topics: /dev/shm, {machine['shm_gib']} GiB; disk topics: {machine['disk']}",
        highlight=False,
    )
    versions = [f"{name} {about['version']}" for name, about in results.peers.items() if "version" in about]
    console.print(
        f"{', '.join(versions)}\n{settings['rounds']} rounds, in which all take turns, each at most "
        f"{settings['seconds']:g} s of steady state; figures are median (lowest..highest)",
        highlight=False,
    )
    if machine["cpus"] <= 2:
        console.print(
            f"Nothing is pinned. The {machine['cpus']} processors are shared with whatever else runs here "
            f"(load at the start: {machine['load_1min']}): look at the spread before the median.",
            highlight=False,
        )


def print_suite(console: Console, suite: str, rows: list[Row]) -> None:
    """Print the tables of one suite: one, or one for each first word of its cases."""
    tables: dict[str, list[Row]] = {}
    for row in rows:
        tables.setdefault(row.case.partition(" ")[0] if SUITES[suite].grouped else "", []).append(row)
    for word, group in tables.items():
        _, unit = SCALES.get(group[0].unit, (1.0, group[0].unit))
        title = f"{suite}: {SUITES[suite].title}{f'; {word}' if word else ''}; {unit}"
        console.print(f"\n[bold]{title}[/bold]", highlight=False)
        console.print(make_table(word, group))
    print_laps(console, rows)


def make_table(word: str, rows: list[Row]) -> Table:
    """Return a table with a line per peer and a column per case."""
    cells = {(row.peer, row.case): format_cell(row) for row in rows}
    cases = list(dict.fromkeys(row.case for row in rows))
    table = Table()
    table.add_column("peer", no_wrap=True)
    for case in cases:
        table.add_column(case.removeprefix(word).strip(), justify="right")
    for peer in dict.fromkeys(row.peer for row in rows):
        table.add_row(peer, *(cells.get((peer, case), "") for case in cases))
    return table


def format_cell(row: Row) -> str:
    """Return median and spread."""
    if row.errors:
        return "[red]failed[/red]"
    if row.median is None:
        return "[dim]not here[/dim]"
    scale, _ = SCALES.get(row.unit, (1.0, ""))
    middle = format_median(row)
    if len(row.values) == 1:
        return middle
    return f"{middle} ({format_number(min(row.values) / scale)}..{format_number(max(row.values) / scale)})"


def format_median(row: Row) -> str:
    """Return the median alone, nothing where there is none."""
    scale, _ = SCALES.get(row.unit, (1.0, ""))
    return "" if row.median is None else format_number(row.median / scale)


def format_number(value: float) -> str:
    """Return three digits, or all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_laps(console: Console, rows: list[Row]) -> None:
    """Say how often each ring of ours went round."""
    laps = [f"{row.peer} {row.case} {row.notes['laps']:.1f}" for row in rows if "laps" in row.notes]
    if laps:
        console.print(f"Laps of the ring, counting values without headers: {', '.join(laps)}", highlight=False)


def print_missing(console: Console, results: Results) -> None:
    """Print what is not here, and why."""
    lines = [f"{name}: {about['missing']}" for name, about in results.peers.items() if "missing" in about]
    lines += [f"{row.suite} {row.peer}: {row.missing}" for row in results.rows if row.missing]
    for line in dict.fromkeys(lines):
        console.print(f"skipped: {escape(line)}", highlight=False)


def print_errors(console: Console, results: Results) -> None:
    """Print what failed."""
    errors = [(row, error.partition("\nTraceback")[0]) for row in results.failed() for error in row.errors]
    for reason in dict.fromkeys(f"{row.suite} {row.peer}: {error}" for row, error in errors):
        console.print(f"[red]failed[/red] {escape(reason)} (where: see the JSON)", highlight=False)


def print_targets(console: Console, targets: list[Target]) -> None:
    """Print each target and whether it is met."""
    styles = {True: "green", False: "red"}
    console.print("\n[bold]Targets[/bold]")
    for target in targets:
        if target.met is None:
            continue
        console.print(f"[{styles[target.met]}]-[/] {escape(target.sentence())}", highlight=False)
    if left := sum(target.met is None for target in targets):
        console.print(f"[dim]- {left} more were not measured in this run; the JSON names them[/dim]", highlight=False)
