"""What a person types next, from what is there. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from edgeferry.domain.asking import Asking
from edgeferry.domain.tags import render_wanted
from edgeferry.domain.typed import render_command


@dataclass(frozen=True)
class ModelFacts:
    """One model of the project."""

    name: str
    condition: str = ""
    """Which devices it is for."""
    errors: int = 0
    """What `edgeferry validate` says is wrong."""
    devices: int = 0
    """How many devices it is for, now."""
    is_there: bool = False
    """Whether a release of it is on the hub."""
    news: str = ""
    """What of it is not in that release, where this machine can tell."""


@dataclass(frozen=True)
class Situation:
    """Where a person stands who types `edgeferry` alone."""

    project: str = ""
    """Its folder; "" where there is none here or above."""
    environment: str = ""
    user: str = "me"
    servers: Literal["none", "here", "elsewhere"] = "none"
    """Whether the settings name a hub: none; one that `up` started on this machine; another one."""
    answers: bool = False
    """Whether that hub answers."""
    devices: tuple[str, ...] = ()
    models: tuple[ModelFacts, ...] = field(default=())
    asking: Asking | None = None
    """A model that answers here, once all are there."""


@dataclass(frozen=True)
class Step:
    """A command, and why it is the one."""

    command: str
    reason: str


def next_steps(now: Situation) -> tuple[Step, ...]:
    """The commands that bring a person on, the first of them first; never none."""
    env = f" --env {now.environment}" if now.environment else ""
    return tuple(Step(step.command + env * _is_env(step), step.reason) for step in _steps(now))


def _is_env(step: Step) -> bool:
    """Whether the step is another one in another environment."""
    return not step.command.startswith(("edgeferry init", "edgeferry hub", "edgeferry validate", "cd "))


def _steps(now: Situation) -> Iterator[Step]:
    if not now.project:
        yield Step("edgeferry init shop", "there is no project here: begin one, in a folder shop")
        yield Step(
            "edgeferry init shop --from-model model.pkl --sample rows.csv", "or one around a model you have"
        )
        yield Step("edgeferry hub start", "or a hub alone, for what you write for Azure IoT Hub")
        return
    wrong = [model for model in now.models if model.errors]
    changed = [model for model in now.models if model.is_there and model.news]
    waiting = [model for model in now.models if not model.is_there and not model.errors]
    if not now.models:
        yield Step("edgeferry init --model cold_store", "the project has no model yet: add one")
    elif wrong:
        yield Step(f"edgeferry validate {wrong[0].name}", _say_wrong(wrong[0]))
    elif now.servers == "none" and now.environment:
        yield Step(
            "edgeferry config show", f"environments/{now.environment}.toml names no hub: write hub.host"
        )
    elif now.servers == "none":
        yield Step("edgeferry up --devices 1", "no hub and no devices run here: start them")
    elif not now.answers and now.servers == "here":
        yield Step("edgeferry up", "the hub that ran on this machine does not answer: start it again")
    elif not now.answers:
        yield Step("edgeferry config show", "the hub does not answer: see which one it is, and who says so")
    elif not now.devices and now.environment:
        yield Step(
            "edgeferry devices list", f"no device of the hub is one of {now.environment}: see their tags"
        )
    elif not now.devices and now.servers == "here":
        yield Step("edgeferry up --devices 1", "the hub has no devices: start one")
    elif not now.devices:
        yield Step("edgeferry devices enrol NAME", "the hub has no devices: enrol a machine as one")
    elif waiting:
        yield from _carry(now, waiting[0])
    elif changed:
        yield Step(_ship(now, changed[0]), f"{changed[0].news}: prove it, take it there")
        yield Step("edgeferry status", "or see what each device says")
    else:
        yield Step("edgeferry status", f"{_list(now.models)} on the way or there: see what each device says")
        yield Step(f"edgeferry smoke run {now.models[0].name}", "or have each device asked again, now")
        yield Step("edgeferry init --model NAME", "or add a model")


def _carry(now: Situation, model: ModelFacts) -> Iterator[Step]:
    """The next step of a model that is on no device yet."""
    if model.devices:
        what = f"{model.devices} device" + ("s" if model.devices != 1 else "")
        yield Step(
            _ship(now, model),
            f"{model.name} is for {what}, and is not there: train it, prove it, take it there",
        )
        yield Step(f"edgeferry train {model.name}", "or only train it")
        return
    why = f"{model.name} is for devices with {model.condition}, and none has that"
    if words := render_wanted(model.condition):
        yield Step(render_command("", "devices", "tag", now.devices[0], *words), why)
    else:
        yield Step("edgeferry devices list", f"{why}: see their tags")


def _ship(now: Situation, model: ModelFacts) -> str:
    return f"edgeferry ship {model.name}" + ("" if now.environment else f" --approve-as {now.user}")


def _say_wrong(model: ModelFacts) -> str:
    many = "s" if model.errors != 1 else ""
    return f"{model.errors} error{many} in the files of {model.name}: file, line, fix"


def _list(models: tuple[ModelFacts, ...]) -> str:
    names = ", ".join(model.name for model in models)
    return f"{names} {'is' if len(models) == 1 else 'are'}"
