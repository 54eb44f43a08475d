"""Write the options tables into the README: `python tests/docs/fill_readme.py`; a test checks that this was done."""

from __future__ import annotations

import re
from pathlib import Path

from shmq import config

README = Path(__file__).parents[2] / "README.md"


def filled(text: str) -> str:
    """Return the README with every table as the declarations have it now."""

    def table(match: re.Match[str]) -> str:
        declared = getattr(config, match[1])
        return f"<!-- options:{match[1]} -->\n{config.options_table(declared)}<!-- end -->"

    return re.sub(r"<!-- options:(\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
