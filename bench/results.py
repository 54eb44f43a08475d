"""What came out: one row per suite, case and peer, with a value per round; to and from JSON."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.plan import SHARES, Outcome, Step

SCHEMA = 2


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
    missing: str = ""  # why it could not be measured here

    @property
    def median(self) -> float | None:
        """The median over the rounds; None if a round failed, or none was run."""
        return statistics.median(self.values) if self.values and not self.errors else None


@dataclass
class Curve:
    """The distributions of one peer in one case: of each round, its values at `shares` of Results."""

    suite: str
    case: str
    peer: str
    unit: str
    rounds: list[list[float]] = field(default_factory=list)

    def medians(self) -> list[float]:
        """Return, for each share, the median over the rounds."""
        return [statistics.median(column) for column in zip(*self.rounds, strict=True)]


@dataclass
class Results:
    """Everything of one run."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    peers: dict[str, dict[str, str]]  # name -> version, usage, or why it is missing
    rows: list[Row] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    shares: list[float] = field(default_factory=lambda: list(SHARES))
    verdict: list[dict[str, Any]] = field(default_factory=list)

    def row(self, suite: str, case: str, peer: str) -> Row | None:
        """Return one row, None if there is none."""
        return next((row for row in self.rows if (row.suite, row.case, row.peer) == (suite, case, peer)), None)

    def median(self, suite: str, case: str, peer: str) -> float | None:
        """Return the median of one row, None if it was not measured or failed."""
        row = self.row(suite, case, peer)
        return row.median if row else None

    def suite(self, name: str) -> list[Row]:
        """Return the rows of one suite."""
        return [row for row in self.rows if row.suite == name]

    def curves_of(self, suite: str, case: str) -> list[Curve]:
        """Return the distributions of all peers in one case."""
        return [curve for curve in self.curves if (curve.suite, curve.case) == (suite, case)]

    def add(self, step: Step, outcome: Outcome) -> None:
        """Add the values of a step that succeeded."""
        for case, value in zip(step.cases, outcome.values, strict=True):
            row = self._find_or_add(step, case)
            row.values.append(value)
            row.notes = outcome.notes
        for case, curve in outcome.curves.items():
            self._find_or_add_curve(step, case).rounds.append(curve)

    def add_error(self, step: Step, reason: str) -> None:
        """Note for all cases of a step that it failed."""
        for case in step.cases:
            self._find_or_add(step, case).errors.append(reason)

    def add_missing(self, step: Step, reason: str) -> None:
        """Note for all cases of a step that they cannot be measured here."""
        for case in step.cases:
            self._find_or_add(step, case).missing = reason

    def failed(self) -> list[Row]:
        """Return the rows with errors."""
        return [row for row in self.rows if row.errors]

    def _find_or_add(self, step: Step, case: str) -> Row:
        row = self.row(step.suite, case, step.peer)
        if row is None:
            row = Row(step.suite, case, step.peer, step.unit, step.higher_is_better)
            self.rows.append(row)
        return row

    def _find_or_add_curve(self, step: Step, case: str) -> Curve:
        found = [curve for curve in self.curves_of(step.suite, case) if curve.peer == step.peer]
        if not found:
            found = [Curve(step.suite, case, step.peer, step.unit)]
            self.curves += found
        return found[0]


def save(results: Results, path: Path) -> None:
    """Write the results as JSON, medians included for readers without this module; makes the directory."""
    document = {"schema": SCHEMA, **asdict(results)}
    for row, entry in zip(results.rows, document["rows"], strict=True):
        entry["median"] = row.median
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def load(path: Path) -> Results:
    """Read what `save` wrote; ValueError if it is something else."""
    try:
        document = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    schema = document.pop("schema", None) if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path} is not a result of this benchmark: its schema is {schema}, wanted is {SCHEMA}")
    try:
        for entry in document["rows"]:
            entry.pop("median", None)
        rows, curves = (
            [kind(**entry) for entry in document[name]] for name, kind in (("rows", Row), ("curves", Curve))
        )
        return Results(**{**document, "rows": rows, "curves": curves})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from error
