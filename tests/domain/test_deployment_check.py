"""What a deployment's author is told before the hub sees it: each warning once."""

import pytest

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.deployment_check import find_unrunnable, find_warnings
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


ENTRY = {"type": "docker", "settings": {"image": "a:1"}}
WHOLE_BASE = {
    "schemaVersion": "1.1",
    "runtime": {"type": "docker", "settings": {}},
    "systemModules": {"edgeAgent": ENTRY, "edgeHub": ENTRY},
    "modules": {"m": ENTRY},
}


def without(document, *path):
    """The document less the member at the path."""
    head, *rest = path
    if not rest:
        return {name: value for name, value in document.items() if name != head}
    return {**document, head: without(document[head], *rest)}


@pytest.mark.parametrize(
    ("agent", "faults"),
    [
        ({"properties.desired": WHOLE_BASE}, []),
        ({"properties.desired": without(WHOLE_BASE, "schemaVersion")}, ["schemaVersion"]),
        ({"properties.desired": without(WHOLE_BASE, "runtime")}, ["runtime"]),
        ({"properties.desired": without(WHOLE_BASE, "systemModules")}, ["edgeAgent", "edgeHub"]),
        ({"properties.desired": without(WHOLE_BASE, "systemModules", "edgeHub")}, ["edgeHub"]),
        (
            {"properties.desired": without(WHOLE_BASE, "modules", "m", "settings", "image")},
            ["properties.desired.modules.m.settings.image"],
        ),
        ({"properties.desired": {**WHOLE_BASE, "modules": []}}, ["modules is not an object"]),
        ({"properties.desired.modules.m": ENTRY}, []),
        ({"properties.desired.modules.m": None}, []),
        ({"properties.desired.modules.m.settings": {}}, []),
        ({"properties.desired.modules.m": without(ENTRY, "type")}, ["modules.m.type"]),
        ({"properties.desired.modules.m": {"settings": {"imag": "a"}}}, ["modules.m.settings.image"]),
        ({"properties.desired.modules": {"m": ENTRY, "n": "text"}}, ["modules.n.settings.image"]),
        ({"properties.desired.systemModules.edgeHub": {}}, ["edgeHub.settings.image"]),
    ],
)
def test_what_no_agent_can_run(agent, faults):
    found = list(find_unrunnable({"$edgeAgent": agent, "m": {"properties.desired": {}}}))
    assert len(found) == len(faults), found
    assert all(fault in text for fault, text in zip(faults, found, strict=True))
