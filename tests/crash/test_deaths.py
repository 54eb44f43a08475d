"""A process is killed, or stopped, at its 1st, 2nd, 3rd ... store that others can see; the others go on."""

from __future__ import annotations

import signal

import pytest
from scenarios import SCENARIOS
from stage import staged


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_nothing_is_lost_when_a_process_is_killed_at_any_point_of(scenario, broker):
    with staged(broker.address, broker.admin, scenario) as stage:
        points = stage.walk(signal.SIGKILL)
        print(points, sorted(stage.reached))
    broker.has_deaths = True


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_nothing_is_lost_when_a_process_is_stopped_at_any_point_of(scenario, broker):
    with staged(broker.address, broker.admin, scenario) as stage:
        points = stage.walk(signal.SIGSTOP)
        print(points)
