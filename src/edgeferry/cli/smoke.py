"""Commands `smoke …`: the questions that show whether a model works, asked on its devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeferry.cli.completing import complete_devices
from edgeferry.cli.console import Output, finish, render_table, short
from edgeferry.cli.models import VersionOption, package_version
from edgeferry.cli.names import read_device
from edgeferry.cli.progress import PROGRESS
from edgeferry.cli.project import ModelArgument, OutputOption, ReleaseArgument, opened, read_fleet
from edgeferry.cli.report import JunitOption, smoke_case, write_report
from edgeferry.domain.model import RESERVED
from edgeferry.domain.smoke import Case
from edgeferry.errors import RefusedError, UsageError
from edgeferry.ports import Services
from edgeferry.settings import Settings
from edgeferry.wire.cases import describe_case, render_case
from edgeferry.wire.deployment import ModelLayer
from edgeferry.wire.junit import render_junit
from edgeferry.wiring import open_folder
from edgeferry.workflows.aim import advise_aim, list_aimed
from edgeferry.workflows.cases import fetch_cases
from edgeferry.workflows.placing import list_layers
from edgeferry.workflows.release import find_release
from edgeferry.workflows.smoke import SmokeResult, find_fix, smoke_each
from edgeferry.workflows.smoke_make import make_checks
from edgeferry.workflows.survey import Sighting, survey

_CHECKS = "smoke/checks.yml"


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    smoke = typer.Typer(
        no_args_is_help=True,
        help="The questions that show whether a model works, asked by each device's companion.\n\n"
        "[bold]edgeferry smoke run nyc_taxi[/bold] asks now; [bold]edgeferry smoke show nyc_taxi[/bold] "
        "prints the questions and what became of them; [bold]edgeferry smoke make nyc_taxi[/bold] proposes "
        "further ones.",
    )
    for command in (run, show, make):
        smoke.command()(command)
    app.add_typer(smoke, name="smoke")


def run(
    context: typer.Context,
    model: ModelArgument,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            "-d",
            help="A device, as often as wanted; default: all that the layer targets.",
            autocompletion=complete_devices,
        ),
    ] = None,
    junit: JunitOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask the model on its devices the smoke cases, now. Exit 0 only if every one passes.
    E.g. edgeferry smoke run nyc_taxi --device device-1 --junit smoke.xml"""
    _refuse_program(model, "run")
    with opened(context, output) as (settings, services, terminal):
        layer = _find_layer(settings, services, model)
        if layer is None:
            services.project.load_model(model)  # a model that is none at all is told so, with the near miss
            raise UsageError(f"no deployment of {model} is on the hub", fix=f"edgeferry ship {model}")
        for name in device or ():
            read_device(services.hub, name)
        names = device or list_aimed(services, layer.target_condition)
        results = smoke_each(services, names, layer)
        report = render_junit(f"smoke test of {layer.release}", [smoke_case(model, each) for each in results])
        write_report(junit, report)
        columns = ("device", "verdict", "cases", "ms", "reason")
        table = render_table(
            f"Smoke test of {layer.release}", columns, [_result_row(each) for each in results]
        )
        terminal.answer([_result_facts(model, each) for each in results], [table])
        passed = bool(results) and all(each.passed for each in results)
        wrong = next((each for each in results if not each.passed), None)
        problem = f"a smoke test did not pass: {wrong.device}: {wrong.reason}" if wrong else ""
        fix = find_fix(model, results)
        if not results:
            problem = f"Inconclusive: nobody targeted: no device matches {layer.target_condition}"
            fix = advise_aim(services, read_fleet(settings), layer.target_condition)
        finish(passed, problem, fix)


def show(context: typer.Context, release: ReleaseArgument, output: OutputOption = Output.TABLE) -> None:
    """The smoke cases of a release, and what the companion of each device that runs the model said last: of
    this release, or of the one that still runs there.
    E.g. edgeferry smoke show nyc_taxi --output json"""
    with opened(context, output) as (settings, services, terminal):
        has_hub = bool(settings["hub.connection_string"] or settings["hub.host"])
        entry = find_release(services, release)
        model, digest, sha256 = (str(entry.body[key]) for key in ("model", "digest", "cases_sha256"))
        _refuse_program(model, "show")
        cases = fetch_cases(services, model, digest, sha256)
        sightings = [seen for seen in survey(services) if seen.module == model] if has_hub else []
        facts = {
            "release": entry.subject,
            "digest": digest,
            "cases_sha256": sha256,
            "cases": None if cases is None else [render_case(case) for case in cases.cases],
            "devices": [_sighting_facts(digest, seen) for seen in sightings],
        }
        columns = ("case", "kind", "requests", "limit ms", "must")
        rows = [_case_row(case, cases.latency_ms) for case in cases.cases] if cases else []
        parts: list[Any] = [f"the registry has no smoke cases of {entry.subject}: it was pushed without"]
        if cases:
            parts = [render_table(f"Smoke cases of {entry.subject}", columns, rows)]
        if sightings:
            told = ("device", "verdict", "about", "cases", "at", "reason")
            verdicts = [_verdict_row(digest, seen) for seen in sightings]
            parts.append(render_table("Last verdicts", told, verdicts))
        terminal.answer(facts, parts)


