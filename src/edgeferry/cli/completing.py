"""What the shell may complete: names of models and devices. Quick, and silent where it cannot find out."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterable, Sequence

import typer

from edgeferry.domain.model import COMPANION, DEVICE_AGENT
from edgeferry.ports import Services
from edgeferry.settings import load_settings
from edgeferry.wiring import open_services

PATIENCE_S = 2.0
"""How long somebody who pressed a key is kept waiting."""
MOST_NAMES = 200
_Names = Iterable[Sequence[str]]
_DEVICES = "SELECT deviceId FROM devices WHERE capabilities.iotEdge = true"


def complete_models(context: typer.Context, incomplete: str) -> list[str]:
    """The project's models."""
    return _complete(context, incomplete, lambda services: [services.project.model_names()])


def complete_modules(context: typer.Context, incomplete: str) -> list[str]:
    """The project's models, and the companion."""
    return _complete(context, incomplete, lambda services: [[COMPANION], services.project.model_names()])


def complete_subjects(context: typer.Context, incomplete: str) -> list[str]:
    """What is released and rolled out: the project's models, the companion and the agent."""
    programs = [COMPANION, DEVICE_AGENT]
    return _complete(context, incomplete, lambda services: [programs, services.project.model_names()])


def complete_devices(context: typer.Context, incomplete: str) -> list[str]:
    """The hub's edge devices, as many as it tells in time."""
    return _complete(context, incomplete, _read_devices)


def _read_devices(services: Services) -> _Names:
    for page in services.hub.query(_DEVICES):
        yield [str(row["deviceId"]) for row in page]


def _complete(context: typer.Context, incomplete: str, read: Callable[[Services], _Names]) -> list[str]:
    """The names that `read` gives in time and that begin so, in order."""
    said = context.find_root().params
    names: list[str] = []

    def work() -> None:
        with contextlib.suppress(Exception):
            settings = load_settings(said.get("project"), {}, said.get("env") or "", need_project=False)
            with open_services(settings, lambda _: None) as services:
                for some in read(services):
                    names.extend(name for name in some if name.startswith(incomplete))
                    if len(names) >= MOST_NAMES:
                        return

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        working = threading.Thread(target=work, daemon=True)
        working.start()
        working.join(PATIENCE_S)
    return sorted(names[:MOST_NAMES])
