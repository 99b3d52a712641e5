"""What an import tells: as the page `IMPORT.md` of the new project (CommonMark with tables), and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.accelerator import Edit, Origin, Placed

_HEAD = """\
# Imported from {source}

Written by `edgeferry import-accelerator`: {models}, {environments}. Nothing in the old project was changed.

## Edits by hand
"""
_NEXT = """
## Next

```sh
edgeferry validate                                     # file, line and fix of whatever is wrong
edgeferry up --devices 1                               # hub, registry and a device on this machine
edgeferry devices tag device-1 TAG=VALUE               # what target_condition in model.yaml asks for
edgeferry ship {model} --approve-as me
edgeferry ci azure-devops --env {environment}          # instead of devops/
```

Your own tests run as before, in this folder. The rest: docs/from-the-accelerator.md.

## Where everything went

| was | value | stood in | is now | why |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Work:
    """One edit by hand, wherever it is needed."""

    places: tuple[Origin, ...]
    problem: str
    fix: str


def gather(edits: Sequence[Edit]) -> tuple[Work, ...]:
    """The same edit in several places is one."""
    places: dict[tuple[str, str], list[Origin]] = {}
    for edit in edits:
        found = places.setdefault((edit.problem, edit.fix), [])
        if edit.origin not in found:
            found.append(edit.origin)
    return tuple(Work(tuple(found), *what) for what, found in places.items())


def render_report(
    source: str,
    models: Sequence[str],
    environments: Sequence[str],
    works: Sequence[Work],
    placed: Sequence[Placed],
) -> str:
    """The page."""
    head = _HEAD.format(
        source=f"`{source}`",
        models=f"models {', '.join(models)}",
        environments=f"environments {', '.join(environments)}",
    )
    numbered = [
        f"{number}. {', '.join(f'`{place}`' for place in work.places)}: {work.problem}.\n   {work.fix}"
        for number, work in enumerate(works, 1)
    ]
    rows = [_row(each) for each in placed]
    body = "\n".join(numbered) or "None."
    after = _NEXT.format(model=models[0], environment=environments[0])
    return f"{head}\n{body}\n{after}" + "\n".join(rows) + "\n"


def render_facts(works: Sequence[Work], placed: Sequence[Placed]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "edits": [
            {
                "places": [{"file": place.file, "line": place.line} for place in work.places],
                "problem": work.problem,
                "fix": work.fix,
            }
            for work in works
        ],
        "placed": [
            {
                "what": each.what,
                "value": each.value,
                "file": each.origin.file,
                "line": each.origin.line,
                "place": each.place,
                "reason": each.reason,
            }
            for each in placed
        ],
    }


def _row(each: Placed) -> str:
    is_now = _cell(each.place) or "gone"
    return f"| {_cell(each.what)} | {_cell(each.value)} | {each.origin} | {is_now} | {each.reason} |"


def _cell(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""
