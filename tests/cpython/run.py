"""CPython's own tests of multiprocessing, unmodified, with its queues replaced by ours: `run.py REPORT TEST...`.

Owns: putting our classes into `multiprocessing.queues`, in spawned children too, which import this file as their main
module; and counting how many of our queues each test makes, in whatever process.
Must never: change a test, or anything that a test looks at but the three classes.
Sits: in tests; `test_cpython.py` runs it and says which tests must pass. REPORT is a file that it writes as JSON. The
environment says which start method: children need to know it, too.
"""

from __future__ import annotations

import faulthandler
import json
import multiprocessing.queues
import os
import sys
import unittest

from test import _test_multiprocessing

import shmq
from shmq.queues.base import BaseQueue

COUNTS_VARIABLE = "SHMQ_TEST_CONSTRUCTIONS"
"""Names a file that grows by one byte with each queue that is made."""
HANGS_AFTER_S = 600

_init = BaseQueue.__init__


def _counted(self: BaseQueue, *args: object, **options: object) -> None:
    _init(self, *args, **options)  # type: ignore[arg-type]
    counts = os.open(os.environ[COUNTS_VARIABLE], os.O_WRONLY | os.O_APPEND)
    os.write(counts, b".")
    os.close(counts)


BaseQueue.__init__ = _counted  # type: ignore[method-assign]
multiprocessing.queues.Queue = shmq.Queue  # type: ignore[misc]
multiprocessing.queues.JoinableQueue = shmq.JoinableQueue  # type: ignore[misc]
multiprocessing.queues.SimpleQueue = shmq.SimpleQueue  # type: ignore[misc]

_test_multiprocessing.install_tests_in_module_dict(globals(), os.environ["SHMQ_TEST_START_METHOD"])


class Report(unittest.TextTestResult):
    """What came of each test, and how many queues it made."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.tests: dict[str, dict[str, object]] = {}
        self._class: type | None = None
        self._class_made = 0  # queues that the set-up of the class has made, which its tests use
        self._made = 0

    def startTest(self, test: unittest.TestCase) -> None:
        if type(test) is not self._class:
            self._class, self._class_made = type(test), _made() - self._made
        self._made = _made()
        self.tests[_name(test)] = {"outcome": "passed", "why": ""}
        super().startTest(test)

    def stopTest(self, test: unittest.TestCase) -> None:
        self.tests[_name(test)]["queues"] = _made() - self._made + self._class_made
        self._made = _made()
        super().stopTest(test)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._note(test, "failed", self.failures[-1][1])

    def addError(self, test, error):
        super().addError(test, error)
        self._note(test, "failed", self.errors[-1][1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._note(test, "skipped", reason)

    def _note(self, test, outcome: str, why: str) -> None:
        self.tests.setdefault(_name(test), {"queues": 0}).update(outcome=outcome, why=why)


def _name(test: unittest.TestCase) -> str:
    return test.id().removeprefix("__main__.")


def _made() -> int:
    return os.stat(os.environ[COUNTS_VARIABLE]).st_size


def main(report_path: str, wanted: list[str]) -> None:
    """Run the tests named, `Class` or `Class.test`, and write the report."""
    faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True)
    suite = unittest.defaultTestLoader.loadTestsFromNames(wanted, sys.modules["__main__"])
    result = unittest.TextTestRunner(resultclass=Report, verbosity=2).run(suite)
    with open(report_path, "w") as report:
        json.dump(result.tests, report)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
