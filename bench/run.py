"""Take the steps of a plan one by one, with a progress bar, and collect what comes out."""

from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench import healing, pingpong, scaling, throughput
from bench.plan import Plan, Step
from bench.results import Results
from bench.scratch import Scratch, make_scratch

STEPS: dict[str, Callable[[Plan, Scratch], Iterator[Step]]] = {
    "throughput": throughput.steps,
    "pingpong": pingpong.steps,
    "healing": healing.steps,
    "scaling": scaling.steps,
}


def run_plan(plan: Plan, results: Results, console: Console) -> bool:
    """Run every step; a step that fails is noted, and the others go on. Return False if the user broke it off."""
    columns = (TextColumn("{task.description:48}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    # Two refreshes a second: the bar shares the processors with what it watches.
    with make_scratch() as scratch, Progress(*columns, *times, console=console, refresh_per_second=2) as progress:
        steps = [step for suite in plan.suites for step in STEPS[suite](plan, scratch)]
        task = progress.add_task("", total=len(steps))
        try:
            for step in steps:
                progress.update(task, description=f"{step.suite} {step.cases[0]} {step.peer}")
                take(step, results, progress)
                progress.advance(task)
        except KeyboardInterrupt:
            progress.console.print("[red]broken off[/red]")
            return False
    return True


def take(step: Step, results: Results, progress: Progress) -> None:
    """Run one step and note its outcome. Whatever a peer raises is its result, not the end of the run."""
    try:
        results.add(step, step.measure())
    except Exception as error:
        results.add_error(step, f"{type(error).__name__}: {error}")
        first_line = str(error).partition("\n")[0]
        progress.console.print(f"[red]failed[/red] {step.suite} {step.cases[0]} {step.peer}: {escape(first_line)}")
