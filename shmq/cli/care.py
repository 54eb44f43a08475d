"""`shmq verify` and `shmq gc`: looking after a broker's files.

Owns: the reports of both.
Must never: repair anything; `gc` removes only what nobody can use any more.
Sits: over store.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict

import click

from shmq.cli.output import counted, print_table
from shmq.errors import BrokerNotFoundError
from shmq.store import Finding, GcReport, broker_directory, collect, collect_all, open_broker, verify

_DOORBELL = re.compile(r"(.*/sem\.shmq-[0-9a-f]{16}-).*")


@click.command("verify", short_help="Check the files of all or some topics.")
@click.argument("topics", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def verify_files(broker: str | None, topics: tuple[str, ...], as_json: bool) -> int:
    """Check every file of TOPICS, all by default, against the format; exit status 1 if one is broken.

    The broker may be in use meanwhile.
    """
    opened = open_broker(broker_directory(broker), create=False)
    try:
        findings = list(verify(opened, topics or None))
    finally:
        opened.close()
    broken = [each for each in findings if each.problem]
    if as_json:
        click.echo(json.dumps([asdict(each) for each in findings], indent=2))
    elif findings:
        heads = ["partition", "segments ", "bytes ", "records ", "open claims ", "aborted ", "finding"]
        print_table(opened.directory, heads, [_row(each) for each in findings])
    for each in [] if as_json else broken:
        place = f"{each.path} at byte {each.pos}" if each.path else each.topic
        click.echo(f"shmq: {place}: {each.problem}", err=True)
    if not as_json:
        click.echo(f"{counted(len(findings), 'partition')}, {len(broken)} broken")
    return 1 if broken else 0


@click.command("gc", short_help="Remove what dead processes and brokers left.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def collect_garbage(broker: str | None, as_json: bool) -> int:
    """Remove what dead processes and brokers left: unfinished topics, orphaned segments, shared memory, semaphores.

    With --broker, what was left there. Else that of all brokers of this user, also of those whose directory is gone.
    """
    report = GcReport()
    try:
        opened = open_broker(broker_directory(broker), create=False)
    except BrokerNotFoundError:
        if broker is not None:
            raise
    else:
        try:
            report.add(collect(opened))
        finally:
            opened.close()
    if broker is None:
        report.add(collect_all())
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
    else:
        for line in _removed(report.removed):
            click.echo(line)
        for problem in report.problems:
            click.echo(f"shmq: not collected: {problem}", err=True)
        segments = counted(report.segment_files, "segment file")
        click.echo(f"{counted(len(report.removed), 'leftover')} and {segments} removed")
    return 1 if report.problems else 0


def _row(finding: Finding) -> list[str]:
    numbers = ("segments", "bytes", "records", "claimed", "aborted")
    census = [f"{finding.census[name]:,}" if finding.census else "" for name in numbers]
    whole_topic = finding.partition < 0
    name = finding.topic if whole_topic else f"{finding.topic}-{finding.partition}"
    return [name, *census, "broken" if finding.problem else "ok"]


def _removed(paths: list[str]) -> list[str]:
    """A line for each path; semaphores, of which a broker may leave a thousand, in one line for each broker."""
    bells = Counter(bell[1] for path in paths if (bell := _DOORBELL.fullmatch(path)))
    others = [f"removed {path}" for path in paths if not _DOORBELL.fullmatch(path)]
    return others + [f"removed {counted(number, 'semaphore')} {stem}*" for stem, number in bells.items()]
