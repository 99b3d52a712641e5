"""Smoke make: the checks that a version's own image proposes, asked under a device's limits on this
machine."""

from __future__ import annotations

import json

from edgeferry.domain.device_class import DeviceClass
from edgeferry.domain.model import ModelDefinition, ModelVersion
from edgeferry.domain.smoke import Row
from edgeferry.domain.smoke_proposals import Probe, Proposal, plan_probes, propose
from edgeferry.errors import OutsideError, RefusedError
from edgeferry.ports import Services
from edgeferry.ports_models import RunningModule
from edgeferry.wire.checks import MOST_ROWS, render_checks
from edgeferry.wire.deployment import SCORE_PORT
from edgeferry.wire.serving import parse_score_response, render_score_request
from edgeferry.workflows.captures import fetch_captures
from edgeferry.workflows.package import Packed, load_held_out
from edgeferry.workflows.verify import NoAnswer, await_ready

MOST_COLUMNS = 200
"""Of wider models the first columns are looked at: a pixel is no property."""


def make_checks(
    services: Services,
    definition: ModelDefinition,
    version: ModelVersion,
    packed: Packed,
    limits: DeviceClass,
    device: str = "",
) -> str:
    """A `smoke/checks.yml` that this version passes; with `device`, also what users asked the model there.

    RefusedError when the image does not answer, or the device holds no such requests.
    """
    names = [column.name for column in version.columns]
    held_out = load_held_out(services, definition, version)
    probes = plan_probes(held_out.rows, names[:MOST_COLUMNS])
    captured = _fetch_rows(services, device, definition.name, len(names)) if device else []
    image = packed.image
    with services.stage.run(image, {"EDGEFERRY_DIGEST": image.digest}, limits, SCORE_PORT) as module:
        try:
            await_ready(services, module)
        except NoAnswer as silence:
            fix = f"edgeferry verify {definition.name} shows its log"
            raise RefusedError(f"the image of {definition.name} {silence}", fix=fix) from silence
        proposals = [_ask(module, probe, definition) for probe in probes]
    numbers = [value for value in held_out.predictions if not isinstance(value, str)]
    answers = (min(numbers), max(numbers)) if numbers else None
    return render_checks(definition.name, version.version, proposals, answers, captured, device)


def _ask(module: RunningModule, probe: Probe, definition: ModelDefinition) -> Proposal:
    answers = []
    for rows in probe.rows:
        try:
            reply = module.ask("POST", "/score", render_score_request(rows))
        except OutsideError as error:
            raise _no_answer(definition, probe, error.problem) from error
        values = parse_score_response(reply.body) if reply.status == 200 else None
        if values is None or len(values) != len(rows):
            raise _no_answer(definition, probe, f"answered {reply.status}")
        answers.append(values)
    return propose(probe, answers, definition.tolerance)


def _no_answer(definition: ModelDefinition, probe: Probe, why: str) -> RefusedError:
    return RefusedError(
        f"{definition.name}, asked along column {probe.column}: {why}",
        fix=f"edgeferry verify {definition.name} shows what is wrong",
    )


def _fetch_rows(services: Services, device: str, model: str, width: int) -> list[Row]:
    """Different rows that users asked and got an answer to, the newest first."""
    found: dict[Row, None] = {}
    for record in reversed(fetch_captures(services, device, model, newest=500, purpose="user").records):
        inputs = json.loads(record.inputs) if record.status == 200 else None
        for row in inputs if isinstance(inputs, list) else ():
            if isinstance(row, list) and len(row) == width and all(map(_is_number, row)):
                found.setdefault(tuple(float(value) for value in row))
    if not found:
        raise RefusedError(
            f"{device} holds no rows that users asked {model}",
            fix=f"edgeferry captures {model} --device {device} shows what it holds",
        )
    return list(found)[:MOST_ROWS]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
