"""Apply one mutant of mutants.txt to copies of the sources, or list them.

Usage: mutate.py list
       mutate.py apply NAME COPY

`apply` edits the files below COPY, a copy of the repository. It exits with status 1 and a message if an old
text does not stand exactly once in its file, since a mutant that does not apply proves nothing.
"""

import sys
from pathlib import Path

MUTANTS = Path(__file__).with_name("mutants.txt")


Edit = tuple[str, list[str], list[str]]  # file, old lines, new lines


def parse(text: str) -> dict[str, tuple[str, str, list[Edit]]]:
    """Return the scenario, the properties and the edits of each mutant, by its name."""
    mutants: dict[str, tuple[str, str, list[Edit]]] = {}
    edits: list[Edit] = []
    for line in text.splitlines():
        if line.startswith("["):
            name, scenario, properties = line.strip("[]").split()
            edits = []
            mutants[name] = (scenario, properties, edits)
        elif line.startswith("@ "):
            edits.append((line[2:].strip(), [], []))
        elif line.startswith("-") and edits:
            edits[-1][1].append(line[1:])
        elif line.startswith("+") and edits:
            edits[-1][2].append(line[1:])
    return mutants


def apply(name: str, copy: Path) -> None:
    for file, old_lines, new_lines in parse(MUTANTS.read_text())[name][2]:
        path = copy / file
        text, old, new = path.read_text(), "\n".join(old_lines), "\n".join(new_lines)
        if text.count(old) != 1:
            sys.exit(f"mutant {name} does not apply: its text stands {text.count(old)} times in {file}, not once")
        path.write_text(text.replace(old, new))


def main(arguments: list[str]) -> None:
    match arguments:
        case ["list"]:
            for name, (scenario, properties, _) in parse(MUTANTS.read_text()).items():
                print(name, scenario, properties)
        case ["apply", name, copy]:
            apply(name, Path(copy))
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
