"""Reports: what devices tell of one module, read one by one or, of many, by queries; and how often."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgeferry.domain.layering import AGENT
from edgeferry.domain.look_pace import is_few, pace_look
from edgeferry.domain.model import COMPANION
from edgeferry.domain.notation import render_text
from edgeferry.domain.rollout import DeviceFacts
from edgeferry.domain.rollout_evidence import DeviceEvidence
from edgeferry.errors import HubError
from edgeferry.ports import Json, Services
from edgeferry.wire.facts import parse_evidence, parse_facts
from edgeferry.workflows.cases import Cases

POLL_S = 0.25
"""Between two looks at few devices."""
SLOW_S = 2.0
"""Between two looks at many."""
_TWINS = "SELECT * FROM devices.modules WHERE moduleId IN [{}]".format(
    ", ".join(map(render_text, (AGENT, COMPANION)))
)


@dataclass(frozen=True)
class Report:
    """What the twins of a device's agent and companion say of one module."""

    facts: DeviceFacts
    evidence: DeviceEvidence | None
    is_known: bool
    """Whether the hub has the agent of such a device: not when it was deleted."""


class Reports:
    """Reads the twins, and counts what that costs the hub."""

    def __init__(self, services: Services, module: str) -> None:
        self._services = services
        self._module = module
        self._whole = 0
        """So many pages held the twins of the whole fleet last."""
        self._read = 0
        """So many pages were read since the last pause."""
        self._said = 0
        self.cases = Cases(services)

    def is_few(self, devices: int) -> bool:
        """Whether so many devices are read one by one."""
        return is_few(devices, self._whole)

    def read(self, devices: Collection[str]) -> Iterator[tuple[str, Report]]:
        """What each device tells now; HubError, after the others, when the hub does not tell of one."""
        if self.is_few(len(devices)):
            yield from self._ask(sorted(devices))
        else:
            yield from self._query(frozenset(devices))

    def _ask(self, devices: Sequence[str]) -> Iterator[tuple[str, Report]]:
        """One that the hub cannot tell of is no reason not to ask for the next; two in a row are."""
        failed: HubError | None = None
        was_silent = False
        for device in devices:
            try:
                twins = [self._services.hub.module_twin(device, name) for name in (AGENT, COMPANION)]
            except HubError as error:
                if was_silent or not error.retryable:
                    raise
                was_silent, failed = True, error
            else:
                was_silent = False
                yield device, self._parse(device, *twins)
        if failed is not None:
            raise failed

    def select(self, condition: str) -> Mapping[str, str]:
        """The devices that the target condition matches now, with their generations."""
        found: dict[str, str] = {}
        for page in self._services.hub.generations(condition):
            self._read += 1
            found.update(page)
        return found

    def is_deleted(self, device: str) -> bool:
        """Whether the hub has no such device any more; what a query does not show may be too new for it."""
        return self._services.hub.module_twin(device, AGENT) is None

    def pause_s(self, usual_s: float, left_s: float) -> float:
        """How long to wait after what was read since the last pause; says so where that is longer than
        usual. `left_s`: until the deadline."""
        hub = self._services.hub
        after = pace_look(self._read, hub.queries_per_minute, usual_s, left_s)
        if after.reason and self._said != self._read:
            self._said = self._read
            self._services.say(after.reason)
        self._read = 0
        return after.wait_s

    def _query(self, devices: frozenset[str]) -> Iterator[tuple[str, Report]]:
        half: dict[str, Json] = {}
        pages = 0
        waiting = set(devices)
        for page in self._services.hub.query(_TWINS):
            pages += 1
            self._read += 1
            for row in page:
                device = row["deviceId"]
                if device not in waiting:
                    continue
                other = half.pop(device, None)
                if other is None:
                    half[device] = row
                    continue
                waiting.discard(device)
                agent, companion = (row, other) if row["moduleId"] == AGENT else (other, row)
                yield device, self._parse(device, agent, companion)
        self._whole = pages
        for device in sorted(waiting):
            one = half.get(device)
            is_agent = one is not None and one["moduleId"] == AGENT
            yield device, self._parse(device, one if is_agent else None, None if is_agent else one)

    def _parse(self, device: str, agent: Json | None, companion: Json | None) -> Report:
        return Report(
            self.cases.add(parse_facts(device, self._module, agent, companion)),
            parse_evidence(companion, self._module),
            agent is not None,
        )


def fetch_facts(services: Services, device: str, module: str) -> DeviceFacts:
    """What the hub knows now of one module on one device."""
    [(_, report)] = Reports(services, module).read([device])
    return report.facts
