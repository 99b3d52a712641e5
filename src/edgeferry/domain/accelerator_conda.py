"""The conda file of an accelerator project, so that steps run here: the same lines but for those that cannot
be met, each change with its reason. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from edgeferry.domain.accelerator import Edit, Origin, Placed
from edgeferry.domain.finding import At

PYTHON = "3.11"
"""Of the images that models are served in, so of the steps that save them."""
REGISTRY = (
    "mlflow-skinny==3.15.0",
    "azureml-mlflow==1.62.0.post6",
    "sqlalchemy==2.1.9",
    "alembic==1.20.1",
    "skops==0.16.0",
    "onnx==1.23.2",
    "protobuf>=6.33,<7",
)
"""How steps reach the registry of models, and how models are converted: the versions that edgeferry was tried
with. A step and edgeferry share one registry, whose format each MLflow changes."""
_OURS = frozenset({re.split(r"[=<>]", each)[0] for each in REGISTRY} | {"mlflow"})
_SUBMITTING = {
    "azure-ai-ml": "azure",
    "azure-identity": "azure",
    "azure-keyvault-secrets": "azure",
    "azureml-core": "azureml",
    "mldesigner": "mldesigner",
}
"""What the template needed to submit a job, and the package under which steps would import it."""
_OLDEST = {"scikit-learn": (1, 5), "pandas": (2, 2), "numpy": (1, 26)}
"""Older ones have no files for this Python, or none that go with the numpy that pip chooses beside them."""
_SPLIT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(.*)")


@dataclass
class Port:
    """A conda file, ported."""

    text: str = ""
    placed: list[Placed] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)


def port_conda(
    text: str,
    dependencies: Sequence[object],
    line: Callable[[At], int],
    imported: AbstractSet[str],
    file: str,
    place: str,
) -> Port:
    """The file at `place`, from `text` with the parsed `dependencies`; `imported`: what steps import."""
    made = Port()
    lines: list[str | None] = list(text.splitlines())
    moved: list[str] = []
    old: list[str] = []
    last_pip = 0

    def change(number: int, before: str, after: str, reason: str) -> None:
        stands = lines[number - 1] or ""
        lines[number - 1] = stands[: len(stands) - len(stands.lstrip())] + f"- {after}" if after else None
        made.placed.append(Placed(before, after, place if after else "", reason, Origin(file, number)))

    for index, item in enumerate(dependencies):
        number = line(("dependencies", index))
        if isinstance(item, Mapping) and isinstance(item.get("pip"), list):
            for position, requirement in enumerate(item["pip"]):
                at = line(("dependencies", index, "pip", position))
                last_pip = max(last_pip, at)
                _port_requirement(str(requirement), at, imported, change, old)
        elif isinstance(item, str) and re.match(r"python\b(?!-)", item):
            if item.replace(" ", "") not in (f"python={PYTHON}", f"python=={PYTHON}"):
                change(
                    number, item, f"python={PYTHON}", "models are served by this Python, so it trains them"
                )
        elif isinstance(item, str) and not re.fullmatch(r"pip\b.*", item):
            requirement = re.sub(
                r"^[\w-]+::|(?<![=<>!~])=(?!=)", lambda m: "" if "::" in m[0] else "==", item
            )
            change(number, item, "", f"below `pip:`, as {requirement}: step environments are made by pip")
            moved.append(requirement)
    for requirement in moved:
        _port_requirement(requirement, 0, imported, lambda *_: None, old)
    stood = text.splitlines()[last_pip - 1] if last_pip else " " * 6
    indent = stood[: len(stood) - len(stood.lstrip())]
    _append(lines, last_pip, indent, [each for each in moved if _name(each) not in _OURS])
    left = [each for each in lines if each is not None]
    made.text = "\n".join(left) + "\n"
    for requirement in old:
        number = next(at for at, each in enumerate(left, 1) if requirement in each)
        wanted = ".".join(map(str, _OLDEST[_name(requirement)]))
        problem = f"{requirement} does not go with Python {PYTHON} and the numpy of today"
        fix = f"write {_name(requirement)}>={wanted}, run your tests, and train anew"
        made.edits.append(Edit(Origin(place, number), problem, fix))
    return made


def _port_requirement(
    requirement: str,
    number: int,
    imported: AbstractSet[str],
    change: Callable[[int, str, str, str], None],
    old: list[str],
) -> None:
    """Changes the requirement where it must be; adds one that is too old to `old`."""
    name = _name(requirement)
    if name in _OURS:
        change(number, requirement, "", "replaced by the versions that share a registry with edgeferry")
    elif name in _SUBMITTING and _SUBMITTING[name] not in imported:
        change(number, requirement, "", "submitted the job; no step imports it")
    elif name in _OLDEST and (pinned := _pinned(requirement)) and pinned < _OLDEST[name]:
        old.append(requirement)


def _append(lines: list[str | None], last_pip: int, indent: str, moved: Sequence[str]) -> None:
    """Puts what is added behind the last pip requirement, or below a `pip:` of its own."""
    added = [f"{indent}- {each}" for each in (*moved, *REGISTRY)]
    if last_pip:
        lines[last_pip:last_pip] = added
    else:
        lines += ["  - pip:", *added]


def _name(requirement: str) -> str:
    match = _SPLIT.match(requirement.strip())
    return re.sub(r"[-_.]+", "-", match[1]).lower() if match else ""


def _pinned(requirement: str) -> tuple[int, ...]:
    match = re.search(r"==\s*(\d+(?:\.\d+)*)", requirement)
    return tuple(int(part) for part in match[1].split(".")) if match else ()
