"""What storms found about collecting, each made to happen surely."""

from __future__ import annotations

import sys

import posix_ipc

from shmq import _native
from shmq.store import collect

DEAD_SLOT, DEAD_EPOCH = 5, 1


def test_a_doorbell_that_its_owner_removes_while_it_is_collected_is_no_error(broker):
    bell = _native.doorbell_name(int(broker.instance, 16), DEAD_SLOT, DEAD_EPOCH)
    posix_ipc.Semaphore(bell, posix_ipc.O_CREX).close()

    def collect_late() -> tuple[list[str], list[str]]:
        """Its owner removes it at the moment at which the collector is about to."""

        def be_faster(event: str, arguments: tuple[object, ...]) -> None:
            if event == "os.remove" and arguments[0] == f"/dev/shm/sem.{bell[1:]}":
                posix_ipc.unlink_semaphore(bell)

        sys.addaudithook(be_faster)
        report = collect(broker.admin.broker)
        return report.removed, report.problems

    assert broker.fork(collect_late).result() == ([], [])
    assert broker.doorbells() == []
