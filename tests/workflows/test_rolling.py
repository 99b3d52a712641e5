"""Rollouts carried out: against a real hub with hollow devices and a real ledger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeferry.domain.hollow_faults import Fault
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import Outcome, State
from edgeferry.domain.rollout_state import OrderName
from edgeferry.errors import HubError, LedgerError, RefusedError
from edgeferry.ports import Services
from edgeferry.wire.plan import parse_plan, plan_hash
from edgeferry.workflows import cases, serve
from edgeferry.workflows.approve import approve, make_offer, make_wave_offer, propose
from edgeferry.workflows.begin import resume
from edgeferry.workflows.plan import make_plan
from edgeferry.workflows.release import find_release
from edgeferry.workflows.rollback import is_back, roll_back
from edgeferry.workflows.rollout import RolloutResult
from edgeferry.workflows.rollouts import (
    find_rollout,
    give_order,
    load_record,
    load_rollouts,
    outcomes_of,
    serving_of,
)
from tests.hollows import (
    CONDITION,
    FLEET,
    GATE,
    Hollows,
    layers_of,
    release,
    roll,
    rules,
    say_yes,
)
from tests.hubs import RunningHub

PATIENCE_S = 60
WAVES = "1; 50 %; 100 %"
NAMES = [f"sound-{number}" for number in range(4)]
BUCKETS = {name: {"rollout_bucket": 2500 * number} for number, name in enumerate(NAMES)}


@pytest.fixture
def sound(hub: RunningHub) -> Iterator[Hollows]:
    hollows = Hollows(hub, NAMES).start(BUCKETS)
    yield hollows
    hollows.stop()


def released(services: Services, version: int, **texts: str) -> Entry:
    """A release that ann has approved."""
    entry = release(services, version)
    say_yes(services, entry, rules(**texts))
    return entry


def starts(services: Services) -> list[tuple[str, int]]:
    """(rollout, wave) of each start in the ledger."""
    entries = services.ledger.entries("wave")
    return [(e.subject, e.body["wave"]) for e in entries if e.body["event"] == "started"]


def until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def live_releases(hub: RunningHub) -> set[str]:
    """What the devices report that they run of the model."""
    seen = [hub.reported(name, "$edgeAgent").get("modules", {}).get("taxi") for name in NAMES]
    return {one["settings"]["image"].rpartition("@")[2] if one else "" for one in seen}


def digest(version: int) -> str:
    return f"sha256:{version:064x}"


def test_an_approved_release_reaches_its_devices_wave_by_wave(services: Services, sound: Hollows) -> None:
    by = rules(waves=WAVES)
    entry = release(services, 1)
    assert roll(services, entry, by).state is State.SKIPPED
    assert layers_of(services, "taxi") == []
    say_yes(services, entry, by)
    result = roll(services, entry, by)
    assert (result.state, result.changed) == (State.SUCCEEDED, True), result.reason
    assert {outcome.device for outcome in result.outcomes} == set(sound.names)
    assert starts(services) == [(result.rollout, 1), (result.rollout, 2), (result.rollout, 3)]
    assert [layer.target_condition for layer in layers_of(services, "taxi")] == [CONDITION]
    again = roll(services, entry, by)
    assert (again.state, again.changed, again.rollout) == (State.SUCCEEDED, False, result.rollout)
    assert len(load_rollouts(services)) == 1


def test_releases_in_a_row_leave_two_layers_and_a_person_goes_back_to_the_one_before(
    services: Services, sound: Hollows, hub: RunningHub
) -> None:
    for version in range(1, 4):
        assert roll(services, released(services, version), rules()).state is State.SUCCEEDED
    kinds = [one["labels"]["edgeferry"] for one in services.hub.configurations()]
    assert sorted(kinds) == ["base", "companion", "model", "model"]
    back = roll_back(
        services,
        "taxi",
        fleet=FLEET,
        reason="fares",
        rules=rules(),
        user="ann",
        on_change=lambda outcome: None,
    )
    assert (back.ok, back.release.split("-")[1], back.previous.split("-")[1]) == (True, "v3", "v2"), back
    assert live_releases(hub) == {digest(2)}
    record = load_record(services, back.rollout)
    assert record.state.end is not None
    word, why = record.state.end
    assert word is State.REVERTED
    assert why.startswith("reverted by ann: fares; the layer ")
    assert why.endswith(f"{back.previous} serves again: Succeeded: measured on 4 devices")
    serving = serving_of(record)
    assert serving is not None
    proofs = {each.device: (each.state, each.digest) for each in serving.outcomes}
    assert (serving.release, proofs) == (back.previous, dict.fromkeys(NAMES, (State.SUCCEEDED, digest(2))))
    assert {each.digest for each in outcomes_of(record)} == {digest(3)}, "how it had ended is told on"
    again = roll(services, find_release(services, back.release), rules())
    assert (again.state, "ann took it back" in again.reason) == (State.SKIPPED, True), again.reason
    with pytest.raises(RefusedError, match="only release"):
        roll_back(
            services,
            "taxi",
            fleet=FLEET,
            reason="",
            rules=rules(),
            user="ann",
            on_change=lambda outcome: None,
        )


def test_a_release_that_fails_on_one_device_is_taken_back_from_all_when_the_ledger_says_so(
    services: Services, hub: RunningHub, tmp_path: Path
) -> None:
    hook = tmp_path / "ledger.git" / "hooks" / "pre-receive"
    heard: list[str] = []

    def hear(line: str) -> None:
        """Just before the verdict is written, the ledger's repository takes nothing any more."""
        heard.append(line)
        if ": wave 2: fail: " in line and not hook.exists():
            hook.write_text("#!/bin/sh\nexit 1\n")
            hook.chmod(0o755)

    hollows = Hollows(hub, NAMES, {NAMES[1]: [Fault("http_500", digest=digest(2))]}).start(BUCKETS)
    try:
        assert roll(services, released(services, 1), rules()).state is State.SUCCEEDED
        told: list[dict[str, object]] = []
        services.alarm = told.append  # type: ignore[misc]
        entry = released(services, 2, waves=WAVES)
        services.say = hear  # type: ignore[misc]
        with pytest.raises(LedgerError, match="takes no entry from us"):
            roll(services, entry, rules(waves=WAVES))
        assert "nobody goes on with it: the ledger" in str(told[-1]["reason"])
        assert f"by hand: edgeferry deployments delete edgeferry-{entry.subject}" in heard[-1]
        services.say = print  # type: ignore[misc]
        hook.unlink()
        result = roll(services, entry, rules(waves=WAVES))
        assert result.state is State.FAILED
        assert f"taxi-v1-{1:08x} serves again: Succeeded" in result.reason
        assert result.serving is not None
        assert {each.digest for each in result.serving.outcomes} == {digest(1)}
        assert live_releases(hub) == {digest(1)}
        assert [one["event"] for one in told][-1] == "failed"
    finally:
        hollows.stop()


