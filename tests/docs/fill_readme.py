"""Write tables into the README, of options and of tests that do not hold for our queues, from where they are kept.

`python tests/docs/fill_readme.py`; a test checks that this was done.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from shmq import config

README = Path(__file__).parents[2] / "README.md"


def filled(text: str) -> str:
    """Return the README with every table as it must be now."""

    def table(match: re.Match[str]) -> str:
        declared = getattr(config, match[1])
        return f"<!-- options:{match[1]} -->\n{config.options_table(declared)}<!-- end -->"

    exempt = json.loads((Path(__file__).parents[1] / "cpython" / "exempt.json").read_text())
    rows = "".join(f"| `{test}` | {reason} |\n" for test, reason in exempt.items())
    text = re.sub(
        r"<!-- exempt -->\n.*?<!-- end -->",
        lambda _: f"<!-- exempt -->\n| test | why not |\n| --- | --- |\n{rows}<!-- end -->",
        text,
        flags=re.DOTALL,
    )
    return re.sub(r"<!-- options:(\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
