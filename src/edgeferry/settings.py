"""The settings of a project: each one's value, and who set it. What there is to set: `settings_table.py`.

Order: default < what `edgeferry up` or `edgeferry hub start` started on this machine < `edgeferry.toml` <
`environments/NAME.toml`, what it inherits first < `EDGEFERRY_*` < flags. `registry.password` is
`EDGEFERRY_REGISTRY__PASSWORD` in the environment. A secret never stands in a file of the project; a reference
to one, `keyvault://VAULT/NAME`, may. Key files live in the state folder, readable by their owner only.
"""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeferry.errors import UsageError
from edgeferry.settings_table import (
    KNOWN,
    REFERENCE,
    SETTINGS,
    Setting,
    environment_name,
    find_setting,
    is_secret,
)

PROJECT_FILE = "edgeferry.toml"
STATE_FOLDER = ".edgeferry"
SANDBOX_FILE = "sandbox.json"
HUB_FOLDER = "hub"
"""Where in a state folder its hub keeps everything."""
ENVIRONMENTS_FOLDER = "environments"
ENVIRONMENT_VARIABLE = "EDGEFERRY_ENV"
UP_SOURCE = "this machine (edgeferry up)"
"""Who set what `up` recorded."""
MASK = "********"

_INHERITS = "inherits"
_MOST_NAMED = 4
"""Projects that are named where there is none."""
_ADDRESSES = {
    "hub": ("hub.host", "hub.connection_string", "hub.events_connection_string"),
    "registry": ("registry.host",),
    "ledger": ("ledger.url",),
}
"""What says where a server is. Who sets one of these means a server of their own, and nothing that `up`
recorded of this machine's server of that kind applies to it."""


@dataclass(frozen=True)
class Value:
    """A setting's value and who set it."""

    text: str
    source: str


@dataclass(frozen=True)
class Settings:
    """All settings of one project, each with its source."""

    root: Path
    """The project's folder; for what needs no project, where there is none, the folder it was asked in."""
    values: Mapping[str, Value]
    environment: str = ""
    """The environment's name; "" for none."""

    def __getitem__(self, name: str) -> str:
        return self.values[name].text

    @property
    def state(self) -> Path:
        """The state folder (it need not exist yet)."""
        return Path(self["state"])

    @property
    def written(self) -> dict[str, str]:
        """The values that files of the project give, whatever this machine says besides."""
        return {name: value.text for name, value in self.values.items() if value.source.endswith(".toml")}

    def need(self, name: str) -> str:
        """The value; UsageError that says how to set it when it is empty."""
        text = self[name]
        if not text:
            ours = name.partition(".")[0] in _ADDRESSES
            if ours and name.startswith("hub.") and (stopped := _find_stopped_hub(self.state)):
                raise UsageError(f"the hub of {stopped} does not run", fix="edgeferry hub start")
            hub = "or 'edgeferry hub start' for a hub alone, " if name.startswith("hub.") else ""
            here = f"run 'edgeferry up' for servers on this machine, {hub}" if ours else ""
            raise UsageError(
                f"{name} is not set: {KNOWN[name].meaning}",
                fix=f"{here}choose an environment with --env, or set {environment_name(name)}",
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
                f"{name} is {self[name]!r}, set by {self.values[name].source}: not a number of seconds",
                fix="give seconds, e.g. 180",
            )
        return value

    def masked(self) -> dict[str, Value]:
        """All values with secrets masked, for showing."""
        return {
            name: Value(MASK, value.source) if is_secret(name, value.text) else value
            for name, value in self.values.items()
        }


def load_settings(
    start: Path | None = None,
    flags: Mapping[str, str] | None = None,
    environment: str = "",
    *,
    need_project: bool = True,
) -> Settings:
    """The settings of the project at or above `start` in `environment` (default: what EDGEFERRY_ENV names,
    else none); UsageError for an unknown or misplaced one. Without `need_project` those of this machine's
    user where there is no project and nobody named one."""
    environment = environment or os.environ.get(ENVIRONMENT_VARIABLE, "")
    named = need_project or start is not None or environment
    project = find_project(start or Path.cwd())
    if project is None and named:
        raise _no_project(start or Path.cwd())
    root = project or Path.cwd()
    files: list[tuple[str, Mapping[str, str]]] = []
    if project is not None:
        files.append((PROJECT_FILE, _read_file(root, PROJECT_FILE)))
    if environment:
        files += _read_environment_files(root, environment)
    environment_values = _read_environment()
    given = {name: text for _, layer in files for name, text in layer.items()}
    given |= {**environment_values, **(flags or {})}
    state = Path(given.get("state") or (machine_state() if project is None else root / STATE_FOLDER))
    state = state if state.is_absolute() else root / state
    sandbox = _read_sandbox(state / SANDBOX_FILE)
    hub = _find_started_hub(state, sandbox)
    layers: list[tuple[str, Mapping[str, str]]] = [
        ("default", {s.name: s.default for s in SETTINGS}),
        ("default", _computed_defaults(state, environment)),
        (UP_SOURCE, _where_not_replaced(sandbox, given)),
        ("this machine (edgeferry hub start)", _where_not_replaced(hub, given)),
        *files,
        *((environment_name(name), {name: text}) for name, text in environment_values.items()),
        ("flag", flags or {}),
    ]
    values: dict[str, Value] = {}
    for source, layer in layers:
        for name, text in layer.items():
            values[name] = Value(text, source)
    values["state"] = Value(str(state), values["state"].source)
    for name, value in values.items():
        _check_choice(KNOWN[name], value)
    return Settings(root, values, environment)


def find_repository(root: Path) -> Path:
    """The git repository that `root` is in, or `root` itself."""
    return next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)


