"""Asking: where a model answers, with a row to ask it."""

from __future__ import annotations

from collections.abc import Sequence

from edgeferry.domain.asking import Asking, choose_row
from edgeferry.errors import EdgeferryError
from edgeferry.ports import Services
from edgeferry.wire.deployment import SCORE_PORT, ModelLayer, parse_layers
from edgeferry.workflows.cases import load_cases
from edgeferry.workflows.survey import Sighting, fetch_host_ports

_FEW = 3
"""Devices that are looked at for one that says its port."""


def ask_seen(services: Services, sightings: Sequence[Sighting]) -> Asking | None:
    """The first model of these that answers; None when none does."""
    seen = next((each for each in sightings if each.connected and each.scores_at), None)
    if seen is None:
        return None
    layers = parse_layers(services.hub.configurations())
    same = [layer for layer in layers if (layer.model, layer.digest) == (seen.module, seen.digest)]
    return _ask(services, same[0] if same else None, seen.module, seen.device, seen.scores_at)


def ask_placed(services: Services, layer: ModelLayer) -> Asking | None:
    """The model of the layer, on one of the first devices that have it; None when none of them says where."""
    for device in next(iter(services.hub.device_ids(layer.target_condition)), ())[:_FEW]:
        port = fetch_host_ports(services, device, layer.model).get(f"{SCORE_PORT}/tcp")
        if port:
            return _ask(services, layer, layer.model, device, f"127.0.0.1:{port}")
    return None


def _ask(services: Services, layer: ModelLayer | None, model: str, device: str, place: str) -> Asking:
    """With a row of the release's cases where the registry tells them."""
    try:
        cases = load_cases(services, model, layer.digest, layer.cases_sha256) if layer else None
    except EdgeferryError:
        cases = None
    return Asking(model, device, place, choose_row(cases) if cases else None)
