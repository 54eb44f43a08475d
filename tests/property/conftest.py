"""Hypothesis profiles, and letting the tests here import the modules beside them and those of the fuzzer.

`quick` is CI's: the same examples each time. `pytest --hypothesis-profile=long tests/property` looks further.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "fuzz")]

_COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}
settings.register_profile(
    "quick", derandomize=True, max_examples=120, stateful_step_count=100, database=None, **_COMMON
)
settings.register_profile("long", max_examples=1000, stateful_step_count=100, **_COMMON)
settings.load_profile("quick")
