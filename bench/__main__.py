"""`python -m bench`: measure, print, save. `python -m bench compare A.json B.json`: what changed."""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from bench.compare import print_comparison
from bench.machine import describe_machine
from bench.peers import ALL, Mode, Peer, find_version, pick_peers, why_missing
from bench.plan import SUITES, Plan
from bench.report import make_console, print_report
from bench.results import Results, load, save
from bench.roles import Pace
from bench.run import run_plan
from bench.values import MIN_SIZE_BYTES
from bench.verdict import judge


@dataclass(frozen=True)
class Preset:
    """What an option is worth when it is not given."""

    sizes: str
    rounds: int
    kills: int
    pace: Pace


FULL = Preset("8,100,1024,65536,1048576", 3, 300, Pace(1.0, 10.0))
QUICK = Preset("8,100,65536", 2, 20, Pace(0.2, 0.4))


def split_list(text: str) -> tuple[str, ...]:
    """Return the parts of `a,b,c`."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


@click.group(invoke_without_command=True)
@click.option("--quick", is_flag=True, help="About two minutes: fewer sizes, short runs.")
@click.option("--only", type=split_list, default=",".join(SUITES), metavar="LIST", help=f"Some of {','.join(SUITES)}.")
@click.option("--sizes", type=split_list, metavar="LIST", help=f"Record sizes in bytes [{FULL.sizes}].")
@click.option("--peers", type=split_list, default="", metavar="LIST", help="Peers whose names start with one of these.")
@click.option("--rounds", type=click.IntRange(1), help=f"Turns of every peer [{FULL.rounds}].")
@click.option(
    "--seconds", type=click.FloatRange(0.1), help=f"Steady state of a throughput run [{FULL.pace.seconds:g}]."
)
@click.option("--kills", type=click.IntRange(1), help=f"Producers killed per way of waiting [{FULL.kills}].")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Save the results here.")
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
) -> None:
    """Measure shmq and its peers side by side, from the root of the repository."""
    if context.invoked_subcommand:
        return
    preset = QUICK if quick else FULL
    pace = Pace(preset.pace.warmup_s, seconds or preset.pace.seconds)
    try:
        sizes_bytes = make_sizes(sizes or split_list(preset.sizes))
        installed, missing = find_peers(peers)
        plan = Plan(
            make_suites(only), sizes_bytes, rounds or preset.rounds, pace, kills or preset.kills, installed, missing
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    sys.exit(run(plan, json_path))


@main.command()
@click.argument("before", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("after", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def compare(before: Path, after: Path) -> None:
    """Print how two saved results differ."""
    try:
        print_comparison(make_console(), load(before), load(after))
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(str(error)) from error


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
    wanted = pick_peers(names)
    missing = {peer.name: reason for peer in wanted if (reason := why_missing(peer))}
    return tuple(peer for peer in wanted if peer.name not in missing), missing


def run(plan: Plan, json_path: Path | None) -> int:
    """Measure, print, save; return 0 if nothing that is installed failed."""
    signal.signal(signal.SIGTERM, interrupt)
    console = make_console()
    settings = {
        "suites": plan.suites,
        "sizes_bytes": plan.sizes_bytes,
        "rounds": plan.rounds,
        "warmup_s": plan.pace.warmup_s,
        "seconds": plan.pace.seconds,
        "kills": plan.kills,
    }
    results = Results(describe_machine(), settings, {peer.name: describe_peer(peer, plan) for peer in ALL})
    finished = run_plan(plan, results, console)
    targets = judge(results)
    results.verdict = [{"target": target.sentence(), "met": target.met} for target in targets]
    print_report(console, results, targets)
    if json_path:
        save(results, json_path)
        console.print(f"saved to {json_path}", highlight=False)
    return 0 if finished and not results.failed() else 1


def describe_peer(peer: type[Peer], plan: Plan) -> dict[str, str]:
    """Return what stands about a peer in the results."""
    suites = {"throughput" if mode is Mode.THROUGHPUT else f"pingpong {mode}" for mode in peer.modes}
    about = {"usage": peer.usage, "suites": ",".join(sorted(suites))}
    if peer.name in plan.missing:
        return {**about, "missing": plan.missing[peer.name]}
    return {**about, "version": find_version(peer)} if plan.has(peer.name) else {**about, "left out": "by --peers"}


def interrupt(_signal_number: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does: children killed, files removed, what was measured printed."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(prog_name="python -m bench")
