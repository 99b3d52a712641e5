"""What the commands about rollouts tell people to type can be pasted: a command, in this environment."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from typing import Any

import pytest
import typer.main

from edgeferry.cli.main import app, lift_root_options
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.gate import GateQuestion, judge_gate
from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.rollout import Outcome, State
from edgeferry.domain.rollout_need import find_need, render_look
from edgeferry.domain.rollout_state import Phase, RolloutState
from tests.domain.test_gate import NOW, RELEASE

ID = "nyc_taxi-v3-01234567-prod-89abcdef"
HARSH = """tags.site = 'a b' AND tags.x != "it's $HOME" """


def parse(line: str, environment: str) -> list[str]:
    """The names of the commands in the line; fails where the command line cannot read one."""
    found = []
    for text in re.findall(r"edgeferry [a-z].*?(?=; |$)", line):
        words = shlex.split(text)
        assert ("--env" in words, environment in words) == (bool(environment), True)
        command: Any = typer.main.get_command(app)
        context = command.make_context("edgeferry", lift_root_options(words[1:]))
        while hasattr(command, "resolve_command"):
            rest = [*context._protected_args, *context.args]
            name, command, rest = command.resolve_command(context, rest)
            context = command.make_context(name, rest, parent=context)
            found.append(name)
    return found


def state(phase: Phase) -> RolloutState:
    return RolloutState(id=ID, environment="prod", wave=1, phase=phase)


def shut(**changes: Any) -> str:
    question = GateQuestion(RELEASE, "", "prod", HARSH, "sha256:aa")
    return judge_gate(replace(question, **changes), (), (), GatePolicy(evidence=()), NOW).fix


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        pytest.param(
            find_need(state(Phase.HELD)), ["show", "run", "promote", "revert"], id="held: four ways"
        ),
        pytest.param(find_need(state(Phase.PAUSED)), ["resume", "show", "revert"], id="paused"),
        pytest.param(shut(), ["approve"], id="a shut gate, whatever the condition"),
        pytest.param(shut(rollout=ID, wave=2), ["approve"], id="a wave that needs an approval"),
        pytest.param(
            render_look("prod", "nyc_taxi", ID, [Outcome("press 1", State.FAILED, "")]),
            ["logs", "show"],
            id="no success",
        ),
        pytest.param(render_look("prod", "nyc_taxi", "", []), ["status"], id="nothing known"),
    ],
)
def test_what_to_type_can_be_pasted(line: Any, commands: list[str]) -> None:
    text = line if isinstance(line, str) else line.fix
    assert [word for word in parse(text, "prod") if word != "rollouts"] == commands


def test_a_condition_that_is_given_again_is_the_same() -> None:
    prod = Fleet("*", "prod", "tags.environment = 'prod'")
    once = prod.narrow("tags.x = 1 OR tags.y = 1")
    assert prod.narrow(once) == once
    beyond = "(tags.x = 1) OR (tags.y = 1) AND (tags.environment = 'prod')"
    assert prod.narrow(beyond) != beyond, "it reaches beyond the environment"
