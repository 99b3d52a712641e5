"""The lines in which an engine tells of a pull (Docker Engine API, `POST /images/create`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgeferry.domain.pull_progress import Progress

_ABOUT_LAYERS = ("Pulling fs layer", "Waiting", "Downloading", "Verifying Checksum", "Download complete")
_DONE = ("Pull complete", "Already exists")


@dataclass(frozen=True)
class Layer:
    """How far one layer has come. A download that starts again at its beginning has come no farther."""

    fetched: int = 0
    size: int = 0
    unpacked: int = 0
    done: bool = False


def read_line(layer: Layer | None, line: Mapping[str, Any]) -> Layer | None:
    """The layer after the engine wrote `line` of it; unchanged when the line is about something else."""
    status = str(line.get("status") or "")
    if not layer and not status.startswith((*_ABOUT_LAYERS, *_DONE, "Extracting")):
        return layer
    layer = layer or Layer()
    detail = line.get("progressDetail") or {}
    current, total = int(detail.get("current") or 0), int(detail.get("total") or 0)
    if status == "Downloading":
        return replace(layer, fetched=max(layer.fetched, current), size=max(layer.size, total))
    if status == "Extracting":
        return replace(layer, fetched=layer.size, unpacked=max(layer.unpacked, current))
    if status == "Download complete":
        return replace(layer, fetched=layer.size)
    return replace(layer, fetched=layer.size, done=True) if status in _DONE else layer


def sum_up(layers: Iterable[Layer]) -> Progress:
    """How far the pull of these layers has come."""
    known = tuple(layers)
    return Progress(
        bytes_done=sum(layer.fetched for layer in known),
        bytes_known=sum(layer.size for layer in known),
        bytes_unpacked=sum(layer.unpacked for layer in known),
        layers_done=sum(layer.done for layer in known),
        layers=len(known),
    )
