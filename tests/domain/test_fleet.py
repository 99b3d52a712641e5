"""A fleet: which devices of a hub an environment means."""

from __future__ import annotations

import pytest

from edgeferry.domain.condition import matches, parse_condition
from edgeferry.domain.fleet import Fleet
from edgeferry.errors import ConditionError

PROD = Fleet("tags.edgeferry = true", "prod", "tags.environment = 'prod' OR tags.canary = true")


@pytest.mark.parametrize(
    ("tags", "chosen"),
    [
        pytest.param({"x": 1, "environment": "prod"}, True, id="both hold"),
        pytest.param({"y": 1, "canary": True}, True, id="the other halves of both"),
        pytest.param({"x": 1, "environment": "dev"}, False, id="another environment"),
        pytest.param({"environment": "prod"}, False, id="not the model's"),
    ],
)
def test_an_environment_narrows_a_condition_whatever_words_join_it(
    tags: dict[str, object], chosen: bool
) -> None:
    condition = parse_condition(PROD.narrow("tags.x = 1 OR tags.y = 1"))
    assert matches(condition, {"tags": tags}) is chosen


@pytest.mark.parametrize("text", ["tags.x = 1) OR (true", "true /*", "true OR '"])
def test_no_condition_reaches_beyond_an_environment(text: str) -> None:
    with pytest.raises(ConditionError):
        PROD.narrow(text)


@pytest.mark.parametrize("everywhere", ["", "*"])
def test_all_devices_are_the_environments_devices(everywhere: str) -> None:
    assert PROD.narrow(everywhere) == PROD.only
    assert Fleet("c").narrow(everywhere) == everywhere


@pytest.mark.parametrize(
    ("labels", "owned"),
    [
        pytest.param({"edgeferry": "model", "environment": "prod"}, True, id="its own"),
        pytest.param({"edgeferry": "model", "environment": "dev"}, False, id="another environment's"),
        pytest.param({"edgeferry": "model"}, False, id="made without an environment"),
        pytest.param({"environment": "prod"}, False, id="somebody else's"),
        pytest.param(None, False, id="without labels"),
    ],
)
def test_a_deployment_belongs_to_the_environment_it_was_made_for(labels: object, owned: bool) -> None:
    assert PROD.owns({"id": "d", "labels": labels}) is owned
