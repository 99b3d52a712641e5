"""The same rollouts on the true wire: a real hub, hollow devices over MQTT, the true loop, a git ledger."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence

from bench.report import Report
from bench.rollouts.grounds import Grounds, open_grounds, tell_costs
from bench.rollouts.scenarios import FLAKY, SCENARIOS
from bench.rollouts.simulation import CONDITION, HELD_S, HISTORY_S, PACE, POLICY, Simulation
from bench.rollouts.world import MODEL, NEW, OLD, twin_of
from edgeferry.device.hollow import Clock
from edgeferry.domain.device_rules import TrialRules
from edgeferry.domain.hollow_device import Hollow, Pace
from edgeferry.domain.hollow_faults import Fault, choose_faults
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import State
from edgeferry.ports import Services
from edgeferry.wire.cases import render_cases
from edgeferry.workflows.begin import Rules
from edgeferry.workflows.rollback import roll_back
from edgeferry.workflows.rollouts import find_rollout
from tests.hollows import FLEET, GATE, cases_of, roll, say_yes

TRIED = ("leaves the band", "leaves the band on a tenth of the fleet", "good")
"""What is repeated: of seed 1 the first, of seed 2 the second, and so on."""
SIMPLE = {"rollout.waves": "100 %", "rollout.success": "90 %", "rollout.errors": "2 %"}


def repeat_on_the_wire(report: Report, seeds: int, devices: int, speed: float) -> None:
    """Seeds decided as in the simulation."""
    scenarios = {scenario.name: scenario for scenario in SCENARIOS}
    for seed in range(1, seeds + 1):
        scenario = scenarios[TRIED[(seed - 1) % len(TRIED)]]
        faults = (*FLAKY, *scenario.faults)
        simulated = Simulation(seed, devices, faults).run().decisions
        began = time.monotonic()
        with _open_seed(seed, devices, faults, PACE, speed) as grounds:
            before = grounds.costs()
            told = _roll_both(grounds)
            tell_costs(report, f"seed {seed}", before, grounds.costs())
        report.add(f"seed {seed}: took", time.monotonic() - began, "s")
        print(f"    seed {seed}, {scenario.name}: simulated {', '.join(simulated)}")
        print(f"    seed {seed}, {scenario.name}: on the wire {', '.join(told)}", flush=True)
        what = f"seed {seed}, {scenario.name}, {devices} devices: decisions that differ on the wire"
        report.add(what, 0 if _gist(told) == _gist(simulated) else 1, "", goal=0)


def take_back(report: Report, devices: int) -> None:
    """How long until a whole fleet runs the previous release again, as measured on each device."""
    with _open_seed(1, devices, (), Pace(trial=TrialRules(window_s=20)), 1.0) as grounds:
        services, rules = grounds.services, Rules({**SIMPLE, "rollout.timeout_s": "1800"}, GATE)
        for number, digest in enumerate((OLD, NEW), start=1):
            before, began = grounds.costs(), time.monotonic()
            _roll(grounds, _release(services, number, digest), rules)
            report.add(f"{devices} devices: release {number}, in one wave", time.monotonic() - began, "s")
            tell_costs(report, f"{devices} devices: release {number}", before, grounds.costs())
        before, began = grounds.costs(), time.monotonic()
        back = roll_back(
            services, MODEL, fleet=FLEET, reason="bench", user="ann", rules=rules, on_change=lambda _: None
        )
        took_s = time.monotonic() - began
        report.add(f"{devices} devices: taken back, measured on each", took_s, "s", goal=60)
        tell_costs(report, f"{devices} devices: taken back", before, grounds.costs())
        lacking = sum(each.state is not State.SUCCEEDED for each in back.outcomes)
        report.add(f"{devices} devices: not back", lacking, "", goal=0)


@contextlib.contextmanager
def _open_seed(
    seed: int, devices: int, faults: Sequence[Fault], pace: Pace, speed: float
) -> Iterator[Grounds]:
    """The fleet of a simulation's seed."""
    twins = [twin_of(seed, number) for number in range(1, devices + 1)]
    clock = Clock(time.time(), speed)
    hollows = [
        Hollow(
            each["deviceId"], seed, clock.began_at, choose_faults(faults, each["deviceId"], each, seed), pace
        )
        for each in twins
    ]
    with open_grounds(hollows, {each["deviceId"]: each["tags"] for each in twins}, clock) as grounds:
        yield grounds


def _roll_both(grounds: Grounds) -> list[str]:
    """The decisions on the new version, once the old one has served for a while."""
    services, clock = grounds.services, grounds.clock
    simple = Rules({**SIMPLE, "rollout.timeout_s": "1800"}, GATE)
    _roll(grounds, _release(services, 1, OLD), simple)
    served_until = clock.now() + HISTORY_S
    while clock.now() < served_until:  # the devices' time is what is waited for
        time.sleep(0.1)
    entry = _release(services, 2, NEW)
    rules = Rules(POLICY, GATE)
    _roll(grounds, entry, rules)
    held_until = clock.now() + HELD_S
    while not find_rollout(services, entry.subject).ended and clock.now() < held_until:
        roll(services, entry, rules, CONDITION)
    return _read_decisions(services, entry.subject)


def _roll(grounds: Grounds, entry: Entry, rules: Rules) -> None:
    say_yes(grounds.services, entry, rules, CONDITION)
    result = roll(grounds.services, entry, rules, CONDITION)
    print(f"    {entry.subject}: {result.state}: {result.reason[:160]}", flush=True)


def _release(services: Services, number: int, digest: str) -> Entry:
    version = str(int(digest.removeprefix("sha256:"), 16))  # as the registry of tests knows it
    body = {
        "model": MODEL,
        "version": version,
        "digest": digest,
        "config_digest": digest,
        "cases_sha256": hashlib.sha256(render_cases(cases_of(version))).hexdigest(),
        "companion": {"release": "companion-v1-cccccccc", "digest": "sha256:" + "c" * 64},
    }
    return services.ledger.append("release", f"{MODEL}-v{number}-{digest[7:15]}", body, "ann")


def _read_decisions(services: Services, release: str) -> list[str]:
    """What the ledger says was decided, in the simulation's words."""
    told: list[str] = []
    for entry in find_rollout(services, release).entries:
        body = entry.body
        if entry.kind == "wave":
            words = {"started": "start", "soaking": "soak"}
            word = words.get(body["event"]) or body["verdict"]["state"]
            told.append(f"{word} {body['wave']}")
        elif entry.kind == "end":
            told.append("commit" if body["state"] == State.SUCCEEDED else f"end {body['state']}")
    return told


def _gist(decisions: Sequence[str]) -> list[str]:
    """What was written into the ledger; not that it was held or taken back, which is between the lines."""
    return [each for each in decisions if each not in ("hold", "roll back")]
