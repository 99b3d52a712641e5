"""What is to be typed so that a device has a model."""

from __future__ import annotations

import pytest

from edgeferry.domain.aim import render_aim

PUMP = "tags.models.pump = true"
MANY = [f"press-{number}" for number in range(6)]


@pytest.mark.parametrize(
    ("environment", "condition", "devices", "command"),
    [
        pytest.param(
            "", PUMP, ["press-2", "press-1"], "edgeferry devices tag press-1 models.pump=true", id="few"
        ),
        pytest.param("", PUMP, MANY, "edgeferry devices tag DEVICE models.pump=true", id="many"),
        pytest.param("prod", PUMP, [], "edgeferry devices tag DEVICE models.pump=true --env prod", id="none"),
        pytest.param(
            "prod",
            "tags.a = 1 OR tags.b = 2",
            ["press-1"],
            "edgeferry devices list --env prod shows their tags; change those, or the condition",
            id="more than values of tags",
        ),
    ],
)
def test_a_device_is_named_where_they_are_few(
    environment: str, condition: str, devices: list[str], command: str
) -> None:
    assert render_aim(environment, condition, devices) == command
