"""What deployments must make of devices, written from Microsoft's description of automatic deployments alone.

Shares no line with the hub: conditions are trees evaluated here, contents are applied key by key to plain
dictionaries, and who owns what is read off the state before and after each key.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

AGENT, HUB = "$edgeAgent", "$edgeHub"
UNDEFINED = object()

Condition = tuple[Any, ...]


# --- conditions: ("all",) ("none",) ("is", path) ("defined", path) ("cmp", path, op, value)
# ("in" | "not in", path, values) ("not", one) ("and" | "or", several)


def write(condition: Condition) -> str:
    """The condition as the query language writes it."""
    match condition:
        case ("all",):
            return "*"
        case ("none",):
            return ""
        case ("is", path):
            return path
        case ("defined", path):
            return f"IS_DEFINED({path})"
        case ("cmp", path, operator, value):
            return f"{path} {operator} {_literal(value)}"
        case ("in", path, values):
            return f"{path} IN [{', '.join(map(_literal, values))}]"
        case ("not in", path, values):
            return f"{path} NOT IN [{', '.join(map(_literal, values))}]"
        case ("not", one):
            return f"NOT ({write(one)})"
        case (word, several):
            return f" {word.upper()} ".join(f"({write(one)})" for one in several)
    raise AssertionError(condition)


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def judge(condition: Condition, device: str, tags: dict) -> Any:
    """True, False or UNDEFINED."""
    match condition:
        case ("all",):
            return True
        case ("none",):
            return False
        case ("is", path):
            value = _look(path, device, tags)
            return value if isinstance(value, bool) else UNDEFINED
        case ("defined", path):
            return _look(path, device, tags) is not UNDEFINED
        case ("cmp", path, operator, value):
            return _compare(_look(path, device, tags), operator, value)
        case ("in", path, values):
            found = _look(path, device, tags)
            return _any([_compare(found, "=", value) for value in values])
        case ("not in", path, values):
            return _negate(judge(("in", path, values), device, tags))
        case ("not", one):
            return _negate(judge(one, device, tags))
        case ("or", several):
            return _any([judge(one, device, tags) for one in several])
        case ("and", several):
            return _negate(_any([_negate(judge(one, device, tags)) for one in several]))
    raise AssertionError(condition)


def _negate(value: Any) -> Any:
    return UNDEFINED if value is UNDEFINED else not value


def _any(values: list) -> Any:
    if any(value is True for value in values):
        return True
    return UNDEFINED if any(value is UNDEFINED for value in values) else False


def _look(path: str, device: str, tags: dict) -> Any:
    if path == "deviceId":
        return device
    found: Any = tags
    for name in path.split(".")[1:]:
        if not isinstance(found, dict) or name.strip("[]") not in found:
            return UNDEFINED
        found = found[name.strip("[]")]
    return found


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _compare(one: Any, operator: str, other: Any) -> Any:
    if one is UNDEFINED or isinstance(one, dict | list) or _kind(one) != _kind(other):
        return UNDEFINED
    return {
        "=": one == other,
        "!=": one != other,
        "<": one < other,
        "<=": one <= other,
        ">": one > other,
        ">=": one >= other,
    }[operator]


# --- devices and deployments


@dataclass
class Module:
    """A module identity's twin, as far as deployments and hands touch it."""

    managed: bool
    desired: dict = field(default_factory=dict)
    version: int = 1
    statuses: dict[str, str] = field(default_factory=dict)
    given: bool = False
    """Whether deployments decided its desired properties when last looked at."""

    def settle(self, desired: dict) -> None:
        if not same(self.desired, desired):
            self.desired, self.version = desired, self.version + 1


@dataclass
class Deployed:
    """One configuration; `born` counts creations."""

    name: str
    born: int
    priority: int
    condition: Condition
    content: dict
    updates: int = 0

    @property
    def is_base(self) -> bool:
        return "properties.desired" in self.content.get(AGENT, {})


@dataclass
class Device:
    name: str
    tags: dict = field(default_factory=dict)
    modules: dict[str, Module] = field(default_factory=dict)
    targeted: tuple[tuple[int, int], ...] = ()
    """(creation, priority) of what targets it, lowest first."""
    judged: dict[tuple[int, int], bool] = field(default_factory=dict)
    """By creation and update of a deployment, whether it targets the device with the tags of now."""

    def matches(self, one: Deployed) -> bool:
        key = (one.born, one.updates)
        if key not in self.judged:
            self.judged[key] = judge(one.condition, self.name, self.tags) is True
        return self.judged[key]


