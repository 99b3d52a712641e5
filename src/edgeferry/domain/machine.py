"""What this machine must have to train, package and ship, and what is wrong with it if not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgeferry.domain.diagnosis import Diagnosis

GIB = 2**30
_LEAST_FREE_BYTES = GIB
_GOOD_FREE_BYTES = 5 * GIB
_GOOD_MEMORY_BYTES = 2 * GIB
_GOOD_OPEN_FILES = 1024
_OLDEST_ENGINE_API = (1, 41)
"""Docker Engine 20.10: the first with platforms and cgroup v2 as we ask for them."""
_TESTED = frozenset({("debian", "12")})
_DOCUMENTED = frozenset({("debian", "13"), ("ubuntu", "22.04"), ("ubuntu", "24.04")})
_PACKAGES = {
    "git": "git",
    "mmdebstrap": "mmdebstrap debian-archive-keyring",
    "docker-registry": "docker-registry",
}
"""Program to the Debian packages that bring it."""
_WHAT_FOR = {
    "git": "which keeps the ledger",
    "mmdebstrap": "which makes the base of images",
    "docker-registry": "which is the registry that `edgeferry up` starts",
}


@dataclass(frozen=True)
class Needs:
    """What the settings make necessary here."""

    programs: tuple[str, ...] = ()
    extras: tuple[tuple[str, str], ...] = ()
    """Module to the extra of edgeferry that brings it."""


@dataclass(frozen=True)
class MachineFacts:
    """This machine and its state folder, as they were found."""

    system: str
    """As it calls itself: `Debian GNU/Linux 12 (bookworm)`."""
    system_id: str
    """`debian`, `ubuntu`."""
    system_version: str
    python: str
    missing_programs: tuple[str, ...]
    missing_modules: tuple[str, ...]
    free_bytes: int
    """Where the state folder is."""
    memory_bytes: int
    open_files: int
    """How many one process may have."""
    state: str
    """The state folder."""
    state_problem: str
    """Why nothing can be written there, or ""."""
    may_execute: bool
    """Whether programs may run from there."""
    loose_keys: tuple[str, ...]
    """Private files that others may read."""
    exposed_state: str
    """The state folder's path in the project, where git would take it, keys and all; else ""."""
    may_unshare: bool
    """Whether mmdebstrap may work: as root, or with user namespaces."""
    may_start_engine: bool = False
    """Whether `edgeferry up` would start an engine where none runs."""


@dataclass(frozen=True)
class EngineFacts:
    """The container engine, as it describes itself."""

    version: str
    api_version: str
    limits_memory: bool
    free_bytes: int | None
    """Where it keeps images; None where that is not on this machine."""


@dataclass(frozen=True)
class ContainerReach:
    """Whether the hub was reached from inside a container."""

    host: str
    problems: Mapping[int, str]
    """Port to why it was not reached, or ""."""
    untried: str = ""
    """Why it could not be tried, or ""."""


def judge_machine(facts: MachineFacts, needs: Needs) -> Iterator[Diagnosis]:
    """One diagnosis a subject."""
    yield _judge_system(facts)
    yield from _judge_programs(facts, needs)
    yield from _judge_state(facts)
    yield _judge_free("disk", facts.free_bytes, facts.state)
    if facts.memory_bytes < _GOOD_MEMORY_BYTES:
        yield Diagnosis(
            "memory",
            "warning",
            f"{facts.memory_bytes / GIB:.1f} GiB of memory: training and an engine beside it want 2",
            'train elsewhere (train.place = "azureml"), or give the machine more',
        )
    if facts.open_files < _GOOD_OPEN_FILES:
        yield Diagnosis(
            "open-files",
            "warning",
            f"a process may open {facts.open_files} files only: a hub holds one for each device",
            f"ulimit -n {_GOOD_OPEN_FILES}",
        )


def judge_engine(facts: EngineFacts) -> Iterator[Diagnosis]:
    """Whether the engine can run images under a device's limits."""
    if _version(facts.api_version) < _OLDEST_ENGINE_API:
        yield Diagnosis(
            "engine",
            "blocker",
            f"the engine is {facts.version}, its API {facts.api_version}: older than 1.41",
            "sudo apt-get install docker.io",
        )
    else:
        yield Diagnosis("engine", "fine", f"{facts.version}, API {facts.api_version}")
    if not facts.limits_memory:
        yield Diagnosis(
            "engine.limits",
            "blocker",
            "the engine cannot limit memory, so nothing can be verified as on a device",
            "boot with cgroup_enable=memory swapaccount=1, or use a machine with cgroups v2",
        )
    if facts.free_bytes is not None:
        yield _judge_free("engine.disk", facts.free_bytes, "the engine's images")


