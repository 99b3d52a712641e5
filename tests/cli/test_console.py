"""What models and devices wrote is shown as it is, and orders nothing."""

from __future__ import annotations

import json

import pytest

from edgeferry.cli.console import Output, Terminal, render_table
from edgeferry.errors import UsageError

ORDER = "##vso[task.setvariable variable=PATH]evil"


def show(output: Output, text: str) -> None:
    """The text in every way in which a command shows one."""
    terminal = Terminal(output)
    terminal.say(text)
    terminal.stage("verify", "refused", 1.0, text)
    terminal.answer({"reason": text}, [text, render_table("Devices", ("device", "reason"), [["d", text]])])
    terminal.failure(UsageError(text, fix=text))


@pytest.mark.parametrize("output", list(Output))
@pytest.mark.parametrize("order", [ORDER, ORDER.replace("vso", "VSO"), f"#{ORDER}"])
def test_no_agent_of_azure_pipelines_finds_an_order_in_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, output: Output, order: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show(output, order)
    out, err = capsys.readouterr()
    assert "task.setvariable" in out
    assert "task.setvariable" in err
    assert "##vso[" not in (out + err).lower()


def test_json_says_the_same_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(Output.JSON).answer({"reason": ORDER})
    assert json.loads(capsys.readouterr().out) == {"reason": ORDER}


@pytest.mark.parametrize("text", ["a log's [/end]", "[info] ready", "IN ['a', 'b']", r"C:\[x]"])
def test_brackets_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show(Output.TABLE, text)
    out, err = capsys.readouterr()
    assert out.count(text) == 2
    assert err.count(text) == 4
