"""What a change touches: models and their steps, each with the paths that say so. Pure.

It is a promise about files, not about outcomes: a step that is touched may yet be reused, because training
compares contents, and what is not touched need not be looked at.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgeferry.domain.host_path import is_below
from edgeferry.domain.reading import Code, ModelReading, StepReading, select_code

Kind = Literal["added", "changed", "deleted", "renamed", "untracked"]


@dataclass(frozen=True)
class Change:
    """One file that is not as it was; paths are absolute, with `/`."""

    path: str
    kind: Kind
    before: str = ""
    """Where a renamed one was."""


@dataclass(frozen=True)
class Changes:
    """All that is not as it was at one commit."""

    root: str
    """The repository's folder."""
    since: str
    """The commit."""
    files: tuple[Change, ...]


@dataclass(frozen=True)
class Reason:
    """A path that changed, and what it is to the model or step."""

    path: str
    kind: Kind
    part: str
    """E.g. `its code`, `pipeline.yml`, `shared by all models`."""


@dataclass(frozen=True)
class TouchedStep:
    """A step that the change touches: by `reasons`, or because it takes what these other steps make."""

    name: str
    reasons: tuple[Reason, ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class TouchedModel:
    """A model that the change touches."""

    name: str
    reasons: tuple[Reason, ...]
    """Paths that touch it besides its steps."""
    steps: tuple[TouchedStep, ...] = ()
    fault: str = ""
    """Why it counts as touched though no path says so; "" otherwise."""


def find_affected(
    models: Sequence[ModelReading], shared: Sequence[str], changes: Sequence[Change]
) -> tuple[TouchedModel, ...]:
    """The touched ones of `models`, in their order; every one is, by what lies at or below `shared`.

    A model that cannot be read is touched by any change.
    """
    looks = _Looks(changes)
    everyone = [reason for path in shared for reason in looks.at(path, "shared by all models")]
    touched = []
    for model in models:
        if model.fault:
            found = TouchedModel(model.name, tuple(everyone), fault=model.fault)
            touched += [found] if changes else []
            continue
        steps = _find_steps(model, looks)
        reasons = (*_unique([*everyone, *_find_own(model, steps, looks)]),)
        if steps or reasons:
            touched.append(TouchedModel(model.name, reasons, steps))
    return tuple(touched)


def find_removed(models: Sequence[str], folder: str, file: str, changes: Sequence[Change]) -> tuple[str, ...]:
    """Names of models that are gone: the `file` of one was below `folder`, and it is none of `models` now."""
    gone = [change.before or change.path for change in changes if change.kind in ("deleted", "renamed")]
    names = {
        path.removeprefix(f"{folder}/").removesuffix(f"/{file}")
        for path in gone
        if path.startswith(f"{folder}/") and path.endswith(f"/{file}")
    }
    return tuple(sorted(name for name in names if "/" not in name and name not in models))


def _find_steps(model: ModelReading, looks: _Looks) -> tuple[TouchedStep, ...]:
    """The touched steps, in the pipeline's order, in which a step comes after those that it takes from."""
    touched: dict[str, TouchedStep] = {}
    for step in model.steps:
        reasons = _unique(_find_direct(model, step, looks))
        after = tuple(name for name in step.after if name in touched)
        if reasons or after:
            touched[step.name] = TouchedStep(step.name, tuple(reasons), after)
    return tuple(touched.values())


def _find_direct(model: ModelReading, step: StepReading, looks: _Looks) -> list[Reason]:
    places = [(model.pipeline, "pipeline.yml"), (step.component, "its component")]
    places += [(step.conda, "its environment")] if step.conda else []
    places += [(path, "its data") for path in step.data]
    found = [reason for path, part in places for reason in looks.at(path, part)]
    return [*found, *(looks.code(step.code) if step.code else ())]


def _find_own(model: ModelReading, steps: Sequence[TouchedStep], looks: _Looks) -> list[Reason]:
    """What touches the model and none of its steps. A file in its folder that a step's ignore file keeps
    from the step's code touches nothing, unless it is read for itself."""
    told = {reason.path for step in steps for reason in step.reasons}
    own = [reason for path in model.own for reason in looks.at(path, "the model's own")]
    tests = [reason for path in model.tests for reason in looks.at(path, "its tests")]
    data = [reason for path in model.data for reason in looks.at(path, "its data")]
    codes = {step.code.folder for step in model.steps if step.code}
    folder = [
        reason
        for reason in looks.at(model.folder, "in the model's folder")
        if not any(is_below(reason.path, code) for code in codes)
    ]
    return [reason for reason in [*own, *tests, *data, *folder] if reason.path not in told]


def _unique(reasons: Iterable[Reason]) -> list[Reason]:
    """The first reason of each path."""
    return list({reason.path: reason for reason in reversed(list(reasons))}.values())[::-1]


class _Looks:
    """Which changes lie where; a place that many models share is looked at once."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._kinds: dict[str, Kind] = {
            path: change.kind for change in changes for path in (change.before, change.path) if path
        }
        self._paths = sorted(self._kinds)
        self._known: dict[tuple[str | Code, str], tuple[Reason, ...]] = {}

    def at(self, place: str, part: str) -> tuple[Reason, ...]:
        """What changed at the place or below it."""
        return self._tell(place, part, lambda: self._at(place))

    def code(self, code: Code) -> tuple[Reason, ...]:
        """What changed of the code."""
        return self._tell(code, "its code", lambda: sorted(select_code(code, self._at(code.folder))))

    def _at(self, place: str) -> list[str]:
        # What lies in a folder stands together among sorted paths: "0" is the sign after "/".
        start, end = (bisect_left(self._paths, f"{place}{sign}") for sign in "/0")
        return [*([place] if place in self._kinds else []), *self._paths[start:end]]

    def _tell(self, place: str | Code, part: str, find: Callable[[], list[str]]) -> tuple[Reason, ...]:
        if (place, part) not in self._known:
            self._known[place, part] = tuple(Reason(path, self._kinds[path], part) for path in find())
        return self._known[place, part]
