"""What is to be typed next, from what is there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeferry.domain.next_step import ModelFacts, Situation, next_steps

PUMP = ModelFacts("pump", "tags.models.pump = true")
FAN = ModelFacts("fan", "tags.site = 'north'")
THERE = Situation("/shop", user="ann", servers="here", answers=True, devices=("device-1",), models=(PUMP,))
CLOUD = replace(THERE, environment="prod", servers="elsewhere")


@pytest.mark.parametrize(
    ("now", "command"),
    [
        pytest.param(Situation(), "edgeferry init shop", id="no project"),
        pytest.param(Situation("/shop"), "edgeferry init --model cold_store", id="no model"),
        pytest.param(
            replace(THERE, servers="none", answers=False, models=(FAN, replace(PUMP, errors=2))),
            "edgeferry validate pump",
            id="faults in a model",
        ),
        pytest.param(
            replace(THERE, servers="none", answers=False, devices=()),
            "edgeferry up --devices 1",
            id="no servers",
        ),
        pytest.param(
            replace(CLOUD, servers="none", answers=False),
            "edgeferry config show --env prod",
            id="no hub there",
        ),
        pytest.param(replace(THERE, answers=False), "edgeferry up", id="servers that ended"),
        pytest.param(
            replace(CLOUD, answers=False), "edgeferry config show --env prod", id="a hub that does not answer"
        ),
        pytest.param(replace(THERE, devices=()), "edgeferry up --devices 1", id="no device here"),
        pytest.param(
            replace(CLOUD, devices=()), "edgeferry devices list --env prod", id="no device of the environment"
        ),
        pytest.param(
            replace(CLOUD, devices=(), environment=""),
            "edgeferry devices enrol NAME",
            id="no device elsewhere",
        ),
        pytest.param(THERE, "edgeferry devices tag device-1 models.pump=true", id="nobody is to have it"),
        pytest.param(
            replace(THERE, models=(FAN,)), "edgeferry devices tag device-1 site=north", id="a tag with a text"
        ),
        pytest.param(
            replace(THERE, models=(replace(FAN, condition="tags.a = 1 AND tags.b = 2"),)),
            "edgeferry devices tag device-1 a=1 b=2",
            id="a condition of several tags",
        ),
        pytest.param(
            replace(THERE, models=(replace(FAN, condition="tags.a = 1 OR tags.b = 2"),)),
            "edgeferry devices list",
            id="a condition of more than tags' values",
        ),
        pytest.param(
            replace(THERE, models=(replace(PUMP, devices=1),)),
            "edgeferry ship pump --approve-as ann",
            id="it is to be on a device and is not",
        ),
        pytest.param(
            replace(CLOUD, models=(replace(PUMP, devices=3),)),
            "edgeferry ship pump --env prod",
            id="elsewhere a person approves",
        ),
        pytest.param(
            replace(THERE, models=(replace(PUMP, is_there=True), FAN)),
            "edgeferry devices tag device-1 site=north",
            id="the second model waits",
        ),
        pytest.param(
            replace(THERE, models=(replace(PUMP, is_there=True),)), "edgeferry status", id="all is there"
        ),
        pytest.param(
            replace(THERE, models=(replace(FAN, is_there=True), replace(PUMP, is_there=True, news="newer"))),
            "edgeferry ship pump --approve-as ann",
            id="a newer file of one that is there",
        ),
        pytest.param(
            replace(CLOUD, models=(replace(PUMP, is_there=True, news="newer"),)),
            "edgeferry ship pump --env prod",
            id="the same elsewhere",
        ),
    ],
)
def test_the_first_command_is_what_brings_a_person_on(now: Situation, command: str) -> None:
    assert next_steps(now)[0].command == command


def test_each_step_says_why() -> None:
    waiting = replace(THERE, models=(replace(PUMP, devices=2),))
    assert next_steps(waiting)[0].reason.startswith("pump is for 2 devices, and is not there")
    assert all(step.reason for step in next_steps(Situation()))
