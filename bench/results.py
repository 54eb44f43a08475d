"""What came out: one row per suite, case and peer, with a value per round; to and from JSON."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.plan import Outcome, Step

SCHEMA = 1


@dataclass
class Row:
    """The values of one peer in one case."""

    suite: str
    case: str
    peer: str
    unit: str
    higher_is_better: bool
    values: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    notes: dict[str, float] = field(default_factory=dict)  # of the last round

    @property
    def median(self) -> float | None:
        """The median over the rounds; None if a round failed, or none was run."""
        return statistics.median(self.values) if self.values and not self.errors else None


@dataclass
class Results:
    """Everything of one run."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    peers: dict[str, dict[str, str]]  # name -> version, usage, or why it is missing
    rows: list[Row] = field(default_factory=list)
    verdict: list[dict[str, Any]] = field(default_factory=list)

    def row(self, suite: str, case: str, peer: str) -> Row | None:
        """Return one row, None if there is none."""
        return next((row for row in self.rows if (row.suite, row.case, row.peer) == (suite, case, peer)), None)

    def median(self, suite: str, case: str, peer: str) -> float | None:
        """Return the median of one row, None if it was not measured or failed."""
        row = self.row(suite, case, peer)
        return row.median if row else None

    def add(self, step: Step, outcome: Outcome) -> None:
        """Add the values of a step that succeeded."""
        values, notes = outcome
        for case, value in zip(step.cases, values, strict=True):
            row = self._find_or_add(step, case)
            row.values.append(value)
            row.notes = notes

    def add_error(self, step: Step, reason: str) -> None:
        """Note for all cases of a step that it failed."""
        for case in step.cases:
            self._find_or_add(step, case).errors.append(reason)

    def failed(self) -> list[Row]:
        """Return the rows with errors."""
        return [row for row in self.rows if row.errors]

    def _find_or_add(self, step: Step, case: str) -> Row:
        row = self.row(step.suite, case, step.peer)
        if row is None:
            row = Row(step.suite, case, step.peer, step.unit, step.higher_is_better)
            self.rows.append(row)
        return row


def save(results: Results, path: Path) -> None:
    """Write the results as JSON, medians included for readers without this module."""
    document = {"schema": SCHEMA, **asdict(results)}
    for row, entry in zip(results.rows, document["rows"], strict=True):
        entry["median"] = row.median
    path.write_text(json.dumps(document, indent=1) + "\n")


def load(path: Path) -> Results:
    """Read what `save` wrote; ValueError if it is something else."""
    try:
        document = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.pop("schema", None) != SCHEMA:
        raise ValueError(f"{path} is not a result of this benchmark (schema {SCHEMA})")
    for entry in document["rows"]:
        entry.pop("median")
    return Results(**{**document, "rows": [Row(**entry) for entry in document["rows"]]})
