"""Situation: what is there, as far as it can be told at once and without changing anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from edgeferry.domain.asking import Asking
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.model import RESERVED
from edgeferry.domain.next_step import ModelFacts, Situation
from edgeferry.errors import EdgeferryError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.deployment import ModelLayer
from edgeferry.workflows.aim import list_aimed
from edgeferry.workflows.asking import ask_placed
from edgeferry.workflows.placing import list_layers


def look_around(
    services: Services, folder: str, fleet: Fleet, user: str, servers: Literal["none", "here", "elsewhere"]
) -> Situation:
    """The situation in the project's folder. A hub that does not answer, or lets nobody in, is a fact too."""
    models = tuple(_look_at(services, name) for name in services.project.model_names())
    now = Situation(folder, fleet.environment, user, servers, models=models)
    if servers == "none":
        return now
    try:
        layers = list_layers(services, fleet)
        there = {layer.model: layer.release for layer in layers}
        done = servers == "here" and models and there.keys() >= {model.name for model in models}
        return replace(
            now,
            answers=True,
            devices=tuple(list_aimed(services, fleet.narrow(""))),
            models=tuple(
                replace(
                    model,
                    devices=0 if model.errors else len(list_aimed(services, fleet.narrow(model.condition))),
                    is_there=model.name in there,
                    news=_find_news(services, model.name, there.get(model.name, "")),
                )
                for model in models
            ),
            asking=_find_asking(services, layers) if done else None,
        )
    except EdgeferryError:
        return now


def _find_news(services: Services, name: str, release: str) -> str:
    """What of a model that was given as a file is not in the release on the hub; "" for nothing, and where
    this machine did not train it."""
    try:
        pipeline = services.project.load_pipeline(services.project.load_model(name))
        if not release or "given" not in pipeline.inputs:
            return ""
        version = services.runner.trained_version(pipeline)
    except EdgeferryError:
        return ""
    if version == "":
        return f"the files in models/{name}/given are not those that were trained last"
    if version and not release.startswith(f"{name}-v{version}-"):
        return f"version {version} of {name} is trained, and {release} is on the hub"
    return ""


def _find_asking(services: Services, layers: Sequence[ModelLayer]) -> Asking | None:
    """Of the first model that says where it answers."""
    models = [layer for layer in sorted(layers, key=lambda layer: layer.model) if layer.model not in RESERVED]
    found = (ask_placed(services, layer) for layer in models)
    return next((each for each in found if each), None)


def _look_at(services: Services, name: str) -> ModelFacts:
    """The model as its files say."""
    try:
        definition = services.project.load_model(name)
        services.project.load_pipeline(definition)
    except UsageError:
        errors = [each for each in services.project.find_faults(name) if each.severity == "error"]
        return ModelFacts(name, errors=max(1, len(errors)))
    return ModelFacts(name, definition.target_condition)
