"""How an option is declared: default, checker and one line of documentation, as a field of a config dataclass.

Owns: the declaration, reading one value by it, and the markdown table made from it.
Must never: know any particular option.
Sits: over `checks`; under `topic` and `client`, whose dataclasses are the declarations.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from shmq.errors import KafkaConfigurationError

from .checks import Checker, UnfitError, shown


@dataclass(frozen=True)
class Option:
    """One option: `ours` if Kafka has none of this name; `default_text` where the default depends on other options."""

    name: str
    default: object
    checker: Checker
    doc: str
    ours: bool
    alterable: bool
    default_text: str

    @property
    def dotted(self) -> str:
        """The name as Kafka writes names, with our prefix where it is ours."""
        return ("shmq." if self.ours else "") + self.name.replace("_", ".")

    @property
    def names(self) -> set[str]:
        """Every name under which this option is accepted."""
        return {self.name, self.name.replace("_", "."), self.dotted}

    def parse(self, value: object, error: type[KafkaConfigurationError], *, text: bool = False) -> Any:
        """Return `value` as the option holds it.

        Args:
            value: What the user gave.
            error: The class of the error to raise.
            text: Whether a `str` may stand for a value of another type.

        Raises:
            KafkaConfigurationError: naming the option, the value and what is allowed.
        """
        try:
            return self.checker.check(self.checker.read(value) if text and isinstance(value, str) else value)
        except UnfitError as unfit:
            raise error(self.name, shown(value), str(unfit)) from None


def option(
    default: object,
    checker: Checker,
    doc: str,
    *,
    ours: bool = False,
    alterable: bool = True,
    default_text: str = "",
) -> Any:
    """Declare a field of a config dataclass as an option; `options_of` finds it again."""
    declared = {"checker": checker, "doc": doc, "ours": ours, "alterable": alterable, "default_text": default_text}
    return dataclasses.field(default=default, metadata=declared)


def options_of(config: type[Any]) -> dict[str, Option]:
    """Return the options that a config dataclass declares, by name, in the order of declaration."""
    declared = [each for each in dataclasses.fields(config) if "checker" in each.metadata]
    return {each.name: Option(name=each.name, default=each.default, **each.metadata) for each in declared}


def options_table(config: type[Any]) -> str:
    """Return a config dataclass's options as a markdown table, as it stands in the README."""
    options = options_of(config).values()
    dotted = any(each.ours or not each.alterable for each in options) and hasattr(config, "altered")
    heads = ["option", *(["Kafka's form"] if dotted else []), "default", "allowed", "meaning"]
    lines = [heads, ["---"] * len(heads)]
    for each in options:
        default = each.default_text or each.checker.show(each.default)
        meaning = each.doc if each.alterable else f"{each.doc} Cannot be altered later."
        lines.append(
            [f"`{each.name}`", *([f"`{each.dotted}`"] if dotted else []), default, each.checker.allowed, meaning]
        )
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
