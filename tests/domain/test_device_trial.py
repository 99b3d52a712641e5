import pytest

from edgeferry.domain.device_rules import TrialRules
from edgeferry.domain.device_trial import Sight, judge
from edgeferry.domain.manifest import ModuleSpec

SPEC = ModuleSpec("taxi", "a:1")
RULES = TrialRules(window_s=100, crashes=3)


def sight(status="running", spec=SPEC, **members):
    return Sight(spec, status, **members)


def told(**members):
    return ModuleSpec("taxi", "a:1", **members)


@pytest.mark.parametrize(
    ("seen", "elapsed_s", "outcome", "words"),
    [
        pytest.param([sight()], 99, "Trial", "", id="runs, window open"),
        pytest.param([sight()], 100, "Proven", "", id="ran the whole window"),
        pytest.param([], 100, "Proven", "", id="a layer that only takes away"),
        pytest.param([sight(health="healthy")], 100, "Proven", "", id="healthy"),
        pytest.param([sight(health="starting")], 99, "Trial", "", id="still starting"),
        pytest.param(
            [sight(health="starting")], 100, "Failed", "is starting after 100 s", id="never healthy"
        ),
        pytest.param(
            [sight(health="unhealthy", health_said="no answer")],
            1,
            "Failed",
            "unhealthy: no answer",
            id="unhealthy",
        ),
        pytest.param([sight("exited", exit_code=1, crashes=2)], 1, "Trial", "", id="twice is no loop"),
        pytest.param(
            [sight("exited", exit_code=3, crashes=3)],
            1,
            "Failed",
            "3 times, at last with exit code 3",
            id="loops",
        ),
        pytest.param(
            [sight("exited", crashes=1)], 100, "Failed", "is exited", id="down when the window ends"
        ),
        pytest.param([sight("")], 100, "Failed", "is not there", id="no container"),
        pytest.param(
            [sight(refused="no such file")], 0, "Failed", "does not start: no such file", id="no start"
        ),
        pytest.param([sight(smoke="case 3 is off")], 5, "Failed", "smoke test: case 3 is off", id="smoke"),
        pytest.param(
            [sight("exited", told(restart_policy="never"), exit_code=2)],
            1,
            "Failed",
            "not to be restarted",
            id="job fails",
        ),
        pytest.param([sight("exited", told(restart_policy="never"))], 100, "Proven", "", id="job done"),
        pytest.param(
            [sight("exited", told(restart_policy="on-failure"))],
            100,
            "Proven",
            "",
            id="ended well, as it may",
        ),
        pytest.param([sight("created", told(status="stopped"))], 100, "Proven", "", id="desired stopped"),
        pytest.param([sight(), sight("exited", crashes=3)], 1, "Failed", "ended by itself", id="one of two"),
    ],
)
def test_judgement(seen, elapsed_s, outcome, words):
    judgement = judge(seen, elapsed_s, RULES)
    assert judgement.outcome == outcome
    assert words in judgement.reason
    assert bool(judgement.reason) == (outcome == "Failed")
