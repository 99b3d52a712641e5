"""What a deployment's author is told before the hub sees it: each warning once."""

import pytest

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.deployment_check import find_warnings
from edgeferry.domain.layering import Deployment

BASE = {"$edgeAgent": {"properties.desired": {"modules": {}}}}
LAYER = {"$edgeAgent": {"properties.desired.modules.m": {}}}
WHOLE = {"$edgeAgent": {"properties.desired.modules": {"m": {}}}}


def deployment(name, priority, modules, condition="tags.a = 1"):
    return Deployment(name, priority, "2026-11-24T00:00:00Z", parse_condition(condition), modules)


@pytest.mark.parametrize(
    ("mine", "others", "selected", "word"),
    [
        pytest.param(deployment("l", 1, LAYER), [deployment("b", 0, BASE)], 1, None, id="nothing to say"),
        pytest.param(deployment("b", 0, BASE), [], 1, None, id="a base alone"),
        pytest.param(deployment("b", 0, BASE), [], 0, "selects none of the 3", id="nobody"),
        pytest.param(deployment("b", 0, BASE), [], 3, "selects all 3", id="everybody"),
        pytest.param(deployment("b", 0, BASE, "*"), [], 3, None, id="everybody, as said"),
        pytest.param(deployment("b", 0, BASE, 'tags.a = "x"'), [], 1, "no double quotes", id="not Azure's"),
        pytest.param(
            deployment("l", 1, LAYER),
            [deployment("b", 0, BASE), deployment("x", 1, LAYER)],
            1,
            "x has priority 1 too",
            id="equal priority",
        ),
        pytest.param(deployment("l", 1, WHOLE), [deployment("b", 0, BASE)], 1, "as a whole", id="whole map"),
        pytest.param(deployment("l", 1, LAYER), [], 1, "no base deployment", id="no base"),
        pytest.param(
            deployment("l", 1, LAYER),
            [deployment("b", 2, BASE)],
            1,
            "give more than 2",
            id="below every base",
        ),
    ],
)
def test_warnings(mine, others, selected, word):
    found = list(find_warnings(mine, others, selected, 3))
    assert len(found) == (word is not None)
    assert all(word in warning for warning in found)
