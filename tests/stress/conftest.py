"""How long the storm lasts, and by which seed: `pytest tests/stress --storm-seconds 600 --storm-seed 7`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--storm-seconds", type=float, default=0.0, help="go on at least so long; default: until it is enough"
    )
    parser.addoption("--storm-seed", type=int, default=1, help="another one is another storm")
