"""What a model reads: the files and folders it is made of, by what each is to it. Pure values.

Whoever asks which files a model is asks here: what starts its pipelines in CI, and what a change touches. A
step's code is what its training would take along (`domain/snapshot.py`). Paths are absolute, with `/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgeferry.domain.ignore import is_ignored, parse_ignore
from edgeferry.domain.snapshot import IGNORE_FILES, is_code


@dataclass(frozen=True)
class Code:
    """A step's code folder, and the text of the ignore file in it that decides ("" when there is none)."""

    folder: str
    ignore: str = ""
    parts: tuple[str, ...] = ()
    """Of a folder that holds the model's own folder too: the files and folders right in it that count."""


@dataclass(frozen=True)
class StepReading:
    """What one step reads."""

    name: str
    component: str
    """Its component file."""
    code: Code | None = None
    conda: str = ""
    """The file of its environment; "" when it has none of its own."""
    data: tuple[str, ...] = ()
    """Files and folders that its inputs name."""
    after: tuple[str, ...] = ()
    """The steps whose outputs it takes."""


@dataclass(frozen=True)
class ModelReading:
    """What one model reads."""

    name: str
    folder: str
    pipeline: str = ""
    """Its pipeline.yml."""
    own: tuple[str, ...] = ()
    """What is read besides its steps, though an ignore file of a step's code may say otherwise: model.yaml,
    smoke checks, what serves it."""
    steps: tuple[StepReading, ...] = ()
    data: tuple[str, ...] = ()
    """All that the pipeline's inputs name, whether a step takes it or not."""
    tests: tuple[str, ...] = ()
    """Folders of tests beside its code."""
    fault: str = ""
    """Why its files cannot be read, so that what it reads is not known; "" when it is."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file and folder, each once, its own folder first."""
        found = [self.folder, self.pipeline, *self.data, *self.tests]
        for step in self.steps:
            found += [step.component, step.conda, *step.data]
            found += (step.code.parts or [step.code.folder]) if step.code else []
        return tuple(dict.fromkeys(path for path in found if path))


def select_code(code: Code, paths: Iterable[str]) -> frozenset[str]:
    """Those of the paths that the code is made of; its ignore file is one of them, whatever it says."""
    patterns = parse_ignore(code.ignore)
    start = len(code.folder) + 1
    below = (path for path in paths if path.startswith(f"{code.folder}/"))
    return frozenset(
        path
        for path in below
        if path[start:] in IGNORE_FILES or (is_code(path[start:]) and not is_ignored(path[start:], patterns))
    )
