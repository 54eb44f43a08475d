"""Take the steps of a plan one by one, with a progress bar, and collect what comes out."""

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.catalogue import SUITES
from bench.plan import NotHereError, Plan, Step
from bench.results import Results
from bench.scratch import make_scratch


def run_plan(plan: Plan, results: Results, console: Console) -> bool:
    """Run every step; a step that fails is noted, and the others go on. Return False if the user broke it off."""
    columns = (TextColumn("{task.description:48}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    # Two refreshes a second: the bar shares the processors with what it watches.
    with make_scratch() as scratch, Progress(*columns, *times, console=console, refresh_per_second=2) as progress:
        steps = [step for name in plan.suites for make in SUITES[name].steps for step in make(plan, scratch)]
        task = progress.add_task("", total=len(steps))
        took_s = results.settings.setdefault("took_s", {})
        try:
            for step in steps:
                progress.update(task, description=f"{step.suite} {step.cases[0]} {step.peer}")
                began_s = time.perf_counter()
                take(step, results, progress)
                took_s[step.suite] = round(took_s.get(step.suite, 0) + time.perf_counter() - began_s, 1)
                progress.advance(task)
        except KeyboardInterrupt:
            progress.console.print("[red]broken off[/red]")
            return False
    return True


def take(step: Step, results: Results, progress: Progress) -> None:
    """Run one step and note its outcome. Whatever a peer raises is its result, not the end of the run."""
    try:
        results.add(step, step.measure())
    except (NotHereError, ImportError) as error:
        results.add_missing(step, str(error))
    except Exception as error:
        results.add_error(step, f"{type(error).__name__}: {error}")
        first_line = str(error).partition("\n")[0]
        progress.console.print(f"[red]failed[/red] {step.suite} {step.cases[0]} {step.peer}: {escape(first_line)}")