@dataclass
class Oracle:
    """All devices, all deployments; `apply` takes the changes that tests make."""

    devices: dict[str, Device] = field(default_factory=dict)
    deployed: dict[str, Deployed] = field(default_factory=dict)
    births: int = 0
    known: dict[tuple, tuple] = field(default_factory=dict)
    """Outcomes by what targets a device: the same for each device."""

    def add_device(self, name: str, own: tuple[str, ...] = ()) -> None:
        """A new edge device, with modules that somebody made by hand."""
        modules = {AGENT: Module(True), HUB: Module(True), **{one: Module(False) for one in own}}
        self.devices[name] = Device(name, modules=modules)

    def apply(self, change: tuple) -> bool:
        """Takes one change in; False when it makes no sense now, so that it must not be sent either."""
        match change:
            case ("create", name, priority, condition, content):
                if name in self.deployed:
                    return False
                self.births += 1
                self.deployed[name] = Deployed(name, self.births, priority, condition, content)
                self._evaluate_all()
            case ("delete", name):
                if name not in self.deployed:
                    return False
                del self.deployed[name]
                self._evaluate_all()
            case ("update", name, priority, condition):
                if name not in self.deployed:
                    return False
                one = self.deployed[name]
                one.priority, one.condition, one.updates = priority, condition, one.updates + 1
                self._evaluate_all()
            case ("tags", device, patch):
                if device not in self.devices:
                    return False
                one = self.devices[device]
                one.tags, one.judged = merged(one.tags, patch), {}
                self._evaluate(one)
            case ("hand", device, name, patch):
                if device not in self.devices or name not in self.devices[device].modules:
                    return False
                module = self.devices[device].modules[name]
                module.desired, module.version = merged(module.desired, patch), module.version + 1
                self._evaluate(self.devices[device])
        return True

    def _evaluate_all(self) -> None:
        for device in self.devices.values():
            self._evaluate(device)

    def _evaluate(self, device: Device) -> None:
        targeting = sorted(
            (one for one in self.deployed.values() if device.matches(one)),
            key=lambda one: (one.priority, one.born),
        )
        device.targeted = tuple((one.born, one.priority) for one in targeting)
        while_base = [number for number, one in enumerate(targeting) if one.is_base]
        if not while_base:
            for name, module in device.modules.items():
                ids = [one.name for one in targeting] if name == AGENT else []
                module.statuses = dict.fromkeys(ids, "Targeted")
            return
        if device.targeted not in self.known:
            self.known[device.targeted] = outcome(targeting, targeting[while_base[-1] :])
        desired, listed, statuses = self.known[device.targeted]
        self._identities(device, listed)
        for name, module in device.modules.items():
            given = name in desired
            if given or module.given:
                module.settle(desired.get(name, {}))
            module.given = given
            module.statuses = statuses.get(name, {})

    @staticmethod
    def _identities(device: Device, listed: list[str]) -> None:
        for name in listed:
            device.modules.setdefault(name, Module(True))
        for name in list(device.modules):
            if device.modules[name].managed and name not in (AGENT, HUB, *listed):
                del device.modules[name]


def outcome(targeting: list[Deployed], live: list[Deployed]) -> tuple[dict, list[str], dict]:
    """Desired properties by module, the modules that the agent's list, and statuses by module."""
    desired, listed = combine(live)
    return desired, listed, statuses_of(targeting, live, {AGENT, HUB, *listed})


def combine(live: list[Deployed]) -> tuple[dict[str, dict], list[str]]:
    """Desired properties by module, and the names of the modules listed in the agent's."""
    twins: dict[str, dict] = {}
    owners: dict[tuple[str, str], str] = {}
    for one in live:
        for module, paths in one.content.items():
            for key in sorted(paths, key=lambda key: (key.count("."), key)):
                path = tuple(key.split(".")[2:])
                before = twins.setdefault(module, {})
                twins[module] = placed(before, path, paths[key])
                if module == AGENT:
                    _own(owners, before, twins[module], path, one.name)
    agent = twins.get(AGENT, {})
    for (kind, name), owner in owners.items():
        entries = agent.get(kind)
        if isinstance(entries, dict) and isinstance(entries.get(name), dict):
            entries[name] = {**entries[name], "configuration": {"id": owner}}
    modules = agent.get("modules")
    listed = list(modules) if isinstance(modules, dict) else []
    kept = {name: bare(values) for name, values in twins.items() if name in (AGENT, HUB, *listed)}
    return kept, listed


def _own(owners: dict, before: dict, after: dict, path: tuple[str, ...], owner: str) -> None:
    for kind in ("modules", "systemModules"):
        old = before.get(kind) if isinstance(before.get(kind), dict) else {}
        new = after.get(kind) if isinstance(after.get(kind), dict) else {}
        for name in new:
            whole = (kind, name)[: len(path)] == path
            within = path[:2] == (kind, name) and len(path) > 2
            if whole or (within and not isinstance(old.get(name), dict)):
                owners[(kind, name)] = owner


def statuses_of(targeting: list[Deployed], live: list[Deployed], present: set[str]) -> dict[str, dict]:
    """Applied where a key of the deployment still stands (for the agent: anywhere), else Targeted."""
    order = {one.name: number for number, one in enumerate(live)}
    claims = [
        (one.name, name, f"{key}.") for one in live for name in one.content for key in one.content[name]
    ]
    standing = {
        (owner, name)
        for owner, name, key in claims
        if name in present
        and not any(
            name == other and order[later] > order[owner] and key.startswith(above)
            for later, other, above in claims
        )
    }
    applied = {owner for owner, _ in standing} | {live[0].name}
    word = {True: "Applied", False: "Targeted"}
    statuses = {AGENT: {one.name: word[one.name in applied] for one in targeting}}
    for module in present - {AGENT}:
        givers = [one.name for one in live if module in one.content]
        statuses[module] = {name: word[(name, module) in standing] for name in givers}
    return statuses


# --- values


def placed(values: Any, path: tuple[str, ...], value: Any) -> Any:
    """A copy with the value at the path, replacing what was there; null takes it away."""
    if not path:
        return copy.deepcopy(value)
    if value is None and not isinstance(values, dict):
        return values
    result = dict(values) if isinstance(values, dict) else {}
    head = path[0]
    if len(path) == 1 and value is None:
        result.pop(head, None)
    elif value is not None or isinstance(result.get(head), dict):
        result[head] = placed(result.get(head), path[1:], value)
    return result


def merged(values: dict, patch: dict) -> dict:
    """RFC 7396."""
    result = dict(values)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merged(result[name] if isinstance(result.get(name), dict) else {}, value)
        else:
            result[name] = value
    return result


def bare(value: Any) -> Any:
    """Without members that are null: twins have none."""
    if isinstance(value, dict):
        return {name: bare(member) for name, member in value.items() if member is not None}
    return value


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1, 1 is not 1.0."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
