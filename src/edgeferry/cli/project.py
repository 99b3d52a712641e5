"""What each command starts from: the project's settings, the services, the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from edgeferry.cli.completing import complete_models, complete_subjects
from edgeferry.cli.console import Output, Terminal
from edgeferry.cli.progress import PROGRESS
from edgeferry.domain.device_class import DEVICE_CLASSES
from edgeferry.domain.edge_runtime import OUR_AGENT, EdgeRuntime
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.model import RESERVED
from edgeferry.errors import UsageError
from edgeferry.ports import Services
from edgeferry.settings import Settings, load_settings
from edgeferry.wiring import open_folder, open_services

_ABOUT = ("model", "release", "rollout", "module", "device")
"""Parameters that say what a command is about."""
_ENDLESS = ("sim", "rollouts run", "rollouts watch", "runs wait")
"""Commands that go on for as long as others make them."""

OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="How to print the answer.", show_default=True)
]
ModelArgument = Annotated[
    str,
    typer.Argument(help="A model: the name of its folder below models/.", autocompletion=complete_models),
]
SubjectArgument = Annotated[
    str, typer.Argument(help="A model, companion or agent.", autocompletion=complete_subjects)
]
InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="A pipeline input, e.g. raw_data=DIR."),
]

TrainedAtOption = Annotated[
    str, typer.Option("--place", help="Where it trains: local or azureml; default: the setting train.place.")
]

ConditionOption = Annotated[
    str,
    typer.Option(
        "--target-condition",
        "-t",
        help="Which devices of this environment; default: the model's own, from model.yaml.",
    ),
]
ReleaseArgument = Annotated[
    str,
    typer.Argument(
        help="A release; a model, companion or agent, for its newest one.", autocompletion=complete_subjects
    ),
]


def load(context: typer.Context, **flags: str) -> Settings:
    """The settings of the project and the environment that the command line names (--project, --env)."""
    named = context.obj or {}
    given = {name.replace("__", "."): text for name, text in flags.items() if text}
    return load_settings(named.get("project"), given, named.get("environment") or "")


def load_anywhere(context: typer.Context) -> Settings:
    """The same, or where there is no project those of this machine's user."""
    named = context.obj or {}
    return load_settings(named.get("project"), {}, named.get("environment") or "", need_project=False)


@contextmanager
def opened(
    context: typer.Context, output: Output, **flags: str
) -> Iterator[tuple[Settings, Services, Terminal]]:
    """Settings, services and terminal for one command; connections are closed after it."""
    terminal = Terminal(output)
    settings = load(context, **flags)
    with showing(context, settings), open_services(settings, terminal.say, PROGRESS.work) as services:
        yield settings, services, terminal


@contextmanager
def opened_anywhere(context: typer.Context, output: Output) -> Iterator[tuple[Settings, Services, Terminal]]:
    """The same for a command that asks only the hub, so that it needs no project."""
    terminal = Terminal(output)
    settings = load_anywhere(context)
    with showing(context, settings), open_services(settings, terminal.say, PROGRESS.work) as services:
        yield settings, services, terminal


@contextmanager
def showing(context: typer.Context, settings: Settings) -> Iterator[None]:
    """Lets a person see that the command goes on, and about how long; not what goes on until it is ended."""
    if settings.state.is_dir():
        PROGRESS.remember_in(open_folder(settings.state))
    path = context.command_path.partition(" ")[2]
    if path in _ENDLESS:
        yield
        return
    about = next((context.params[name] for name in _ABOUT if context.params.get(name)), "")
    with PROGRESS.work(f"edgeferry {path} {about}".strip()):
        yield


def read_fleet(settings: Settings) -> Fleet:
    """The devices that the settings mean, and what runs there."""
    return Fleet(
        condition=settings["rollout.fleet_condition"],
        environment=settings.environment,
        only=settings["rollout.target_condition"],
        runtime=EdgeRuntime("iotedge") if settings["device.runtime"] == "iotedge" else OUR_AGENT,
        limits=DEVICE_CLASSES[settings["device.class"]],
    )


def choose_condition(settings: Settings, services: Services, model: str, flag: str) -> str:
    """The target condition of `flag`, else the model's own, of companion and agent the whole fleet; never
    beyond this environment's devices."""
    fleet = read_fleet(settings)
    if model in RESERVED:
        return fleet.narrow(flag or fleet.condition)
    return fleet.narrow(flag or services.project.load_model(model).target_condition)


def parse_pairs(pairs: list[str] | None, what: str) -> dict[str, str]:
    """NAME=VALUE texts as a mapping; UsageError naming one that is not."""
    parsed = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{what} {pair!r} is not NAME=VALUE", fix=f"write it as {pair or 'name'}=value")
        parsed[name] = value
    return parsed
