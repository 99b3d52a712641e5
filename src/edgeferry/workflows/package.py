"""Package: a registered model version as an image: the graph, its card, its smoke cases, the server."""

from __future__ import annotations

from edgeferry.domain.heldout import HeldOut, parse_held_out
from edgeferry.domain.image import Image
from edgeferry.domain.model import ModelDefinition, ModelVersion
from edgeferry.domain.smoke import CaseSet, choose_cases, parse_checks
from edgeferry.errors import DefinitionError
from edgeferry.ports import Services
from edgeferry.wire.cases import render_cases
from edgeferry.wire.serving import ModelCard, render_model_card


def package(services: Services, definition: ModelDefinition, version: ModelVersion) -> Image:
    """The image of `version`; the same version gives the same bytes.

    RefusedError when the model does not convert; DefinitionError when held-out file or checks are wrong.
    """
    held_out = load_held_out(services, definition, version)
    folder = services.tracking.download(version, definition.model_artifact)
    python = services.runner.python_of(services.project.load_pipeline(definition))
    card = ModelCard(
        model=definition.name,
        version=version.version,
        columns=version.columns,
        tolerance=definition.tolerance,
        output=definition.prediction_column,
    )
    cases = CaseSet(
        model=definition.name,
        version=version.version,
        tolerance=definition.tolerance,
        latency_ms=definition.latency_ms,
        cases=(
            *choose_cases(held_out.rows, held_out.predictions, definition.smoke_cases),
            *parse_checks(definition.checks, _names(version), held_out.rows[0]),
        ),
    )
    files = {
        "model.onnx": services.converter.to_onnx(folder, python),
        "model.json": render_model_card(card),
        "cases.json": render_cases(cases),
    }
    return services.images.assemble_model(definition, version, files)


def load_held_out(services: Services, definition: ModelDefinition, version: ModelVersion) -> HeldOut:
    """The held-out rows of `version` and the pipeline's own predictions; DefinitionError when the file is
    not what `model.yaml` says."""
    path = services.tracking.download(version, definition.held_out)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(
            f"{definition.held_out} of {version.model} version {version.version} is no text file: {error}",
            fix="let held_out in model.yaml name the CSV file",
        ) from error
    return parse_held_out(text, _names(version), definition.prediction_column, definition.held_out)


def _names(version: ModelVersion) -> list[str]:
    return [column.name for column in version.columns]
