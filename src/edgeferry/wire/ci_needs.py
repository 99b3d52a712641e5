"""What pipelines ask of their platform besides a runner: read from the very text that was written."""

from __future__ import annotations

import re
from collections.abc import Iterable

_GITHUB = {
    "environment": re.compile(r"^\s*environment: ([\w-]+)$", re.MULTILINE),
    "variable": re.compile(r"\bvars\.(\w+)"),
    "secret": re.compile(r"\bsecrets\.(\w+)"),
}
_AZURE_DEVOPS = {
    "environment": re.compile(r"^\s*environment: ([\w-]+)$", re.MULTILINE),
    "variable group": re.compile(r"^\s*- group: ([\w-]+)$", re.MULTILINE),
    "service connection": re.compile(r"^\s*(?:azureSubscription|serviceConnection): ([\w-]+)$", re.MULTILINE),
}
_BY_PLATFORM = {"github": _GITHUB, "azure-devops": _AZURE_DEVOPS}
_GIVEN = frozenset({"GITHUB_TOKEN"})
"""What the platform has of itself."""


def find_needs(platform: str, texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Names that must be there, by what they are: `{"environment": ("edgeferry-prod",), …}`; kinds of which
    there is none are left out."""
    whole = "\n".join(texts)
    found = {kind: sorted({*of.findall(whole)} - _GIVEN) for kind, of in _BY_PLATFORM[platform].items()}
    return {kind: tuple(names) for kind, names in found.items() if names}
