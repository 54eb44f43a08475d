"""What people read: topics as tables.

Owns: columns and wording.
Must never: be parsed; `--json` is for programs.
Sits: beside `topics`; the only place besides the demo's report that imports rich.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

_WIDTH_OF_A_FILE = 160  # columns; a table in a file or a pipe is not to be cut at a terminal's 80


def print_topic(topic: Mapping[str, Any]) -> None:
    """Print one topic, as `topics describe` has it, on stdout."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    partitions = topic["partitions"]
    console.print(f"{topic['name']}  {_counted(len(partitions), 'partition')}  id {topic['topic_id']}")
    for name, value in topic["configs"].items():
        console.print(f"  {name}={value}")
    table = Table(box=box.SIMPLE)
    for heading in ("partition", "beginning offset", "end offset", "records", "segments", "size"):
        table.add_column(heading, justify="right")
    for each in partitions:
        begin, end = each["beginning_offset"], each["end_offset"]
        row = (each["partition_index"], begin, end, end - begin, each["segments"], decimal(each["bytes"]))
        table.add_row(*map(str, row))
    console.print(table)


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