def make(
    context: typer.Context,
    model: ModelArgument,
    model_version: VersionOption = "",
    from_captures: Annotated[
        str,
        typer.Option(
            "--from-captures",
            metavar="DEVICE",
            help="Also ask what users asked the model there.",
            autocompletion=complete_devices,
        ),
    ] = "",
    write: Annotated[
        bool, typer.Option("--write", help=f"Write it to the model's {_CHECKS}, unless there is one.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Propose a smoke/checks.yml: along which columns this version's answers rise, fall or change, as its own
    image answers on this machine.
    E.g. edgeferry smoke make nyc_taxi --write"""
    with opened(context, output) as (settings, services, terminal):
        definition, version, packed = package_version(services, model, model_version)
        folder = Path(definition.folder) / Path(_CHECKS).parent
        if write and (folder / Path(_CHECKS).name).exists():
            raise RefusedError(f"{folder.parent / _CHECKS} is there already", fix="print it without --write")
        limits = read_fleet(settings).limits
        text = make_checks(services, definition, version, packed, limits, from_captures)
        facts = {"model": model, "version": version.version, "checks": text}
        if write:
            open_folder(folder).write(Path(_CHECKS).name, text)
            terminal.answer(
                {**facts, "file": str(folder.parent / _CHECKS)}, [f"written: {folder.parent / _CHECKS}"]
            )
        elif output is Output.JSON:
            terminal.answer(facts)
        else:
            with PROGRESS.quiet():
                print(text, end="")


def _refuse_program(model: str, word: str) -> None:
    if model in RESERVED:
        problem = f"nobody asks the {model}: the companion asks models"
        raise UsageError(problem, fix=f"edgeferry smoke {word} MODEL")


def _find_layer(settings: Settings, services: Services, model: str) -> ModelLayer | None:
    """The model's layer that counts on this environment's devices; None when there is none."""
    ours = [layer for layer in list_layers(services, read_fleet(settings)) if layer.model == model]
    return max(ours, key=lambda found: found.priority, default=None)


def _result_row(each: SmokeResult) -> list[str]:
    verdict = each.verdict
    latency = f"{verdict.latency_ms:.1f}" if verdict else ""
    return [each.device, each.state, str(verdict.asked) if verdict else "0", latency, each.reason]


def _result_facts(model: str, each: SmokeResult) -> dict[str, Any]:
    verdict = each.verdict
    return {
        "device": each.device,
        "model": model,
        "passed": each.passed,
        "state": each.state,
        "reason": each.reason,
        "asked": verdict.asked if verdict else 0,
        "latency_ms": verdict.latency_ms if verdict else None,
        "digest": verdict.digest if verdict else None,
    }


def _case_row(case: Case, latency_ms: float) -> list[str]:
    kind, requests, must = describe_case(case)
    return [case.id, kind, str(requests), f"{case.latency_ms or latency_ms:g}", must]


def _sighting_facts(digest: str, seen: Sighting) -> dict[str, Any]:
    verdict = seen.verdict
    return {
        "device": seen.device,
        "state": verdict.state if verdict else None,
        "is_about_this_release": verdict is not None and verdict.digest == digest,
        "asked": verdict.asked if verdict else 0,
        "at": verdict.at if verdict else None,
        "reason": verdict.reason if verdict else "its companion has told no verdict",
    }


def _verdict_row(digest: str, seen: Sighting) -> list[str]:
    verdict = seen.verdict
    if verdict is None:
        return [seen.device, "none", "", "0", "", "its companion has told no verdict"]
    about = "this release" if verdict.digest == digest else short(verdict.digest)
    return [seen.device, verdict.state, about, str(verdict.asked), verdict.at, verdict.reason]
