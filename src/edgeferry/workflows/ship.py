"""Ship: train, package, verify, push, release, approve, rollout, smoke: each stage only if the last held."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgeferry.domain.fleet import Fleet
from edgeferry.domain.gate import name_approver, needs_person
from edgeferry.domain.image import Image
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import Outcome, State
from edgeferry.domain.verification import Verification
from edgeferry.errors import RefusedError
from edgeferry.ports import Services
from edgeferry.workflows.aim import warn_of_nobody
from edgeferry.workflows.approve import approve, ask_gate, make_offer
from edgeferry.workflows.begin import Rules, rollout
from edgeferry.workflows.package import package
from edgeferry.workflows.placing import find_layer
from edgeferry.workflows.plan import make_plan
from edgeferry.workflows.programs import released_companion
from edgeferry.workflows.prove import prove
from edgeferry.workflows.push import find_verification, push
from edgeferry.workflows.release import release
from edgeferry.workflows.rollout import RolloutResult
from edgeferry.workflows.smoke import SmokeResult, find_fix, smoke_each
from edgeferry.workflows.train import train


@dataclass(frozen=True)
class Stage:
    """One stage of a shipment: `done`, `unchanged` or `refused`, how long it took, what came of it."""

    name: str
    state: str
    seconds: float
    detail: str


@dataclass(frozen=True)
class Shipment:
    """What became of one model on its way to the devices; `ok` only when it is proven on each of them."""

    model: str
    ok: bool
    stages: tuple[Stage, ...]
    problem: str = ""
    fix: str = ""
    release: Entry | None = None
    image: Image | None = None
    rollout: RolloutResult | None = None
    smokes: tuple[SmokeResult, ...] = field(default=())


@dataclass(frozen=True)
class Order:
    """What `ship` was asked for."""

    model: str
    inputs: Mapping[str, str]
    user: str
    fleet: Fleet
    rules: Rules
    approve_as: str = ""
    """Approve in this person's name, by a flag; "" when a person must have approved before."""
    target_condition: str = ""
    """Instead of the model's own; narrowed to the environment likewise."""


def ship(services: Services, order: Order, on_stage: Callable[[Stage], None]) -> Shipment:
    """The whole way of one model; it ends at the first stage that does not hold."""
    stages: list[Stage] = []

    def close(name: str, since: float, detail: str, *, state: str) -> None:
        stage = Stage(name, state, services.now() - since, detail)
        stages.append(stage)
        on_stage(stage)

    def done(changed: bool) -> str:
        return "done" if changed else "unchanged"

    definition = services.project.load_model(order.model)
    condition = order.fleet.narrow(order.target_condition or definition.target_condition)
    warn_of_nobody(services, order.fleet, condition)

    since = services.now()
    trained = train(services, definition, order.inputs)
    version = trained.version
    metrics = ", ".join(f"{name} {value:.6g}" for name, value in sorted(version.metrics.items()))
    close("train", since, f"version {version.version}: {metrics}", state=done(trained.created))

    since = services.now()
    packed = package(services, definition, version)
    image = packed.image
    detail = f"{image.digest[:19]}, {image.size_bytes / 1e6:.1f} MB"
    close("package", since, detail, state=done(find_verification(services, image) is None))

    since = services.now()
    proof = prove(services, definition, version, packed, order.fleet.limits)
    image, verification = proof.image, proof.verification
    if not verification.passed:
        close("verify", since, _first_problem(verification), state="refused")
        return Shipment(
            order.model,
            False,
            tuple(stages),
            problem=f"the image was not pushed: {_first_problem(verification)}",
            fix="mend the model or its serving, then ship again; edgeferry verify shows every difference",
            image=image,
        )
    close("verify", since, _render_verified(verification), state=done(proof.fresh))

    since = services.now()
    uploaded = push(services, image, verification)
    close("push", since, f"{uploaded / 1e6:.1f} MB uploaded", state=done(uploaded > 0))

    since = services.now()
    companion = released_companion(services, order.fleet.limits, order.user)
    entry, created = release(services, version, image, verification, companion, order.user)
    close("release", since, entry.subject, state=done(created))

    since = services.now()
    plan = make_plan(services, entry, condition, order.fleet, order.rules.planned)
    offer = make_offer(services, entry, plan, order.rules.gate, order.fleet.environment)
    gate = offer.decision
    approved = not gate.open and bool(order.approve_as)
    if approved:
        services.say(f"approving {entry.subject} as {order.approve_as}: a flag says so, no person looked")
        try:
            approve(services, offer, order.approve_as, yes=True)
        except RefusedError as error:
            close("approve", since, error.problem, state="refused")
            return Shipment(order.model, False, tuple(stages), error.problem, error.fix, entry, image)
        gate = ask_gate(services, entry, offer.hash, order.rules.gate, order.fleet.environment)
    if not gate.open:
        close("approve", since, gate.reason, state="refused")
        fix = _render_way(gate.fix, order)
        return Shipment(order.model, False, tuple(stages), gate.reason, fix, entry, image)
    close("approve", since, gate.reason, state=done(approved))

    since = services.now()
    result = rollout(
        services,
        entry,
        condition,
        fleet=order.fleet,
        rules=order.rules,
        user=order.user,
        on_change=lambda outcome: services.say(render_outcome(outcome)),
    )
    held = result.state is State.SUCCEEDED
    close(
        "rollout",
        since,
        f"{result.state}: {result.reason}",
        state=done(result.changed) if held else "refused",
    )
    if not held:
        problem = f"{result.state}: {result.reason}"
        return Shipment(order.model, False, tuple(stages), problem, result.fix, entry, image, result)

    since = services.now()
    smokes = smoke_all(services, result)
    passed = all(each.passed for each in smokes)
    close("smoke", since, _render_smokes(smokes), state="done" if passed else "refused")
    problem = (
        "" if passed else "; ".join(f"{s.device}: {s.state}: {s.reason}" for s in smokes if not s.passed)
    )
    fix = "" if passed else find_fix(order.model, smokes)
    return Shipment(order.model, passed, tuple(stages), problem, fix, entry, image, result, smokes)


def smoke_all(services: Services, result: RolloutResult) -> tuple[SmokeResult, ...]:
    """A fresh answer from every device of a rollout."""
    layer = find_layer(services, result.layer)
    return tuple(smoke_each(services, [outcome.device for outcome in result.outcomes], layer))


def render_outcome(outcome: Outcome) -> str:
    """One line about one device."""
    return f"{outcome.device}: {outcome.state}: {outcome.reason}"


def _render_way(fix: str, order: Order) -> str:
    """What opens the gate; where that is a person's word, the same ship comes after it."""
    named = name_approver(fix, order.rules.gate, order.user)
    return f"{named}; then the same ship again, which goes on there" if needs_person(fix) else fix


def _first_problem(verification: Verification) -> str:
    more = len(verification.problems) - 1
    return verification.problems[0] + (f" (and {more} more)" if more > 0 else "")


def _render_verified(verification: Verification) -> str:
    worst = f"worst relative difference {verification.worst_relative:.1e}"
    return f"{verification.asked} equal, {worst}; {render_runtime(verification)}"


def render_runtime(verification: Verification) -> str:
    """What answered, and why that."""
    return f"runtime {verification.runtime}: {verification.runtime_reason}"


def _render_smokes(smokes: tuple[SmokeResult, ...]) -> str:
    return ", ".join(
        f"{each.device} {each.state}" + (f" ({each.verdict.asked} cases)" if each.verdict else "")
        for each in smokes
    )
