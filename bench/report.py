"""The tables and the verdict, for a terminal (or 120 columns of plain text)."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.results import Results, Row
from bench.verdict import Target

WIDTH = 120
TITLES = {
    "throughput": "Throughput: one producer process, one consumer process; k records/s, median (lowest..highest)",
    "pingpong": "One-way latency at 100 B: half a round trip, microseconds, median (lowest..highest)",
    "healing": "Healing: SIGKILL between claim and commit, until a reader has the next record, milliseconds",
    "scaling": "Appending only, one partition, 100 B, k records/s of all producers together",
}
MODED = ("pingpong", "healing")  # cases start with the way of waiting
SCALES = {"records/s": 1000.0}


def make_console() -> Console:
    """Return a console that does not squeeze tables when the output is not a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def print_report(console: Console, results: Results, targets: list[Target]) -> None:
    """Print what was measured on what, then the verdict."""
    machine = results.machine
    console.print(
        f"\n{machine['date']}  commit {machine['commit']}\n{machine['cpus']} x {machine['cpu']}, "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}, {machine['python']}\n"
        f"memory topics: /dev/shm, {machine['shm_gib']} GiB; disk topics: {machine['disk']}",
        highlight=False,
    )
    if machine["cpus"] <= 2:
        console.print(
            f"Nothing is pinned. The {machine['cpus']} processors are shared with whatever else runs here "
            f"(load at the start: {machine['load_1min']}): look at the spread before the median.",
            highlight=False,
        )
    for suite in TITLES:
        rows = [row for row in results.rows if row.suite == suite]
        if rows:
            print_suite(console, results, suite, rows)
    print_errors(console, results)
    print_verdict(console, targets)


def print_suite(console: Console, results: Results, suite: str, rows: list[Row]) -> None:
    """Print the tables of one suite: one, or one for each way of waiting."""
    cases = list(dict.fromkeys(row.case for row in rows))
    modes = dict.fromkeys(case.partition(" ")[0] if suite in MODED else "" for case in cases)
    for mode in modes:
        console.print(f"\n[bold]{TITLES[suite]}{f', {mode}' if mode else ''}[/bold]", highlight=False)
        console.print(make_table(results, suite, mode, [case for case in cases if case.startswith(mode)]))
    print_laps(console, rows)


def make_table(results: Results, suite: str, mode: str, cases: list[str]) -> Table:
    """Return a table with a line per peer and a column per case."""
    table = Table()
    table.add_column("peer", no_wrap=True)
    for case in cases:
        table.add_column(case.removeprefix(mode).strip(), justify="right")
    for peer, about in results.peers.items():
        cells = [results.row(suite, case, peer) for case in cases]
        if any(cells):
            table.add_row(peer, *(format_cell(cell) for cell in cells))
        elif "missing" in about and f"{suite} {mode}".strip() in about["suites"].split(","):
            table.add_row(peer, "not installed", style="dim")
    return table


def format_cell(row: Row | None) -> str:
    """Return median and spread."""
    if row is None:
        return ""
    if row.median is None:
        return "[red]failed[/red]"
    scale = SCALES.get(row.unit, 1.0)
    middle = format_number(row.median / scale)
    if len(row.values) == 1:
        return middle
    return f"{middle} ({format_number(min(row.values) / scale)}..{format_number(max(row.values) / scale)})"


def format_number(value: float) -> str:
    """Return three digits, or all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_laps(console: Console, rows: list[Row]) -> None:
    """Say how often each ring of ours went round."""
    laps = [f"{row.peer} {row.case} {row.notes['laps']:.1f}" for row in rows if "laps" in row.notes]
    if laps:
        console.print(f"Laps of the ring, counting values without headers: {', '.join(laps)}", highlight=False)


def print_errors(console: Console, results: Results) -> None:
    """Print why peers are missing and what failed."""
    for peer, about in results.peers.items():
        if "missing" in about:
            console.print(f"{peer}: {escape(about['missing'])}", highlight=False)
    errors = [(row, error.partition("\nTraceback")[0]) for row in results.failed() for error in row.errors]
    for reason in dict.fromkeys(f"{row.suite} {row.peer}: {error}" for row, error in errors):
        console.print(f"[red]failed[/red] {escape(reason)} (where: see the JSON)", highlight=False)


def print_verdict(console: Console, targets: list[Target]) -> None:
    """Print each target and whether it is met."""
    console.print("\n[bold]Verdict[/bold] (targets of issue 2, for shmq on a memory topic)")
    styles = {True: "green", False: "red", None: "dim"}
    for target in targets:
        console.print(f"[{styles[target.met]}]-[/] {escape(target.sentence())}", highlight=False)