def test_a_device_that_is_away_holds_the_rollout_and_the_same_command_goes_on_later(
    services: Services, hub: RunningHub
) -> None:
    hollows = Hollows(hub, NAMES, {NAMES[2]: [Fault("offline", until_s=14)]}).start(BUCKETS)
    try:
        entry = released(services, 1)
        held = roll(services, entry, rules(timeout_s="5"))
        assert held.state is State.UNREACHABLE, held.reason
        assert "rollouts run" in held.fix
        [record] = load_rollouts(services)
        assert not record.ended
        result = roll(services, entry, rules())
        assert (result.state, result.rollout) == (State.SUCCEEDED, held.rollout)
    finally:
        hollows.stop()


def test_what_another_release_leaves_open_is_superseded(services: Services, hub: RunningHub) -> None:
    hollows = Hollows(hub, NAMES, {NAMES[2]: [Fault("offline")]}).start(BUCKETS)
    try:
        held, result = (
            roll(services, released(services, version), rules(timeout_s="3")) for version in (1, 2)
        )
        assert [held.state, result.state] == [State.UNREACHABLE] * 2, result.reason
        assert held.rollout != result.rollout
        record = find_rollout(services, held.rollout)
        assert record.state.end == (State.INCONCLUSIVE, f"superseded by {result.rollout}")
    finally:
        hollows.stop()


@pytest.mark.parametrize(
    ("order", "state", "layers"),
    [
        pytest.param("abort", State.INCONCLUSIVE, 1, id="abort: what runs stays"),
        pytest.param("revert", State.REVERTED, 0, id="revert: the release goes"),
    ],
)
def test_a_person_stops_a_rollout_between_its_waves(
    services: Services, sound: Hollows, order: OrderName, state: State, layers: int
) -> None:
    texts = {"waves": WAVES, "approve_waves": "yes"}
    entry = released(services, 1, **texts)
    asked = roll(services, entry, rules(timeout_s="10", **texts))  # a pause is waited out so long
    assert (asked.state, len(starts(services))) == (State.PENDING, 1), asked.reason
    give_order(services, asked.rollout, "pause", "lunch", "ann")
    paused = roll(services, entry, rules(timeout_s="1", **texts))
    assert "paused by ann: lunch" in paused.reason
    give_order(services, asked.rollout, "resume", "", "ann")
    approve(services, make_wave_offer(services, asked.rollout, 2, GATE, ""), "ann", yes=True)
    assert roll(services, entry, rules(**texts)).state is State.PENDING
    assert [wave for _, wave in starts(services)] == [1, 2]
    give_order(services, asked.rollout, order, "wrong day", "ann")
    result = roll(services, entry, rules(**texts))
    assert result.state is state
    assert "by ann: wrong day" in result.reason
    assert len(layers_of(services, "taxi")) == layers


