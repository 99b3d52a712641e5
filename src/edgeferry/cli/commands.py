"""Every command by its name: what lists say of it, and its module, which is read in when it is chosen. So a
command waits for what it needs itself, and a list of commands for none of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from edgeferry.cli.pages import finish_help

_ROAD = "A model's road"
_FLEET = "The fleet"
_MACHINE = "This machine"
_AUTOMATION = "Automation"


class Listed(NamedTuple):
    """What is known of a command, or of a group of them, before its module is read in."""

    name: str
    module: str
    """In this folder; its `register` adds the command."""
    panel: str
    about: str
    """The first paragraph of its help."""


LISTED = (
    Listed(
        "init",
        "init",
        _ROAD,
        "Begin: a project that ships as it is, or a model in one. Nothing that is there is written over.",
    ),
    Listed(
        "ship",
        "ship",
        _ROAD,
        "The whole road of one model, each stage only if the last held: train, package, verify, push, "
        "release, approve, rollout, smoke. Stages whose work is already done are 'unchanged'; the smoke "
        "test asks afresh.",
    ),
    Listed("train", "models", _ROAD, "Run the model's pipeline and register a version."),
    Listed(
        "package",
        "models",
        _ROAD,
        "Assemble the image of a registered version: the same inputs give the same bytes, no build daemon.",
    ),
    Listed(
        "verify",
        "models",
        _ROAD,
        "Run the image under a device's limits and compare every answer with the pipeline's own predictions.",
    ),
    Listed(
        "push",
        "models",
        _ROAD,
        "Verify, then push model image, report and companion by digest. What does not verify is not pushed.",
    ),
    Listed(
        "rollout",
        "rollouts",
        _ROAD,
        "Put an approved release on the devices its condition picks, wave by wave (setting "
        "rollout.waves), and wait until each has proven it. Whatever stops this command, the same again "
        "goes on where it was.",
    ),
    Listed(
        "rollback",
        "rollouts",
        _ROAD,
        "Take the newest release of a model, the companion or the agent off its devices: what it "
        "replaced serves again, and each must prove it. A rollout under way is ordered back.",
    ),
    Listed(
        "plan",
        "plan",
        _ROAD,
        "What a rollout of the release would do: which devices in which waves, what changes on them, "
        "what they pull, what is in the way. Nothing is touched. Exit code 1 when something blocks it.",
    ),
    Listed(
        "release",
        "releases",
        _ROAD,
        "Sign that this version, this image and this evidence belong together, in the ledger.",
    ),
    Listed(
        "approve",
        "releases",
        _ROAD,
        "Show what a release would do to the fleet and the evidence for it, then sign one person's yes "
        "(or no).",
    ),
    Listed(
        "validate",
        "validate",
        _ROAD,
        "Find what is wrong with model.yaml, pipeline, components, conda files and step code, without "
        "running them: each finding with file, line and fix. Exit code 1 when there is an error.",
    ),
    Listed(
        "affected",
        "affected",
        _ROAD,
        "Which models and steps a change touches, and by which paths: all that differs, uncommitted and "
        "untracked files too, from where this work left REVISION.",
    ),
    Listed("status", "fleet", _FLEET, "What every device runs now, as the device itself reports it."),
    Listed(
        "logs",
        "fleet",
        _FLEET,
        "What a module wrote, fetched from the device through the hub. Where several devices run it, "
        "name one.",
    ),
    Listed(
        "captures",
        "captures",
        _FLEET,
        "What a model's devices were asked and answered, as far as its capture policy keeps it: a record "
        "for each request that was scored, and each at which the model failed.",
    ),
    Listed(
        "up",
        "local",
        _MACHINE,
        "Start a hub, a registry, a ledger and devices on this machine. Running it twice is cheap and "
        "safe; devices of an earlier run start too, until down --wipe.",
    ),
    Listed(
        "down",
        "local",
        _MACHINE,
        "Stop everything that `up` started, and remove its containers and networks.",
    ),
    Listed(
        "demo",
        "local",
        _MACHINE,
        "The whole journey on this machine: start hub, registry and devices, ship every model of the "
        "project to its devices, move one by tags and back, send requests and count what the devices "
        "captured. Exit 0 only if all of it is true.",
    ),
    Listed(
        "doctor",
        "doctor",
        _MACHINE,
        "Look at everything that a model's road needs: this machine and its engine, the project's files "
        "and settings, hub, registry, ledger and tracking with your rights there, clocks, quotas, and "
        "the environment's devices. Nothing is changed. Each thing that is wrong comes with what mends "
        "it. Exit code 1 when something stands in the way.",
    ),
    Listed(
        "import-accelerator",
        "import_accelerator",
        _AUTOMATION,
        "Make an edgeferry project of one laid out as microsoft/mlops-accelerator-for-edge. PATH is only "
        "looked at. What is left for you to edit is listed; IMPORT.md of the new project says it too, "
        "and where everything went.",
    ),
    Listed(
        "sim",
        "sim",
        _MACHINE,
        "Run hollow devices in this process: at the hub they are like ours, with an agent and a "
        "companion, but pulls and modules are only pretended. The same seed and faults give the same. "
        "Another terminal rolls out.",
    ),
    Listed(
        "rollouts",
        "rollouts",
        _ROAD,
        "Rollouts, as the signed ledger has them: any machine can look at one, order it about, go on "
        "with it.",
    ),
    Listed(
        "releases",
        "releases",
        _ROAD,
        "What was released: its evidence, who approved it, where it went; from the signed ledger.",
    ),
    Listed(
        "smoke",
        "smoke",
        _FLEET,
        "The questions that show whether a model works, asked by each device's companion.",
    ),
    Listed("devices", "devices", _FLEET, "The fleet's devices: identities, twins, tags, and why."),
    Listed("agent", "agent", _MACHINE, "This machine as a device: its agent runs what the hub desires."),
    Listed(
        "runs",
        "runs",
        _ROAD,
        "Training runs on Azure ML, which go on without the command that submitted them.",
    ),
    Listed(
        "deployments",
        "deployments",
        _FLEET,
        "Deployments by hand; what a rollout puts on the hub, and the devices' login at the registry.",
    ),
    Listed(
        "audit",
        "audit",
        _FLEET,
        "The ledger: whether it is whole, and who decided what on what evidence.",
    ),
    Listed("registry", "registry", _FLEET, "The OCI registry: [bold]edgeferry registry tokens list[/bold]."),
    Listed(
        "config",
        "local",
        _MACHINE,
        "The project's settings: [bold]edgeferry config show[/bold] lists them.",
    ),
    Listed(
        "hub",
        "hub",
        _MACHINE,
        "An IoT Hub on this machine, by itself: [bold]edgeferry hub start[/bold], in any folder.",
    ),
    Listed(
        "ci",
        "ci",
        _AUTOMATION,
        "Pipelines for CI systems, written from the project: [bold]edgeferry ci github --env prod[/bold].",
    ),
)
_MODULES = {each.name: each.module for each in LISTED}


class LateGroup(TyperGroup):
    """A group that has all commands of the list, each as it is listed until it is chosen."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {**{each.name: _outline(each) for each in LISTED}, **self.commands}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names, itself, and the words after it."""
        name = args[0]
        if name in _MODULES:
            self.commands[name] = _read_in(_MODULES[name])[name]
        return super().resolve_command(ctx, args)


def _outline(listed: Listed) -> TyperCommand:
    return TyperCommand(listed.name, help=listed.about, rich_help_panel=listed.panel)


@cache
def _read_in(module: str) -> Mapping[str, Any]:
    """The commands that the module registers, by their names."""
    app = typer.Typer(rich_markup_mode="rich")
    importlib.import_module(f"edgeferry.cli.{module}").register(app)
    finish_help(app)
    return typer.main.get_group(app).commands
