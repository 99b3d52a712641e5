"""Forty faults of all that `./run chaos` has, drawn by a seed, on real devices: each is well afterwards."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from tests.chaos.__main__ import choose
from tests.chaos.report import again
from tests.chaos.running import Outcome, Run, missing_for, opened
from tests.chaos.scenarios import SCENARIOS

pytestmark = pytest.mark.engine

SEED = int(os.environ.get("EDGEFERRY_TEST_SEED", "6"))
POINTS = 40
WORKERS = 3


# docker-py leaves sockets to the collector where an engine was killed amid an answer
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_device_is_well_after_each_of_a_sample_of_faults(
    pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    assert pytestconfig.cache is not None
    scenarios = [one for one in SCENARIOS if one.sample and not missing_for(one)]
    points = choose(scenarios, SEED, None, None, sample=True)
    outcomes: list[Outcome] = []
    with opened(pytestconfig.cache.mkdir("busybox"), scenarios) as grounds:
        Run(grounds, SEED, tmp_path, outcomes.append).work(points, WORKERS)
    gc.collect()
    wrong = [f"{again(one, SEED)}: {'; '.join(one.wrong)}" for one in outcomes if one.wrong]
    assert not wrong, "\n".join(wrong)
    assert len(outcomes) == len(points)


def test_the_sample_has_forty_points() -> None:
    assert sum(one.sample for one in SCENARIOS) == POINTS