def environment_names(root: Path) -> list[str]:
    """The project's environments, sorted."""
    return sorted(path.stem for path in (root / ENVIRONMENTS_FOLDER).glob("*.toml"))


def find_project(start: Path) -> Path | None:
    """The folder of the project at or above `start`; None where there is none."""
    folders = (start.resolve(), *start.resolve().parents)
    return next((folder for folder in folders if (folder / PROJECT_FILE).is_file()), None)


def machine_state() -> Path:
    """The state folder of what this machine's user runs outside of any project."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "state") / "edgeferry"


def device_state() -> Path:
    """The folder of what this machine is as a device: the system's for root, else the user's own."""
    return Path("/var/lib/edgeferry/device") if os.geteuid() == 0 else machine_state() / "device"


def hub_runs(folder: Path) -> bool:
    """Whether a hub uses this hub folder now: the kernel holds its lock as long as it lives."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _no_project(start: Path) -> UsageError:
    below = sorted(file.parent.name for file in start.glob(f"*/{PROJECT_FILE}"))
    here = ", ".join(f"cd {shlex.quote(name)}" for name in below[:_MOST_NAMED])
    return UsageError(
        f"no {PROJECT_FILE} in {start} or above it",
        fix=f"go to the one below: {here}; or begin another: edgeferry init NAME"
        if below
        else "begin a project in a new folder: edgeferry init NAME; or name one with --project DIR",
    )


def _find_stopped_hub(state: Path) -> Path | None:
    folders = (state / HUB_FOLDER, machine_state() / HUB_FOLDER)
    return next((one for one in folders if (one / "connection.json").exists() and not hub_runs(one)), None)


def _find_started_hub(state: Path, sandbox: Mapping[str, str]) -> dict[str, str]:
    """How to reach the hub that runs here: this state folder's, else that of the machine's user; nothing
    when it is the very one that `up` recorded."""
    for folder in (state / HUB_FOLDER, machine_state() / HUB_FOLDER):
        if hub_runs(folder):
            try:
                connection = str(json.loads((folder / "connection.json").read_text())["connection_string"])
            except (OSError, ValueError, KeyError):
                continue  # it is only starting
            if connection == sandbox.get("hub.connection_string"):
                return {}
            return {
                "hub.connection_string": connection,
                "hub.ca_file": str(folder / "ca.pem"),
                "hub.queries_per_minute": "0",
            }
    return {}


def _computed_defaults(state: Path, environment: str) -> dict[str, str]:
    return {
        "gate.self_approval": "no" if environment else "yes",
        "user": os.environ.get("USER") or os.environ.get("LOGNAME") or "local",
        "ledger.trusted_keys": str(state / "trust"),
        "ledger.url": str(state / "ledger.git"),
        "tracking.uri": f"sqlite:///{state / 'mlflow' / 'mlflow.db'}",
    }


def _read_environment_files(root: Path, name: str) -> list[tuple[str, Mapping[str, str]]]:
    """(file, values) of the environment, what it inherits first; UsageError for an unknown one or a
    circle."""
    layers: list[tuple[str, Mapping[str, str]]] = []
    seen: list[str] = []
    while name:
        file = f"{ENVIRONMENTS_FOLDER}/{name}.toml"
        if name in seen:
            raise UsageError(
                f"{ENVIRONMENTS_FOLDER}/{seen[-1]}.toml inherits in a circle: {' > '.join([*seen, name])}",
                fix=f"remove one `{_INHERITS}`",
            )
        if not (root / file).is_file():
            known = environment_names(root)
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none yet'}"
            who = f"{ENVIRONMENTS_FOLDER}/{seen[-1]}.toml inherits" if seen else "there is no environment"
            raise UsageError(f"{who} {name!r}: no file {file}", fix=hint)
        seen.append(name)
        values = _read_file(root, file, environment=True)
        name = values.pop(_INHERITS, "")
        layers.insert(0, (file, values))
    return layers


def _read_file(root: Path, name: str, *, environment: bool = False) -> dict[str, str]:
    """The settings in one TOML file of the project, and `inherits` where it is an environment's."""
    path = root / name
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}", fix="correct the TOML at that place") from error
    values: dict[str, str] = {}
    if environment and _INHERITS in tables:
        values[_INHERITS] = str(tables.pop(_INHERITS))
    for name, raw in _flatten(tables).items():
        setting = find_setting(name, str(path))
        text = str(raw).lower() if isinstance(raw, bool) else str(raw)
        if is_secret(setting.name, text):
            raise UsageError(
                f"{path}: {name} is a secret and does not belong in a file of the project",
                fix=f"write {REFERENCE}VAULT/NAME, or remove the line and set {environment_name(name)}",
            )
        values[name] = text
    for name in ("hub.ca_file", "registry.ca_file", "ledger.trusted_keys"):
        if values.get(name):
            values[name] = str(root / values[name])
    return values


def _where_not_replaced(sandbox: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """What `up` recorded, without the servers whose address somebody else sets."""
    replaced = {kind for kind, addresses in _ADDRESSES.items() if any(given.get(name) for name in addresses)}
    return {name: text for name, text in sandbox.items() if name.partition(".")[0] not in replaced}


def _check_choice(setting: Setting, value: Value) -> None:
    if setting.choices and value.text not in setting.choices:
        raise UsageError(
            f"{setting.name} is {value.text!r}, set by {value.source}",
            fix=f"choose one of: {', '.join(setting.choices)}",
        )


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
        ours = key.startswith("EDGEFERRY_") and not key.startswith("EDGEFERRY_TEST_")
        if ours and key != ENVIRONMENT_VARIABLE:
            name = key.removeprefix("EDGEFERRY_").lower().replace("__", ".")
            values[find_setting(name, f"environment variable {key}").name] = text
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
