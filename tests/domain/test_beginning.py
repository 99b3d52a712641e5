"""What a new project or model may be called."""

from __future__ import annotations

import pytest

from edgeferry.domain.beginning import check_model_name, suggest_model, suggest_project
from edgeferry.errors import UsageError


@pytest.mark.parametrize("name", ["pump", "pump_2", "cold_store"])
def test_small_letters_digits_and_underscores_make_a_name(name: str) -> None:
    check_model_name(name)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        pytest.param("Pump-2", "pump_2", id="capitals and dashes"),
        pytest.param("2pump", "model_2pump", id="a digit in front"),
        pytest.param("", "model", id="nothing"),
        pytest.param("../etc", "etc", id="a way out"),
        pytest.param("json", "json_model", id="a module of Python's"),
        pytest.param("class", "class_model", id="a word of Python's"),
        pytest.param("sklearn", "sklearn_model", id="a library of the steps"),
        pytest.param("companion", "companion_model", id="a module of ours"),
        pytest.param("agent", "agent_model", id="a program of ours"),
    ],
)
def test_what_cannot_be_a_package_is_refused_with_a_name_that_can(name: str, fix: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_model_name(name)
    assert refused.value.fix.endswith(fix)


def test_names_are_made_of_any_text() -> None:
    assert suggest_model("Pump v2 (final)") == "pump_v2_final"
    assert suggest_model("3") == "model_3"
    assert suggest_project("My Shop_1") == "my-shop-1"
    assert suggest_project("///") == "project"
