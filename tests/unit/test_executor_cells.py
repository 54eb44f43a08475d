"""Who may run a task, as the word of the task has it."""

from __future__ import annotations

import pytest

from shmq.executor.cells import MOST_STARTS, SLOTS, Cells

TASK = 7 * SLOTS + 3


@pytest.fixture
def cells():
    cells = Cells()
    cells.offer(TASK)
    return cells


def test_one_worker_starts_a_task(cells):
    assert not cells.is_started(TASK)

    assert cells.start(TASK, worker=1, retries=0, is_again=False)

    assert cells.is_started(TASK)
    assert cells.starts_by(TASK, worker=1) == 1
    assert cells.starts_by(TASK, worker=2) == 0


@pytest.mark.parametrize("retries", [0, 1, 3, MOST_STARTS - 1])
def test_it_is_started_no_more_often_than_retries_allow(cells, retries):
    workers = range(1, retries + 3)

    allowed = [cells.start(TASK, worker, retries, is_again=True) for worker in workers]

    assert allowed == [True] * (retries + 1) + [False]
    assert cells.starts_by(TASK, retries + 1) == retries + 1


def test_a_cancelled_task_is_not_started(cells):
    assert cells.cancel(TASK)
    assert not cells.cancel(TASK)

    assert not cells.start(TASK, worker=1, retries=5, is_again=True)
    assert cells.is_cancelled(TASK)


def test_a_started_task_is_not_cancelled(cells):
    cells.start(TASK, worker=1, retries=5, is_again=True)

    assert not cells.cancel(TASK)
    assert not cells.is_cancelled(TASK)


def test_a_settled_task_is_not_started_when_it_is_delivered_again(cells):
    cells.start(TASK, worker=1, retries=5, is_again=True)
    cells.free(TASK)

    assert not cells.start(TASK, worker=2, retries=5, is_again=True)
    assert not cells.is_started(TASK)


@pytest.mark.parametrize("later", [TASK + SLOTS, TASK + 1000 * SLOTS, TASK + ((1 << 27) - 1) * SLOTS])
def test_a_late_delivery_does_not_touch_the_next_task_of_the_slot(cells, later):
    cells.start(TASK, worker=1, retries=5, is_again=True)
    cells.free(TASK)
    cells.offer(later)

    assert not cells.start(TASK, worker=2, retries=5, is_again=True)
    assert not cells.cancel(TASK)
    assert cells.start(later, worker=3, retries=0, is_again=True)
    assert not cells.start(TASK, worker=2, retries=5, is_again=True)
    assert (cells.starts_by(TASK, worker=3), cells.starts_by(later, worker=3)) == (0, 1)


@pytest.mark.parametrize("worker", [1, (1 << 22) - 1, (1 << 22) + 1])
def test_any_number_of_workers_can_be_told_apart(cells, worker):
    cells.start(TASK, worker, retries=0, is_again=True)

    assert cells.starts_by(TASK, worker) == 1
    assert cells.starts_by(TASK, worker - 1) == 0


def test_a_task_that_was_sent_twice_is_started_once(cells):
    assert cells.start(TASK, worker=1, retries=5, is_again=False)

    assert not cells.start(TASK, worker=2, retries=5, is_again=False)
    assert cells.start(TASK, worker=2, retries=5, is_again=True)
