"""How long the storms blow and by which seed, and letting the tests here import the modules beside them.

`pytest -m long tests/stress --seconds 600 --seed 7`: these options are known where this directory is named.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("storms")
    group.addoption("--seconds", type=float, default=300.0, help="how long each of the long storms goes on")
    group.addoption("--seed", type=int, default=1, help="another one is another storm")
