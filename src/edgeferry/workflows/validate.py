"""Validate: everything that is wrong with the files of models, found without running anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeferry.domain.finding import Finding
from edgeferry.ports import Services


@dataclass(frozen=True)
class Validation:
    """What was found; a file that two models share counts once."""

    models: tuple[str, ...]
    findings: tuple[Finding, ...]
    """By file and line."""
    ok: bool

    def count(self, severity: str) -> int:
        """How many findings have that severity."""
        return sum(finding.severity == severity for finding in self.findings)


def validate(services: Services, models: Sequence[str] = (), *, strict: bool = False) -> Validation:
    """The findings of these models (all when there are none given): ok without errors, and without warnings
    when `strict`."""
    names = tuple(dict.fromkeys(models)) or tuple(services.project.model_names())
    findings = {finding for name in names for finding in services.project.find_faults(name)}
    order = sorted(findings, key=lambda each: (each.file, each.line, each.rule, each.problem))
    ok = not any(strict or finding.severity == "error" for finding in order)
    return Validation(names, tuple(order), ok)
