"""`python -m bench`: measure, print, save, draw. `compare A.json B.json`: what changed. `plot A.json`: draw again."""

import datetime
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from bench.catalogue import PEERS_OF_SUITES, SUITES
from bench.compare import print_comparison
from bench.machine import describe_machine
from bench.peers import ALL, Peer, find_version, pick_peers, why_missing
from bench.peers.brokers import BROKERS
from bench.plan import Plan
from bench.plots import draw_all
from bench.report import make_console, print_report
from bench.results import Results, load, save
from bench.roles.transfer import Pace
from bench.run import run_plan
from bench.values import MIN_SIZE_BYTES
from bench.verdict import judge

RESULTS = Path("bench-results")
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
DIRECTORY = click.Path(file_okay=False, path_type=Path)


@dataclass(frozen=True)
class Preset:
    """What an option is worth when it is not given."""

    sizes: str
    rounds: int
    kills: int
    pace: Pace


FULL = Preset("8,100,1024,65536,1048576", 3, 300, Pace(1.0, 10.0))
QUICK = Preset("100,65536", 2, 5, Pace(0.1, 0.25))


def split_list(text: str) -> tuple[str, ...]:
    """Return the parts of `a,b,c`."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


@click.group(invoke_without_command=True)
@click.option("--quick", is_flag=True, help="About two minutes: fewer sizes, cases and rounds, short runs.")
@click.option("--only", type=split_list, default=",".join(SUITES), metavar="LIST", help=f"Some of {','.join(SUITES)}.")
@click.option("--sizes", type=split_list, metavar="LIST", help=f"Record sizes in bytes [{FULL.sizes}].")
@click.option("--peers", type=split_list, default="", metavar="LIST", help="Peers whose names start with one of these.")
@click.option("--rounds", type=click.IntRange(1), help=f"Turns of every peer [{FULL.rounds}, quick: {QUICK.rounds}].")
@click.option(
    "--seconds", type=click.FloatRange(0.1), help=f"Steady state of a throughput run [{FULL.pace.seconds:g}]."
)
@click.option("--kills", type=click.IntRange(1), help=f"Processes killed per way of dying [{FULL.kills}].")
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path),
    help=f"Save the results here [{RESULTS}/DATE/results.json].",
)  # fmt: skip
@click.option("--plots", type=DIRECTORY, help="Draw the plots into this directory [beside the JSON].")
@click.pass_context
def main(
    context: click.Context,
    quick: bool,
    only: tuple[str, ...],
    sizes: tuple[str, ...] | None,
    peers: tuple[str, ...],
    rounds: int | None,
    seconds: float | None,
    kills: int | None,
    json_path: Path | None,
    plots: Path | None,
) -> None:
    """Measure shmq and its peers side by side, from the root of the repository."""
    if context.invoked_subcommand:
        return
    preset = QUICK if quick else FULL
    pace = Pace(preset.pace.warmup_s, seconds or preset.pace.seconds)
    try:
        sizes_bytes = make_sizes(sizes or split_list(preset.sizes))
        suites = make_suites(only)
        installed, missing = find_peers(peers)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    kills, rounds = kills or preset.kills, rounds or preset.rounds
    plan = Plan(suites, sizes_bytes, rounds, pace, kills, quick, installed, peers)
    json_path = json_path or RESULTS / f"{datetime.datetime.now():%Y-%m-%dT%H%M%S}" / "results.json"
    sys.exit(run(plan, missing, json_path, plots or json_path.parent))


@main.command()
@click.argument("before", type=EXISTING_FILE)
@click.argument("after", type=EXISTING_FILE)
@click.option("--only", type=split_list, default="", metavar="LIST", help="These suites.")
@click.option("--changed", is_flag=True, help="Leave out what is the same, or unclear.")
def compare(before: Path, after: Path, only: tuple[str, ...], changed: bool) -> None:
    """Print how two saved results differ."""
    try:
        print_comparison(make_console(), load(before), load(after), make_suites(only), changed)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("result", type=EXISTING_FILE)
@click.option("--plots", type=DIRECTORY, help="Into this directory [beside the JSON].")
def plot(result: Path, plots: Path | None) -> None:
    """Draw the plots of a saved result."""
    try:
        draw(make_console(), load(result), plots or result.parent)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("result", type=EXISTING_FILE)
def show(result: Path) -> None:
    """Print the tables and targets of a saved result."""
    try:
        results = load(result)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    print_report(make_console(), results, judge(results))


def make_suites(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the suites, in the order asked for; ValueError for one that does not exist."""
    for name in names:
        if name not in SUITES:
            raise ValueError(f"no suite is called {name!r}; there are {', '.join(SUITES)}")
    return names


def make_sizes(texts: tuple[str, ...]) -> tuple[int, ...]:
    """Return the record sizes; ValueError for what is no number or too small for a sequence number."""
    sizes_bytes = tuple(int(text) for text in texts)
    for size_bytes in sizes_bytes:
        if size_bytes < MIN_SIZE_BYTES:
            raise ValueError(f"a record has at least {MIN_SIZE_BYTES} bytes, its sequence number; got {size_bytes}")
    return sizes_bytes


def find_peers(names: tuple[str, ...]) -> tuple[tuple[type[Peer], ...], dict[str, str]]:
    """Return the peers that are installed, and why the others cannot run; ValueError for a name of nobody."""
    wanted = pick_peers(names, PEERS_OF_SUITES)
    missing = {peer.name: reason for peer in wanted if (reason := why_missing(peer))}
    return tuple(peer for peer in wanted if peer.name not in missing), missing


def run(plan: Plan, missing: dict[str, str], json_path: Path, plots: Path) -> int:
    """Measure, print, save, draw; return 0 if nothing that is installed failed."""
    signal.signal(signal.SIGTERM, interrupt)
    console = make_console()
    settings = {
        "suites": plan.suites,
        "sizes_bytes": plan.sizes_bytes,
        "rounds": plan.rounds,
        "warmup_s": plan.pace.warmup_s,
        "seconds": plan.pace.seconds,
        "kills": plan.kills,
        "quick": plan.quick,
    }
    about = {peer.name: describe_peer(peer, plan, missing) for peer in (*ALL, *BROKERS)}
    results = Results(describe_machine(), settings, about)
    finished = run_plan(plan, results, console)
    targets = judge(results)
    results.verdict = [{"target": target.sentence(), "met": target.met} for target in targets]
    print_report(console, results, targets)
    save(results, json_path)
    console.print(f"saved: {json_path}", highlight=False)
    draw(console, results, plots)
    return 0 if finished and not results.failed() else 1


def draw(console: Console, results: Results, directory: Path) -> None:
    """Draw the plots and say where, or why not."""
    try:
        written = draw_all(results, directory)
    except ImportError as error:
        console.print(f"no plots: {error} (pip install -e '.[bench]')", highlight=False)
        return
    console.print(f"drawn: {', '.join(str(path) for path in written) or 'nothing'}", highlight=False)


def describe_peer(peer: type[Peer], plan: Plan, missing: dict[str, str]) -> dict[str, str]:
    """Return what stands about a peer in the results."""
    about = {"usage": peer.usage}
    if peer.name in missing:
        return {**about, "missing": missing[peer.name]}
    if not plan.wants(peer.name):
        return {**about, "left out": "by --peers"}
    return about if why_missing(peer) else {**about, "version": find_version(peer)}


def interrupt(_signal_number: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does: children killed, files removed, what was measured printed."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(prog_name="python -m bench")
