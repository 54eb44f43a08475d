"""Lets the tests here import the modules beside them, and `on_disk`, which lies with the fuzzer."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "fuzz")]
