"""What models and devices wrote is shown as it is, and orders nothing."""

from __future__ import annotations

import json
import re

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
@pytest.mark.parametrize(
    "order", [ORDER, ORDER.replace("vso", "VSO"), f"#{ORDER}", ORDER.replace("##", "#\a#")]
)
def test_no_agent_of_azure_pipelines_finds_an_order_in_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, output: Output, order: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show(output, order)
    out, err = capsys.readouterr()
    assert "task.setvariable" in out
    assert "task.setvariable" in err
    assert "##vso[" not in (out + err).lower()


@pytest.mark.parametrize("output", list(Output))
@pytest.mark.parametrize(
    "order",
    [
        pytest.param("::add-mask::x", id="at the beginning"),
        pytest.param("fine\n  ::set-output name=release::evil", id="in a later line, indented"),
        pytest.param("fine\r::stop-commands::x", id="after a carriage return"),
        pytest.param("fine ##[add-mask]x", id="the older form, anywhere"),
    ],
)
def test_no_runner_of_github_finds_an_order_in_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, output: Output, order: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show(output, order)
    said = "\n".join(capsys.readouterr())
    assert re.search("add-mask|set-output|stop-commands", said)
    for line in re.split(r"[\r\n]", said):
        assert not re.match(r"\s*::[\w-]+", line)
        assert "##[" not in line


@pytest.mark.parametrize("output", list(Output))
@pytest.mark.parametrize("odd", ["\x1b[31mred", "\x9b2Jgone", "\u202eback", "\ud800half"])
def test_no_terminal_obeys_what_is_in_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, output: Output, odd: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show(output, f"Höhe\u00a0(m)\n{odd}")
    said = "".join(capsys.readouterr())
    assert [one for one in said if not (one.isprintable() or one in "\n\u00a0")] == []
    assert said.count(f"\\u{ord(odd[0]):04x}{odd[1:]}") >= 5
    assert "Höhe\u00a0(m)" in said


WRAPPED = " ".join(["::add-mask::evil"] * 12)
FOLDED = "".join(["::add-mask::evil"] * 12)


@pytest.mark.parametrize("columns", ["40", "80", "200"])
@pytest.mark.parametrize("reason", [WRAPPED, f"it ends {WRAPPED}", f"400 {FOLDED}", f"x{'y' * 39}{WRAPPED}"])
@pytest.mark.parametrize("device", ["device-1", "y" * 40 + FOLDED])
def test_no_line_into_which_a_table_is_wrapped_is_an_order(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: str,
    reason: str,
    device: str,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    boxed, bare = (
        render_table("Devices", ("device", "state", "reason"), [[device, "running", reason]]) for _ in "ab"
    )
    bare.box = None
    Terminal(Output.TABLE).answer({}, [boxed, bare])
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if re.match(r"\s*::[\w-]+", line) and "::" in line.lstrip()[2:]]
    told = re.sub(r"[^a-z]", "", "".join(lines))
    assert told.count("evil") >= 2 * 12 * (1 + (device != "device-1")), "nothing is cut away"


@pytest.mark.parametrize("text", ["::1", "a::b::c", "::ffff:127.0.0.1", "std::move(x)"])
def test_colons_that_order_nothing_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    Terminal(Output.TABLE).answer({}, [text])
    assert capsys.readouterr().out == f"{text}\n"


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