def test_what_was_being_taken_back_is_gone_before_another_release_begins(
    services: Services, sound: Hollows
) -> None:
    texts = {"waves": WAVES, "approve_waves": "yes"}
    asked = roll(services, released(services, 1, **texts), rules(**texts))
    give_order(services, asked.rollout, "revert", "bad", "ann")  # and its controller is gone
    other = roll(services, released(services, 2, **texts), rules(**texts))
    assert other.state is State.PENDING, other.reason
    assert [layer.name for layer in layers_of(services, "taxi")] == [other.layer]
    assert "was removed" in str(load_record(services, asked.rollout).state.end)


def test_a_rollout_that_was_aborted_between_its_waves_can_be_taken_back(
    services: Services, sound: Hollows, hub: RunningHub
) -> None:
    assert roll(services, released(services, 1), rules()).state is State.SUCCEEDED
    texts = {"waves": WAVES, "approve_waves": "yes"}
    entry = released(services, 2, **texts)
    asked = roll(services, entry, rules(**texts))
    give_order(services, asked.rollout, "abort", "", "ann")
    assert roll(services, entry, rules(**texts)).state is State.INCONCLUSIVE
    assert live_releases(hub) == {digest(1), digest(2)}
    ledger = services.ledger

    class Full:
        """The ledger, which takes orders and no ends any more."""

        def __getattr__(self, name: str) -> Any:
            return getattr(ledger, name)

        def append(self, kind: str, *more: Any) -> Entry:
            if kind == "end":
                raise LedgerError("its disk is full", fix="")
            return ledger.append(kind, *more)

    services.ledger = Full()  # type: ignore[misc,assignment]
    back = roll_back(
        services, "taxi", fleet=FLEET, reason="", rules=rules(), user="ann", on_change=lambda outcome: None
    )
    assert (back.ok, back.previous.split("-")[1]) == (True, "v1"), back
    assert live_releases(hub) == {digest(1)}
    services.ledger = ledger  # type: ignore[misc]
    said = "reverted by ann; how that ended is not in the ledger"
    assert load_record(services, back.rollout).state.end == (State.REVERTED, said)


def test_a_rollout_that_nobody_approved_is_carried_out_by_nobody(services: Services, sound: Hollows) -> None:
    by = rules(errors="0")
    approved, other = released(services, 1, errors="0"), release(services, 2)
    plan = make_plan(services, other, CONDITION, FLEET, by.planned)
    shown = propose(services, make_offer(services, other, plan, GATE, ""), "mallory")
    [known] = services.ledger.entries("plan", approved.subject)
    loose = {**by.rollout, "rollout.errors": "100 %"}
    for entry, wanted, policy, says in (
        (other, shown, by.rollout, "is not approved"),
        (approved, known, loose, "other rules than its plan"),
    ):
        body = {
            "release": entry.subject,
            "model": "taxi",
            "environment": "",
            "condition": CONDITION,
            "digest": entry.body["digest"],
            "plan": plan_hash(parse_plan(wanted.body)),
            "nonce": "f" * 32,
            "layer": "edgeferry-forged",
            "approvals": [],
            "policy": dict(policy),
        }
        services.ledger.append("rollout", f"{entry.subject}-forged", body, "mallory")
        record = load_record(services, f"{entry.subject}-forged")
        with pytest.raises(RefusedError, match=says):
            resume(services, record, fleet=FLEET, rules=by, user="ann", on_change=lambda outcome: None)
    assert layers_of(services, "taxi") == []


@pytest.mark.parametrize(
    ("state", "reason", "back"),
    [
        pytest.param(State.REVERTED, "reverted; taxi-v1 serves again: Succeeded: measured", True, id="back"),
        pytest.param(State.SKIPPED, "reverted; taxi-v1 serves again: Succeeded: d", True, id="the old word"),
        pytest.param(State.REVERTED, "reverted; taxi with it: there is no earlier release", True, id="gone"),
        pytest.param(State.REVERTED, "reverted; taxi-v1 serves again: TimedOut: d1", False, id="not proven"),
        pytest.param(State.SUCCEEDED, "measured on 1 device", False, id="it was committed before"),
        pytest.param(State.INCONCLUSIVE, "aborted; 1 devices keep the release", False, id="aborted before"),
    ],
)
def test_an_order_to_take_back_has_come_about_only_when_it_was_measured(
    state: State, reason: str, back: bool
) -> None:
    reached = (Outcome("d1", state, ""),)
    assert is_back(RolloutResult("taxi-v2", "layer", state, reason, reached, False)) is back


