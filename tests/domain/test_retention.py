"""Which images a device keeps."""

from __future__ import annotations

import pytest

from edgeferry.domain.retention import History, choose_unneeded, remember


@pytest.mark.parametrize(
    ("history", "current", "after"),
    [
        pytest.param({}, {"a": "a1"}, {"a": ("a1",)}, id="a first image"),
        pytest.param({"a": ("a1",)}, {"a": "a1"}, {"a": ("a1",)}, id="nothing new"),
        pytest.param({"a": ("a1",)}, {"a": "a2"}, {"a": ("a2", "a1")}, id="a second keeps the first"),
        pytest.param({"a": ("a2", "a1")}, {"a": "a3"}, {"a": ("a3", "a2")}, id="a third lets the first go"),
        pytest.param({"a": ("a2", "a1")}, {"a": "a1"}, {"a": ("a1", "a2")}, id="back to the first"),
        pytest.param({"a": ("a2", "a1")}, {}, {"a": ("a2",)}, id="a module that is gone keeps its latest"),
    ],
)
def test_current_and_previous_are_remembered(
    history: History, current: dict[str, str], after: History
) -> None:
    assert remember(history, current) == after


def test_only_what_this_device_pulled_and_no_module_needs_goes() -> None:
    history = {"a": ("a2", "a1"), "b": ("shared",)}
    assert choose_unneeded({"a0", "a1", "a2", "shared"}, history) == ["a0"]
