"""What the owner of a device lets its agent do, from `agent.toml` beside `device.json`.

```toml
[policy]            # createOptions are refused what is not allowed here
privileged = false
docker_socket = false
host_network = false
host_namespaces = false
mounts = ["/var/lib/shop"]
devices = ["/dev/video0"]
capabilities = ["NET_ADMIN"]
sysctls = ["net.core.somaxconn"]
runtimes = ["nvidia"]
log_drivers = ["syslog"]

[pull]
bytes_per_s = 0     # no cap
window = ""         # such as "22:00-05:00"
progress_s = 120
least_free_bytes = 500_000_000

[trial]
window_s = 600
crashes = 3
ready_s = 60

[update]            # of the agent itself
ready_s = 60
proven_s = 180
```
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from edgeferry.domain.device_rules import Policy, PullRules, Rules, TrialRules, UpdateRules
from edgeferry.domain.download_window import parse_window
from edgeferry.errors import UsageError

FILE = "agent.toml"
_SECTIONS = {"policy": Policy, "pull": PullRules, "trial": TrialRules, "update": UpdateRules}


def load_rules(folder: Path) -> Rules:
    """The rules in `agent.toml` of that folder, the defaults where it says nothing; UsageError naming the
    line's key that is unknown or of the wrong kind."""
    path = folder / FILE
    try:
        said = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Rules()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", fix="correct the file") from error
    for name in said:
        _must_be_known(path, name, _SECTIONS, "section")
    rules = Rules(**{name: _read_section(path, name, kind, said) for name, kind in _SECTIONS.items()})
    try:
        parse_window(rules.pull.window)
    except UsageError as error:
        raise UsageError(f"{path}: pull.window: {error.problem}", fix=error.fix) from error
    return rules


def _read_section(path: Path, name: str, kind: Any, said: Mapping[str, Any]) -> Any:
    section = said.get(name, {})
    if not isinstance(section, dict):
        raise UsageError(f"{path}: {name} is not a section", fix=f"write [{name}] on a line of its own")
    defaults = kind()
    known = {field.name for field in fields(kind)}
    values = {}
    for key, value in section.items():
        _must_be_known(path, f"{name}.{key}", {f"{name}.{each}" for each in known}, "setting")
        values[key] = _read_value(path, f"{name}.{key}", value, getattr(defaults, key))
    return kind(**values)


def _read_value(path: Path, name: str, value: object, default: object) -> object:
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(value)
        raise UsageError(f"{path}: {name} is not a list of texts", fix=f'write {name.split(".")[1]} = ["…"]')
    if isinstance(default, bool) or isinstance(value, bool):
        fits = isinstance(default, bool) and isinstance(value, bool)
    elif isinstance(default, str):
        fits = isinstance(value, str)
    else:
        fits = isinstance(value, int | float) and value >= 0
        if fits and isinstance(default, float) and isinstance(value, int):
            return float(value)
    if fits and (type(value) is type(default)):
        return value
    raise UsageError(f"{path}: {name} is {value!r}", fix=f"write a {_KINDS[type(default)]}")


_KINDS = {bool: "true or false", str: "text", int: "whole number, 0 or more", float: "number, 0 or more"}


def _must_be_known(path: Path, name: str, known: Any, what: str) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, list(known), 1)
    fix = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
    raise UsageError(f"{path}: {name} is no {what} of an agent", fix=fix)