def test_a_hub_that_is_silent_for_a_while_after_the_deadline_ends_no_rollout(
    services: Services, sound: Hollows
) -> None:
    hub, began_s, silent = services.hub, time.monotonic(), []

    class Faltering:
        def __getattr__(self, name: str) -> Any:
            if time.monotonic() - began_s > 4 and len(silent) < 2:
                silent.append(name)
                raise HubError("silent", fix="", retryable=True)
            return getattr(hub, name)

    texts = {"timeout_s": "3", "soak_s": "5", "guard": "no"}
    entry = released(services, 1, **texts)
    began_s = time.monotonic()
    services.hub = Faltering()  # type: ignore[misc,assignment]
    try:
        result = roll(services, entry, rules(**texts))
    finally:
        services.hub = hub  # type: ignore[misc]
    assert silent
    assert result.state is State.SUCCEEDED, result.reason


def controller(hub: RunningHub, folder: Path, entry: Entry, dies_after: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.workflows.controller", str(hub.state), str(folder)]
    return subprocess.Popen(
        [*command, entry.subject, WAVES, str(dies_after)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )


def test_a_controller_that_is_killed_after_each_of_its_acts_starts_every_wave_once(
    services: Services, sound: Hollows, hub: RunningHub, tmp_path: Path
) -> None:
    entry = released(services, 1, waves=WAVES)
    kills = 0
    while True:
        process = controller(hub, tmp_path, entry, dies_after=1)
        out, err = process.communicate(timeout=PATIENCE_S)
        if process.returncode == 0:
            break
        assert process.returncode == -9, err
        kills += 1
        assert kills < 40
    assert json.loads(out)["state"] == "Succeeded", out
    # begun; base, companion, layer; three waves started and judged, two edits; the end
    assert kills == 1 + 3 + 2 * 3 + 2 + 1
    assert [wave for _, wave in starts(services)] == [1, 2, 3]
    assert len(load_rollouts(services)) == 1
    assert not services.ledger.verify().breaches


def test_a_service_goes_on_with_what_a_killed_command_has_left(
    services: Services, sound: Hollows, hub: RunningHub, tmp_path: Path
) -> None:
    entry = released(services, 1, waves=WAVES)
    controller(hub, tmp_path, entry, dies_after=2).communicate(timeout=PATIENCE_S)
    assert [record.ended for record in load_rollouts(services)] == [False]
    deadline = time.monotonic() + PATIENCE_S
    serve.serve_rollouts(
        services,
        fleet=FLEET,
        rules=rules(),
        user="service",
        on_change=lambda outcome: None,
        lasts=lambda: time.monotonic() < deadline and not load_rollouts(services)[0].ended,
    )
    [record] = load_rollouts(services)
    assert record.state.end == (State.SUCCEEDED, "measured on 4 devices")
    assert [wave for _, wave in starts(services)] == [1, 2, 3]


def test_a_service_sees_the_cases_that_come_to_the_registry_while_the_rollout_is_held(
    services: Services, sound: Hollows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "ASK_S", 0.5)
    monkeypatch.setattr(serve, "LOOK_S", 0.5)
    whole, by = services.registry, rules(timeout_s="3")
    missing = SimpleNamespace(**{**vars(whole), "attached": lambda name, digest, kind: []})
    services.registry = missing  # type: ignore[misc,assignment]
    begun = roll(services, released(services, 1, timeout_s="3"), by)
    assert (begun.state, "not at hand" in begun.reason) == (State.INCONCLUSIVE, True), begun.reason

    def say(line: str) -> None:
        if ": held: " in line:  # the service has looked
            services.registry = whole  # type: ignore[misc]

    services.say = say  # type: ignore[method-assign]
    deadline = time.monotonic() + PATIENCE_S
    serve.serve_rollouts(
        services,
        fleet=FLEET,
        rules=by,
        user="service",
        on_change=lambda outcome: None,
        lasts=lambda: time.monotonic() < deadline and not load_rollouts(services)[0].ended,
    )
    assert load_rollouts(services)[0].state.end == (State.SUCCEEDED, "measured on 4 devices")


def test_of_two_controllers_at_once_one_starts_each_wave_and_both_tell_the_end(
    services: Services, sound: Hollows, hub: RunningHub, tmp_path: Path
) -> None:
    entry = released(services, 1, waves=WAVES)
    both = [controller(hub, tmp_path, entry) for _ in range(2)]
    told = [json.loads(process.communicate(timeout=PATIENCE_S)[0]) for process in both]
    assert [one["state"] for one in told] == ["Succeeded", "Succeeded"]
    assert [wave for _, wave in starts(services)] == [1, 2, 3]
    assert len({one["rollout"] for one in told}) == len(load_rollouts(services)) == 1
