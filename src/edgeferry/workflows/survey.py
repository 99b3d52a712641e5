"""Survey: what each device runs now, and what its companion says of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from edgeferry.domain.fields import nearest
from edgeferry.domain.model import COMPANION
from edgeferry.domain.smoke import Verdict
from edgeferry.errors import UsageError
from edgeferry.ports import Json, Services
from edgeferry.wire.deployment import SCORE_PORT
from edgeferry.wire.facts import parse_facts

_NOTHING_YET = "nothing is deployed to it"
"""As every device begins: its agent reports 417, empty desired properties."""


@dataclass(frozen=True)
class Sighting:
    """One module on one device, as the device reports it."""

    device: str
    connected: bool
    module: str
    runtime_status: str
    digest: str
    verdict: Verdict | None
    status: str
    """What the agent says of its last desired version."""
    scores_at: str = ""
    """Where on the device's own machine a model answers, `127.0.0.1:PORT`; "" when the agent does not say."""


def survey(services: Services) -> list[Sighting]:
    """Every module of every edge device, by device and module; a device that runs nothing has one row."""
    twins = sorted(services.hub.devices(), key=lambda twin: str(twin["deviceId"]))
    with services.work("look at each device", len(twins), "devices") as advance:
        return [seen for twin in _each(twins, advance) for seen in _look_at(services, twin)]


def _each(twins: Sequence[Json], advance: Callable[[float], None]) -> Iterator[Json]:
    for number, twin in enumerate(twins, 1):
        yield twin
        advance(number)


def _look_at(services: Services, twin: Json) -> list[Sighting]:
    seen: list[Sighting] = []
    device = twin["deviceId"]
    agent = services.hub.module_twin(device, "$edgeAgent")
    companion = services.hub.module_twin(device, COMPANION)
    reported = _reported_modules(agent)
    modules = sorted(reported) or [""]
    for module in modules:
        facts = parse_facts(device, module, agent, companion)
        said = "" if facts.status_code in (0, 200) else f"{facts.status_code} {facts.status_reason}"
        said = _NOTHING_YET if facts.status_code == 417 else said
        digest = facts.image.partition("@")[2]
        state = facts.runtime_status if module else ""
        port = (reported.get(module, {}).get("hostPorts") or {}).get(f"{SCORE_PORT}/tcp")
        place = f"127.0.0.1:{port}" if port else ""
        seen.append(Sighting(device, facts.connected, module, state, digest, facts.verdict, said, place))
    return seen


def find_running(services: Services, module: str) -> list[str]:
    """The devices that report the module, sorted; UsageError with the name probably meant when none does."""
    seen = survey(services)
    found = [sighting.device for sighting in seen if sighting.module == module]
    if not found:
        modules = {sighting.module for sighting in seen if sighting.module}
        raise UsageError(f"no device reports a module {module}", fix=_guess_module(module, modules))
    return found


def guess_module(services: Services, device: str, module: str) -> str:
    """What to do where the device has no such module: the name probably meant, or those that it has."""
    return _guess_module(module, _reported_modules(services.hub.module_twin(device, "$edgeAgent")))


def _guess_module(module: str, modules: Collection[str]) -> str:
    if not modules or module in modules:
        return "edgeferry status shows what runs where"
    return f"{nearest(module, modules)} (edgeferry status shows what runs where)"


def fetch_host_ports(services: Services, device: str, module: str) -> dict[str, int]:
    """The module's ports on its device's own machine, as the agent reports them, e.g. {"8080/tcp": 32768};
    none where the agent is not ours."""
    return dict(
        _reported_modules(services.hub.module_twin(device, "$edgeAgent")).get(module, {}).get("hostPorts")
        or {}
    )


def _reported_modules(agent: Json | None) -> Json:
    properties = (agent or {}).get("properties") or {}
    return dict((properties.get("reported") or {}).get("modules") or {})
