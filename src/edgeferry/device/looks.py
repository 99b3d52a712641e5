"""How the device's modules look, each beside what it is to be: what trials judge and reports tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edgeferry.device.applying import Applying
from edgeferry.device.containers import MODULE_LABEL, Place, made_from, made_hash, spec_hash
from edgeferry.device.supervision import Supervision
from edgeferry.domain.device_layers import Aim
from edgeferry.domain.device_plan import Wanted, runtime_status
from edgeferry.domain.device_trial import Sight
from edgeferry.domain.manifest import ModuleSpec, ModuleState
from edgeferry.engine import ContainerFacts

ILL = ("failed", "unhealthy", "dead")
"""A module of which that is said is not as desired."""


class Looks:
    """Reads containers against `aims`, what the device's units are to be."""

    def __init__(self, place: Place, supervision: Supervision, applying: Applying) -> None:
        self._place = place
        self._supervision = supervision
        self._applying = applying
        self.aims: Sequence[Aim] = ()

    def want(self, spec: ModuleSpec) -> Wanted:
        """The module as this device would make it."""
        return Wanted(spec, spec_hash(self._place, spec))

    def aimed_at(self, facts: ContainerFacts) -> ModuleSpec | None:
        """The module as it is to be, where the container is made from just that."""
        module = facts.labels.get(MODULE_LABEL, "")
        for aim in self.aims:
            spec = aim.modules.get(module)
            if spec and spec_hash(self._place, spec) == made_hash(self._place, facts.labels):
                return spec
        return None

    def spec(self, facts: ContainerFacts) -> ModuleSpec:
        """What the container was made from; the module as it is to be where they agree, since restart policy
        and startup order follow it without a new container."""
        module = facts.labels.get(MODULE_LABEL, "")
        unknown_one = ModuleSpec(name=module, image=facts.image, restart_policy="never")
        return self.aimed_at(facts) or made_from(facts.labels) or unknown_one

    def sight(self, spec: ModuleSpec, found: Mapping[str, ContainerFacts]) -> Sight:
        """How the module looks to a trial, as far as its container is the one that is desired."""
        wanted = self.want(spec)
        facts = found.get(spec.name)
        refused = self._applying.refusal(wanted)
        if facts is None or made_hash(self._place, facts.labels) != wanted.hash:
            return Sight(spec, refused=refused)
        return Sight(spec, facts.status, facts.exit_code, facts.health, refused=refused)

    def state(self, facts: ContainerFacts) -> ModuleState:
        """The module as it is reported."""
        spec = self.spec(facts)
        history = self._supervision.history(spec.name)
        description = facts.status
        if facts.status == "exited":
            description = f"exited ({facts.exit_code})" + (", out of memory" if facts.oom_killed else "")
        return ModuleState(
            spec=spec,
            runtime_status=runtime_status(
                spec, facts.status, facts.exit_code, facts.health, history.in_a_row
            ),
            exit_code=facts.exit_code,
            description=description,
            image_hash=facts.image_id,
            started_at=facts.started_at,
            exited_at=facts.finished_at,
            restart_count=history.total,
            restarted_at=history.restarted_at,
            host_ports=facts.host_ports,
        )


def tell_ill(states: Iterable[ModuleState]) -> list[str]:
    """What is wrong with modules that run and are not as desired, one text each."""
    return [
        f"module {one.spec.name} is {one.runtime_status}: {one.description}"
        for one in states
        if one.runtime_status in ILL
    ]
