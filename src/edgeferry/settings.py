"""Every setting: what it means, its default, and who set it. The only place that reads the environment.

Order: default < what `edgeferry up` started on this machine < `edgeferry.toml` < `EDGEFERRY_*` < flags.
`registry.password` is `EDGEFERRY_REGISTRY__PASSWORD` in the environment. Secrets never stand in
`edgeferry.toml`; key files live in the state folder, readable by their owner only.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeferry.errors import UsageError

PROJECT_FILE = "edgeferry.toml"
STATE_FOLDER = ".edgeferry"
SANDBOX_FILE = "sandbox.json"
MASK = "********"


@dataclass(frozen=True)
class Setting:
    """One known setting."""

    name: str
    default: str
    meaning: str
    secret: bool = False


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "state",
        "",
        "folder for caches, keys and what runs on this machine (default: .edgeferry beside edgeferry.toml)",
    ),
    Setting("user", "", "who you are in the ledger (default: the login name)"),
    Setting(
        "hub.connection_string",
        "",
        "service connection string of the hub (iothubowner or a policy with the same rights)",
        secret=True,
    ),
    Setting("hub.ca_file", "", "certificate authority of the hub; empty: the system's"),
    Setting("registry.host", "", "host:port of the OCI registry"),
    Setting("registry.prefix", "edgeferry", "path before the model's name in image references"),
    Setting("registry.username", "", "login that may push"),
    Setting("registry.password", "", "its password", secret=True),
    Setting("registry.ca_file", "", "certificate authority of the registry; empty: the system's"),
    Setting("ledger.url", "", "git repository of signed decisions"),
    Setting("ledger.branch", "ledger", "its branch"),
    Setting(
        "ledger.trusted_keys",
        "",
        "folder of public keys that count, NAME.pem each (default: trust in the state folder)",
    ),
    Setting("tracking.uri", "", "MLflow tracking address (default: SQLite in the state folder)"),
    Setting("engine.url", "", "container engine (default: DOCKER_HOST, else the engine that answers)"),
    Setting("images.mirror", "http://deb.debian.org", "where Debian packages come from"),
    Setting("images.architecture", "", "amd64 or arm64 (default: this machine's)"),
    Setting(
        "rollout.fleet_condition",
        "tags.edgeferry = true",
        "devices that get our base deployment, where they have none, and the companion",
    ),
    Setting("rollout.timeout_s", "180", "seconds a rollout may take before it is judged"),
)
KNOWN: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Value:
    """A setting's value and who set it."""

    text: str
    source: str


@dataclass(frozen=True)
class Settings:
    """All settings of one project, each with its source."""

    root: Path
    values: Mapping[str, Value]

    def __getitem__(self, name: str) -> str:
        return self.values[name].text

    @property
    def state(self) -> Path:
        """The state folder (it need not exist yet)."""
        return Path(self["state"])

    def need(self, name: str) -> str:
        """The value; UsageError that says how to set it when it is empty."""
        text = self[name]
        if not text:
            raise UsageError(
                f"{name} is not set: {KNOWN[name].meaning}",
                fix=f"run 'edgeferry up' for servers on this machine, or set {_environment_name(name)}",
            )
        return text

    def seconds(self, name: str) -> float:
        """The value as a positive number of seconds; UsageError when it is none."""
        try:
            value = float(self[name])
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise UsageError(
                f"{name} is {self[name]!r}, set by the {self.values[name].source}: not a number of seconds",
                fix="give seconds, e.g. 180",
            )
        return value

    def masked(self) -> dict[str, Value]:
        """All values with secrets masked, for showing."""
        return {
            name: Value(MASK, value.source) if KNOWN[name].secret and value.text else value
            for name, value in self.values.items()
        }


def load_settings(start: Path | None = None, flags: Mapping[str, str] | None = None) -> Settings:
    """The settings of the project at or above `start`; UsageError for an unknown or misplaced one."""
    root = _project_root(start or Path.cwd())
    layers: list[tuple[str, Mapping[str, str]]] = [("default", {s.name: s.default for s in SETTINGS})]
    file_values = _read_project_file(root / PROJECT_FILE)
    environment_values = _read_environment()
    given = {**file_values, **environment_values, **(flags or {})}
    state = Path(given.get("state") or root / STATE_FOLDER)
    state = state if state.is_absolute() else root / state
    layers.append(("default", _computed_defaults(state)))
    layers.append(("this machine (edgeferry up)", _read_sandbox(state / SANDBOX_FILE)))
    layers.append((PROJECT_FILE, file_values))
    layers.append(("environment", environment_values))
    layers.append(("flag", flags or {}))
    values: dict[str, Value] = {}
    for source, layer in layers:
        for name, text in layer.items():
            values[name] = Value(text, source)
    values["state"] = Value(str(state), values["state"].source)
    return Settings(root, values)


def child_environment() -> dict[str, str]:
    """The environment for processes we start: this one's, without what would slow or mislead them."""
    return {k: v for k, v in os.environ.items() if k not in {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}}


def default_engine_host() -> str:
    """What DOCKER_HOST says, or ""."""
    return os.environ.get("DOCKER_HOST", "")


def _project_root(start: Path) -> Path:
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
    raise UsageError(
        f"no {PROJECT_FILE} in {start} or above it",
        fix="change into a project's folder, e.g. examples/taxi, or name it with --project DIR",
    )


def _computed_defaults(state: Path) -> dict[str, str]:
    return {
        "user": os.environ.get("USER") or os.environ.get("LOGNAME") or "local",
        "ledger.trusted_keys": str(state / "trust"),
        "ledger.url": str(state / "ledger.git"),
        "tracking.uri": f"sqlite:///{state / 'mlflow' / 'mlflow.db'}",
    }


def _read_project_file(path: Path) -> dict[str, str]:
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}", fix="correct the TOML at that place") from error
    values: dict[str, str] = {}
    for name, raw in _flatten(tables).items():
        setting = _known(name, str(path))
        if setting.secret:
            raise UsageError(
                f"{path}: {name} is a secret and does not belong in a file of the project",
                fix=f"remove the line and set {_environment_name(name)}",
            )
        values[name] = str(raw).lower() if isinstance(raw, bool) else str(raw)
    for name in ("hub.ca_file", "registry.ca_file", "ledger.trusted_keys"):
        if values.get(name):
            values[name] = str(path.parent / values[name])
    return values


def _flatten(tables: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tables.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _read_environment() -> dict[str, str]:
    values = {}
    for key, text in os.environ.items():
        if key.startswith("EDGEFERRY_") and not key.startswith("EDGEFERRY_TEST_"):
            name = key.removeprefix("EDGEFERRY_").lower().replace("__", ".")
            values[_known(name, f"environment variable {key}").name] = text
    return values


def _read_sandbox(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        settings: dict[str, str] = json.loads(path.read_text("utf-8"))["settings"]
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"{path} cannot be read", fix="run 'edgeferry down --wipe' and 'edgeferry up'"
        ) from error
    return settings


def _known(name: str, where: str) -> Setting:
    setting = KNOWN.get(name)
    if setting is None:
        near = difflib.get_close_matches(name, KNOWN, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(KNOWN)}"
        raise UsageError(f"{where}: unknown setting {name}", fix=hint)
    return setting


def _environment_name(name: str) -> str:
    return "EDGEFERRY_" + name.replace(".", "__").upper()
