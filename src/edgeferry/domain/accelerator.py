"""What an import of a project laid out as microsoft/mlops-accelerator-for-edge tells: where each thing went,
and what is left for a person. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CONFIG_FILE = "config/model_config.json"


@dataclass(frozen=True)
class Origin:
    """A line of the project that is imported; `line` 0 is the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Placed:
    """One thing of the old project, and its place in the new one."""

    what: str
    value: str
    place: str
    """File and key in the new project; "" when it is gone."""
    reason: str
    origin: Origin


@dataclass(frozen=True)
class Edit:
    """What the import could not carry over, and the edit that a person makes."""

    origin: Origin
    problem: str
    fix: str


@dataclass(frozen=True)
class Entry:
    """One entry of `model_config.json`: a model in an environment."""

    model: str
    environment: str
    values: Mapping[str, str]
    """Every key that is known, as text."""
    own: Mapping[str, str]
    """Keys that the template does not have."""
    lines: Mapping[str, int]

    def get(self, key: str) -> str:
        """The value; "" when the entry has none."""
        return self.values.get(key, "")

    def origin(self, key: str) -> Origin:
        """Where the key stands."""
        return Origin(CONFIG_FILE, self.lines.get(key, 0))
