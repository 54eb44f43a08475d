"""A process is killed, or stopped, at its 1st, 2nd, 3rd ... store that others can see; the others go on."""

from __future__ import annotations

import signal

import pytest
from scenarios import SCENARIOS
from sources import fault_points
from stage import staged

REACHED: set[str] = set()


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_nothing_is_lost_when_a_process_is_killed_at_any_point_of(scenario, broker):
    with staged(broker.address, broker.admin, scenario) as stage:
        stage.walk(signal.SIGKILL)
        REACHED.update(stage.reached)
    broker.has_deaths = True


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_nothing_is_lost_when_a_process_is_stopped_at_any_point_of(scenario, broker):
    with staged(broker.address, broker.admin, scenario) as stage:
        stage.walk(signal.SIGSTOP)


def test_every_fault_point_was_reached(request):
    """By the tests above, if all of them ran."""
    ran = {item.originalname for item in request.session.items if item.path == request.path}
    scenarios = sum(item.path == request.path for item in request.session.items)
    if scenarios < 2 * len(SCENARIOS) or len(ran) < 3:
        pytest.skip("only some scenarios were chosen")
    # See test_admin_, test_commit_, test_hold_, test_window_ and test_blob_deaths.
    others = ("options.", "partition.", "offsets.", "files.", "holds.", "window.", "cell.")
    assert {point for point in fault_points() if not point.startswith(others)} - REACHED == set()