def judge_reach(reach: ContainerReach) -> Iterator[Diagnosis]:
    """Whether modules on this machine's engine reach the hub."""
    check = "hub.from-container"
    if reach.untried:
        yield Diagnosis(check, "note", f"not tried: {reach.untried}")
        return
    unreached = {port: why for port, why in reach.problems.items() if why}
    for port, why in unreached.items():
        yield Diagnosis(
            check,
            "blocker",
            f"a container does not reach {reach.host}:{port}: {why}",
            f"let containers through the firewall: sudo iptables -I INPUT -p tcp --dport {port} -j ACCEPT; "
            "or mend the engine's name servers and proxy",
        )
    if not unreached:
        yield Diagnosis(check, "fine", f"{reach.host}, ports {', '.join(map(str, reach.problems))}")


def _judge_system(facts: MachineFacts) -> Diagnosis:
    found = (facts.system_id, facts.system_version)
    name = f"{facts.system}, Python {facts.python}"
    if found in _TESTED:
        return Diagnosis("system", "fine", name)
    how = "documented only: our tests run on Debian 12" if found in _DOCUMENTED else "not tested by us"
    return Diagnosis("system", "note", f"{name}: {how}")


def _judge_programs(facts: MachineFacts, needs: Needs) -> Iterator[Diagnosis]:
    missing = [name for name in needs.programs if name in facts.missing_programs]
    for name in missing:
        yield Diagnosis(
            f"program.{name}",
            "blocker",
            f"{name} is not installed, {_WHAT_FOR[name]}",
            f"sudo apt-get install --no-install-recommends {_PACKAGES[name]}",
        )
    if needs.programs and not missing:
        yield Diagnosis("programs", "fine", ", ".join(needs.programs))
    extras: dict[str, list[str]] = {}
    for module, extra in needs.extras:
        if module in facts.missing_modules:
            extras.setdefault(extra, []).append(module)
    for extra, modules in extras.items():
        yield Diagnosis(
            f"extra.{extra}",
            "blocker",
            f"not installed here: {', '.join(modules)}",
            f"pip install 'edgeferry[{extra}]'",
        )
    if "mmdebstrap" in needs.programs and "mmdebstrap" not in missing and not facts.may_unshare:
        yield Diagnosis(
            "user-namespaces",
            "warning",
            "mmdebstrap needs root or user namespaces, and this machine allows this user neither",
            "run it as root; or sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, and "
            "kernel.unprivileged_userns_clone=1 where there is one",
        )


def _judge_state(facts: MachineFacts) -> Iterator[Diagnosis]:
    if facts.state_problem:
        yield Diagnosis(
            "state",
            "blocker",
            f"nothing can be written to the state folder {facts.state}: {facts.state_problem}",
            "move what is there out of the way, or set EDGEFERRY_STATE to a folder of yours",
        )
        return
    if not facts.may_execute:
        yield Diagnosis(
            "state.exec",
            "blocker",
            f"programs may not run from {facts.state} (mounted noexec), so no step environment would",
            "set EDGEFERRY_STATE to a folder on another file system",
        )
    if facts.loose_keys:
        yield Diagnosis(
            "state.keys",
            "blocker",
            f"others on this machine may read {_some(facts.loose_keys)}",
            f"chmod 600 {' '.join(facts.loose_keys)}",
        )
    if facts.exposed_state:
        yield Diagnosis(
            "state.git",
            "warning",
            f"git does not ignore {facts.state}: its keys would be committed",
            f"echo {facts.exposed_state}/ >> .gitignore",
        )


def _judge_free(check: str, free_bytes: int, where: str) -> Diagnosis:
    free = f"{free_bytes / GIB:.1f} GiB free for {where}"
    if free_bytes >= _GOOD_FREE_BYTES:
        return Diagnosis(check, "fine", free)
    grade = "warning" if free_bytes >= _LEAST_FREE_BYTES else "blocker"
    fix = "make room: a model's first packaging takes about 1 GiB; or set EDGEFERRY_STATE to another disk"
    if check == "engine.disk":
        fix = "docker system prune; or move the engine's data-root to another disk"
    return Diagnosis(check, "warning" if grade == "warning" else "blocker", free, fix)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
