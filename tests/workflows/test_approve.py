"""Approvals in a real ledger, of images in a real registry: what opens the gate, and what does not."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from edgeferry.adapters.anchored_ledger import AnchoredLedger
from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.ledger import GitLedger
from edgeferry.adapters.registry import RegistryClient
from edgeferry.adapters.signer import KeyFolder
from edgeferry.domain.anchor import AnchorState
from edgeferry.domain.approval import Record, Word
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.gate import Decision
from edgeferry.domain.gate_policy import GatePolicy, parse_metric_rules
from edgeferry.domain.model import Tolerance
from edgeferry.domain.plan_conflicts import Conflict, Kind
from edgeferry.domain.release import Entry, release_name
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.domain.verification import Verification
from edgeferry.domain.wave import Wave
from edgeferry.errors import RefusedError, UsageError
from edgeferry.ports import Services, show_nobody
from edgeferry.wire.deployment import ModelLayer, model_layer_name, render_model_layer
from edgeferry.wire.evidence import VERIFICATION_TYPE, render_verification
from edgeferry.workflows.approve import (
    Offer,
    approve,
    approve_from,
    ask_gate,
    judge_start,
    make_offer,
    make_wave_offer,
    propose,
)
from edgeferry.workflows.evidence import weigh_evidence
from edgeferry.workflows.rollouts import load_record
from tests.adapters.test_registry import make_image

CONDITION = "tags.models.nyc_taxi = true"
STRICT = GatePolicy()
START_S = 1_800_000_000.0
DEVICES = tuple(f"device-{number}" for number in range(40))


@dataclass
class Bench:
    """A ledger and a registry, both real, with one released image; and hands that tamper with them."""

    folder: Path
    services: Services
    ledger: GitLedger
    registry: RegistryClient
    clock: list[float] = field(default_factory=lambda: [START_S])

    def release(self, version: str = "1", content: bytes = b"model") -> Entry:
        """A verified image in the registry, and its release, by rita."""
        image = replace(make_image(self.folder, "nyc_taxi", (content,)), tag="")
        name = release_name("nyc_taxi", version, image.digest)
        image = replace(image, tag=name.removeprefix("nyc_taxi-"))
        self.registry.push(image)
        report = render_verification(verified(image.digest, version))
        self.registry.attach("nyc_taxi", image.digest, VERIFICATION_TYPE, report)
        body = {
            "model": "nyc_taxi",
            "version": version,
            "registered_model": "nyc_taxi",
            "digest": image.digest,
            "config_digest": image.config_digest,
            "cases_sha256": "c" * 64,
            "companion": {"release": "companion-v1-dddddddd", "digest": "sha256:" + "d" * 64},
            "metrics": {"r2": 0.8},
            "verification_sha256": hashlib.sha256(report).hexdigest(),
        }
        return self.ledger.append("release", name, body, "rita")

    def offer(self, release: Entry, gate: GatePolicy = STRICT, **changes: Any) -> Offer:
        return make_offer(self.services, release, planned(release, **changes), gate, "prod")

    def ask(self, release: Entry, gate: GatePolicy = STRICT, **changes: Any) -> Decision:
        return ask_gate(self.services, release, planned(release, **changes), gate, "prod")

    def say_yes(self, release: Entry, by: str = "ann") -> Entry:
        return approve(self.services, self.offer(release), by, yes=True)

    def edit(self, entry: Entry, change: Callable[[dict[str, Any]], None]) -> None:
        """Somebody with write access to the ledger's repository rewrites an entry's file."""
        self._write(lambda work: _edit(next(work.rglob(f"{entry.id}.json")), change))

    def copy(self, entry: Entry) -> None:
        """Somebody puts a copy of the entry's file at the end of the ledger."""

        def write(work: Path) -> None:
            original = next(work.rglob(f"{entry.id}.json"))
            last = max(int(path.name[:6]) for path in work.rglob("*.json"))
            (original.parent / f"{last + 1:06d}{original.name[6:]}").write_bytes(original.read_bytes())

        self._write(write)

    def _write(self, change: Callable[[Path], None]) -> None:
        work = self.folder / f"work-{len(list(self.folder.glob('work-*')))}"
        url = str(self.folder / "ledger.git")
        subprocess.run(["git", "clone", "--quiet", "-b", "ledger", url, str(work)], check=True)
        change(work)
        identity = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
        git = ["git", "-C", str(work), *identity]
        subprocess.run([*git, "add", "--all"], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", "edit"], check=True)
        subprocess.run([*git, "push", "--quiet"], check=True)


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


def verified(digest: str, version: str = "1", **changes: Any) -> Verification:
    facts: dict[str, Any] = {
        "model": "nyc_taxi",
        "version": version,
        "digest": digest,
        "config_digest": "sha256:cc",
        "image_id": "sha256:cc",
        "device_class": "small",
        "memory_bytes": 1,
        "tolerance": Tolerance(1e-6, 0.0),
        "passed": True,
        "problems": (),
        "rows": 436,
        "single_rows": 10,
        "worst_relative": 0.0,
        "worst_absolute": 0.0,
        "ready_s": 0.1,
        "latency_ms": 1.0,
    }
    return Verification(**facts | changes)


def planned(release: Entry, devices: tuple[str, ...] = DEVICES, **changes: Any) -> RolloutPlan:
    """A plan in two waves, as it would be made now."""
    facts: dict[str, Any] = {
        "release": release.subject,
        "release_signature": release.signature,
        "environment": "prod",
        "condition": CONDITION,
        "layer": f"edgeferry-{release.subject}",
        "content_sha256": "c" * 64,
        "waves": (
            Wave(1, "10 %", f"({CONDITION}) AND tags.rollout_bucket < 1000", devices[:4], {"": 1000}),
            Wave(2, "100 %", CONDITION, devices[4:], {}),
        ),
        "strata": dict.fromkeys(devices, ""),
        "groups": {},
        "gained": devices,
        "lost": (),
        "unchanged": (),
        "wave_seconds": (0.0, 0.0),
        "policy": {"rollout.waves": "10 %"},
    }
    return RolloutPlan(**facts | changes)


class NoHub:
    """The anchor of a machine without a hub."""

    def read(self) -> AnchorState:
        raise UsageError("there is no hub", fix="")

    def move(self, *known: object) -> None:
        self.read()


@pytest.fixture
def bench(tmp_path: Path, registry: RegistryClient) -> Bench:
    url = str(tmp_path / "ledger.git")
    subprocess.run(["git", "init", "--quiet", "--bare", url], check=True)
    keys = KeyFolder(tmp_path / "keys", tmp_path / "trust", may_trust=True)
    clock = [START_S]
    ledger = GitLedger(url, "ledger", tmp_path / "cache", keys, lambda: clock[0])
    nothing: dict[str, Any] = dict.fromkeys(Services.__dataclass_fields__)
    anchored = AnchoredLedger(ledger, NoHub(), print)  # type: ignore[arg-type]
    parts = {"ledger": anchored, "registry": registry, "now": lambda: clock[0], "say": print}
    parts["work"] = show_nobody
    return Bench(tmp_path, Services(**nothing | parts), ledger, registry, clock)


def test_a_yes_to_the_plan_opens_the_gate(bench: Bench) -> None:
    release = bench.release()
    assert "not approved" in bench.ask(release).reason
    signed = bench.say_yes(release)
    gate = bench.ask(release)
    assert gate.open
    assert gate.reason.startswith("approved by ann, at ")
    assert gate.approvals == (signed,)
    assert gate.plan_entry is not None
    assert (gate.plan_entry.kind, gate.plan_entry.subject) == ("plan", release.subject)
    assert signed.body["expires_at"] == "2027-01-18T08:00:00+00:00"
    assert "metrics held: r2 0.8" in signed.body["evidence"], "what was known then is signed too"


# what was tampered with


def moved_tag(bench: Bench, release: Entry) -> None:
    other = make_image(bench.folder, "nyc_taxi", (b"another model",))
    bench.registry.push(replace(other, tag=release.subject.removeprefix("nyc_taxi-")))


def edited_release(bench: Bench, release: Entry) -> None:
    bench.edit(release, lambda document: document["body"].update(digest="sha256:" + "0" * 64))


def edited_approval(bench: Bench, release: Entry) -> None:
    entry = approve(bench.services, bench.offer(release), "bob", yes=False)
    bench.edit(entry, lambda document: document["body"].update(decision="yes"))
    bench.clock[0] += 73 * 3600  # ann's own has expired by then
    bench.edit(entry, lambda document: document["body"].update(expires_at="2030-01-01T00:00:00+00:00"))


def expired(bench: Bench, release: Entry) -> None:
    bench.clock[0] += 72 * 3600


def lengthened(bench: Bench, release: Entry) -> None:
    (entry,) = bench.ledger.entries("approval")
    bench.clock[0] += 72 * 3600
    bench.edit(entry, lambda document: document["body"].update(expires_at="2030-01-01T00:00:00+00:00"))


def edited_plan(bench: Bench, release: Entry) -> None:
    (entry,) = bench.ledger.entries("plan")
    bench.edit(entry, lambda document: document["body"]["waves"].pop(0))


def wrong_key(bench: Bench, release: Entry) -> None:
    """Whoever wrote ann's key anew on their own machine; that is not the one that the project trusts."""
    (entry,) = bench.ledger.entries("approval")
    mallory = KeyFolder(bench.folder / "elsewhere", bench.folder / "nobody", may_trust=False)
    url = str(bench.folder / "ledger.git")
    forged = GitLedger(url, "ledger", bench.folder / "cache-2", mallory, lambda: bench.clock[0])
    bench.clock[0] += 73 * 3600
    body = {**entry.body, "expires_at": "2030-01-01T00:00:00+00:00"}
    forged.append("approval", release.subject, body, "ann")


def replayed_release(bench: Bench, release: Entry) -> None:
    bench.copy(release)


def forged_verification(bench: Bench, release: Entry) -> None:
    """The report is gone, and a prettier one is attached in its place."""
    digest = release.body["digest"]
    other = bench.release("1", b"model, forged")
    bench.edit(release, lambda document: document["body"].update(digest=other.body["digest"]))
    assert digest != other.body["digest"]


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        pytest.param(moved_tag, "was moved to sha256:", id="a moved tag"),
        pytest.param(edited_release, "cannot be trusted", id="an edited release"),
        pytest.param(edited_approval, "approval by bob does not count", id="an edited approval"),
        pytest.param(expired, "approval by ann expired", id="an expired approval"),
        pytest.param(lengthened, "approval by ann does not count", id="an approval made to last longer"),
        pytest.param(edited_plan, "the one before was changed", id="an edited plan"),
        pytest.param(wrong_key, "another key", id="a wrong key"),
        pytest.param(replayed_release, "cannot be trusted", id="a replayed old release"),
        pytest.param(forged_verification, "cannot be trusted", id="a release that points at another image"),
    ],
)
def test_what_was_tampered_with_shuts_the_gate_and_says_why(
    bench: Bench, tamper: Callable[[Bench, Entry], None], says: str
) -> None:
    release = bench.release()
    bench.say_yes(release)
    assert bench.ask(release).open
    tamper(bench, release)
    newest = bench.ledger.entries("release", release.subject)[-1]
    decision = bench.ask(newest)
    assert not decision.open
    assert says in decision.reason
    assert decision.fix


def test_a_plan_that_was_edited_behind_its_approval_is_not_carried_out(bench: Bench) -> None:
    release = bench.release()
    plan = propose(bench.services, bench.offer(release), "rita")
    bench.release("2", b"another model")
    bench.say_yes(release)
    assert bench.ask(release).open
    bench.edit(plan, lambda document: document["body"]["waves"].pop(0))
    decision = bench.ask(release)
    assert not decision.open
    assert "holds no trusted plan" in decision.reason


def test_a_verification_that_the_release_does_not_name_is_forged(bench: Bench) -> None:
    release = bench.release()
    body = {**release.body, "verification_sha256": "0" * 64}
    release = bench.ledger.append("release", release.subject, body, "rita")
    assert "was edited or replaced" in bench.ask(release).reason
    with pytest.raises(RefusedError, match="was edited or replaced"):
        bench.say_yes(release)


def test_a_verification_that_did_not_pass_is_none(bench: Bench) -> None:
    release = bench.release()
    digest = release.body["digest"]
    report = render_verification(verified(digest, passed=False, problems=("row 7: expected 1.0",)))
    bench.registry.attach("nyc_taxi", digest, VERIFICATION_TYPE, report)
    body = {**release.body, "verification_sha256": hashlib.sha256(report).hexdigest()}
    release = bench.ledger.append("release", release.subject, body, "rita")
    assert "verification failed: row 7" in bench.ask(release).reason


def test_nobody_approves_their_own(bench: Bench) -> None:
    release = bench.release()
    with pytest.raises(RefusedError, match="rita made this release"):
        bench.say_yes(release, "rita")
    assert list(bench.ledger.entries("approval")) == []


def test_the_pipeline_cannot_approve_by_itself(bench: Bench) -> None:
    release = bench.release()
    with pytest.raises(RefusedError, match="ci is a pipeline"):
        bench.say_yes(release, "ci")
    approval = bench.say_yes(release)
    bench.clock[0] += 73 * 3600
    body = {**approval.body, "expires_at": "2030-01-01T00:00:00+00:00"}
    bench.ledger.append("approval", release.subject, body, "ci")
    assert "ci is a pipeline" in bench.ask(release).reason


def test_an_old_releases_approval_is_worth_nothing_once_a_newer_one_was_rolled_out(bench: Bench) -> None:
    old = bench.release("1")
    bench.say_yes(old)
    new = bench.release("2", b"another model")
    start = {"release": new.subject, "model": "nyc_taxi", "environment": "prod", "condition": CONDITION}
    bench.ledger.append("rollout", f"{new.subject}-prod-12345678", start, "rita")
    decision = bench.ask(old)
    assert f"before {new.subject} was rolled out" in decision.reason
    bench.say_yes(old)
    assert bench.ask(old).open


def test_metrics_are_compared_with_the_version_that_is_live_there(bench: Bench, client: HubClient) -> None:
    """Of this environment and model, for the same devices; what comes is no measure for itself."""
    services = replace(bench.services, hub=client)
    rule = replace(STRICT, metrics=parse_metric_rules("r2 >= live - 0.02"))
    new = bench.release("4", b"new model")

    def weigh() -> tuple[str, str]:
        facts = weigh_evidence(services, new, rule, condition=CONDITION, environment="prod")
        (fact,) = (fact for fact in facts if fact.kind == "metrics")
        return str(fact.weight), fact.detail

    def put(release: Entry, priority: int, condition: str = CONDITION, environment: str = "prod") -> None:
        fleet = Fleet("tags.edgeferry = true", environment)
        name = model_layer_name(release.subject, fleet)
        model, digest = release.body["model"], release.body["digest"]
        layer = ModelLayer(name, model, release.subject, digest, "cases", "nonce", condition, priority)
        client.create_configuration(render_model_layer(layer, f"r/x@{digest}", "1", fleet))

    assert weigh() == ("held", "r2 >= live - 0.02: it is 0.8, and no version is live to compare with")
    put(bench.release("1", b"elsewhere"), 5000, environment="dev")
    put(new, 4000)
    assert "no version is live" in weigh()[1]
    better = bench.release("2", b"better")
    better = bench.ledger.append("release", better.subject, {**better.body, "metrics": {"r2": 0.9}}, "rita")
    put(better, 2000)
    put(bench.release("3", b"of others"), 3000, condition="deviceId = 'device-9'")
    assert weigh() == (
        "failed",
        f"r2 >= live - 0.02: it is 0.8, and 0.9 in {better.subject}, so 0.88 is the limit",
    )
    bench.edit(better, lambda document: document["body"]["metrics"].update(r2=0.1))
    assert f"the live release {better.subject} cannot be trusted" in weigh()[1]


# plans


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({}, "", id="nothing changed"),
        pytest.param({"devices": (*DEVICES, "new-1", "new-2")}, "", id="a few more devices"),
        pytest.param(
            {"devices": (*DEVICES, "new-1", "new-2", "new-3")}, "3 more devices", id="many more devices"
        ),
        pytest.param({"content_sha256": "d" * 64}, "another content", id="another layer"),
        pytest.param({"policy": {"rollout.waves": "50 %"}}, "rollout.waves changed", id="other waves"),
        pytest.param(
            {"conflicts": (Conflict(Kind.HOST_PORT, "blocks", "port 8080 is taken", "use another"),)},
            "port 8080 is taken",
            id="something in the way",
        ),
    ],
)
def test_a_plan_holds_until_the_fleet_has_drifted(bench: Bench, changes: dict[str, Any], says: str) -> None:
    release = bench.release()
    bench.say_yes(release)
    decision = bench.ask(release, **changes)
    assert decision.open is (says == "")
    assert says in decision.reason


def test_two_people_approve_the_same_plan_although_a_device_joined_between(bench: Bench) -> None:
    release = bench.release()
    policy = replace(STRICT, approvals=2)
    approve(bench.services, bench.offer(release, policy), "ann", yes=True)
    later = bench.offer(release, policy, devices=(*DEVICES, "new-1"))
    assert "1 of 2 approvals (ann)" in later.decision.reason
    approve(bench.services, later, "bob", yes=True)
    assert len(bench.ledger.entries("plan")) == 1
    assert bench.ask(release, policy).open


def test_a_plan_that_something_blocks_gets_no_yes_but_may_get_a_no(bench: Bench) -> None:
    release = bench.release()
    blocked = bench.offer(
        release, conflicts=(Conflict(Kind.FOREIGN_BASE, "blocks", "a base that is not ours", "remove it"),)
    )
    with pytest.raises(RefusedError, match="a base that is not ours"):
        approve(bench.services, blocked, "ann", yes=True)
    assert approve(bench.services, blocked, "ann", yes=False).body["decision"] == "no"
    approve(bench.services, bench.offer(release), "ann", yes=True)  # it was removed
    assert bench.ask(release).open


def test_a_plan_that_something_blocks_opens_no_gate_whoever_says_yes(bench: Bench) -> None:
    release = bench.release()
    block = {"conflicts": (Conflict(Kind.MODULE, "blocks", "another sets the module", "remove it"),)}
    propose(bench.services, bench.offer(release, **block), "ci")
    with pytest.raises(RefusedError, match="another sets the module"):
        approve_from(bench.services, bench.offer(release, **block), YES, "ci")
    body = bench.say_yes(bench.release("2")).body  # by another program, with ann's own key
    wanted = bench.offer(release, **block)
    said = {"release": release.subject, "release_signature": release.signature, "plan": wanted.hash}
    bench.ledger.append("approval", release.subject, {**body, **said}, "ann")
    decision = bench.ask(release, **block)
    assert (decision.open, "another sets the module" in decision.reason) == (False, True), decision.reason


def test_a_wave_needs_an_approval_of_its_own(bench: Bench) -> None:
    release = bench.release()
    start = bench.offer(release)
    approve(bench.services, start, "ann", yes=True)
    rollout = f"{release.subject}-prod-12345678"
    body = {"release": release.subject, "model": "nyc_taxi", "environment": "prod", "plan": start.hash}
    bench.ledger.append("rollout", rollout, {**body, "condition": CONDITION}, "rita")

    def ask() -> Decision:
        return ask_gate(bench.services, release, start.hash, STRICT, "prod", rollout=rollout, wave=2)

    assert f"edgeferry approve {rollout} --wave 2" in ask().fix
    offer = make_wave_offer(bench.services, rollout, 2, STRICT, "prod")
    signed = approve(bench.services, offer, "bob", yes=True)
    assert (signed.body["rollout"], signed.body["wave"], signed.body["plan"]) == (rollout, 2, start.hash)
    assert ask().open
    assert len(bench.ledger.entries("plan")) == 1
    with pytest.raises(UsageError, match="not of this environment"):
        make_wave_offer(bench.services, rollout, 2, STRICT, "dev")
    with pytest.raises(UsageError, match="no wave 3"):
        make_wave_offer(bench.services, rollout, 3, STRICT, "prod")


# what was taken back


def start(bench: Bench, release: Entry, number: int = 1) -> str:
    """A rollout of the release begins, and its first wave."""
    rollout = f"{release.subject}-prod-{number:08d}"
    body = {
        "release": release.subject,
        "model": "nyc_taxi",
        "environment": "prod",
        "condition": CONDITION,
        "plan": bench.offer(release).hash,
        "policy": {},
    }
    bench.ledger.append("rollout", rollout, body, "rita")
    bench.ledger.append("wave", rollout, {"wave": 1, "event": "started", "condition": "c"}, "rita")
    return rollout


def test_what_was_approved_before_it_was_taken_back_is_approved_anew_by_as_many(bench: Bench) -> None:
    two = replace(STRICT, approvals=2)
    release = bench.release()
    for by in ("ann", "bob"):
        bench.say_yes(release, by)
    assert bench.ask(release, two).open
    rollout = start(bench, release)
    assert bench.ask(release, two).open, "a rollout of its own uses nothing up"
    bench.ledger.append("order", rollout, {"order": "revert", "reason": "fares"}, "cleo")
    bench.say_yes(release, "cid")
    decision = bench.ask(release, two)
    assert "1 of 2 approvals (cid)" in decision.reason
    assert "cleo took it back" in decision.reason
    again = start(bench, release, 2)
    begun = bench.ledger.entries("rollout", again)[0]
    assert not judge_start(bench.services, begun, release, planned(release), two).open
    first = bench.ledger.entries("rollout", rollout)[0]
    assert judge_start(bench.services, first, release, planned(release), two).open
    bench.say_yes(release, "bob")
    assert bench.ask(release, two).open


# who promotes


def test_a_controller_takes_a_promotion_from_those_who_may_approve(bench: Bench) -> None:
    two = replace(STRICT, approvals=2)
    rollout = start(bench, bench.release())
    for name in ("rita", "ann", "bob"):
        bench.ledger.append("order", rollout, {"order": "promote", "reason": "", "wave": 1}, name)
    assert [each.author for each in load_record(bench.services, rollout, two).state.orders] == ["ann and bob"]


# what a platform recorded


def record(*words: Word) -> Record:
    return Record("azure-devops", "https://dev.azure.com/f/p/_build/results?buildId=41", "rollout", words)


YES = record(Word("b1", "approved", ("ann@contoso.com",), "2027-01-15T07:00:00Z"))


def test_a_recorded_yes_to_a_plan_that_was_shown_opens_the_gate_in_the_persons_name(bench: Bench) -> None:
    release = bench.release()
    propose(bench.services, bench.offer(release), "ci")
    signed = approve_from(bench.services, bench.offer(release), YES, "ci")
    assert (signed.author, signed.body["source"]["approvals"]) == ("ci", ["b1"])
    gate = bench.ask(release)
    assert gate.open
    assert "approved by ann@contoso.com, recorded by Azure DevOps" in gate.reason


def test_a_recorded_yes_to_a_plan_that_nobody_saw_is_refused(bench: Bench) -> None:
    release = bench.release()
    with pytest.raises(RefusedError, match="nobody could look at this plan"):
        approve_from(bench.services, bench.offer(release), YES, "ci")
    propose(bench.services, bench.offer(release), "ci")
    drifted = bench.offer(release, content_sha256="d" * 64)
    with pytest.raises(RefusedError, match="another content"):
        approve_from(bench.services, drifted, YES, "ci")


def test_a_step_that_runs_again_adds_no_second_entry_and_lengthens_nothing(bench: Bench) -> None:
    release = bench.release()
    propose(bench.services, bench.offer(release), "ci")
    first = approve_from(bench.services, bench.offer(release), YES, "ci")
    bench.clock[0] += 73 * 3600
    assert approve_from(bench.services, bench.offer(release), YES, "ci") == first
    assert len(bench.ledger.entries("approval")) == 1
    assert "expired" in bench.ask(release).reason


@pytest.mark.parametrize("what", ["another release", "other devices", "another environment", "another plan"])
def test_an_approval_is_used_for_one_thing_only(bench: Bench, what: str) -> None:
    release = bench.release()
    propose(bench.services, bench.offer(release), "ci")
    approve_from(bench.services, bench.offer(release), YES, "ci")
    other = bench.release("2", b"another model") if what == "another release" else release
    changes = {
        "other devices": {"condition": "deviceId = 'device-9'"},
        "another environment": {"environment": "dev"},
        "another plan": {"content_sha256": "d" * 64},
    }.get(what, {})
    propose(bench.services, bench.offer(other, **changes), "ci")
    with pytest.raises(RefusedError, match=f"b1 was given for {release.subject}"):
        approve_from(bench.services, bench.offer(other, **changes), YES, "ci")


@pytest.mark.parametrize("same", [True, False], ids=["the same plan", "another plan"])
def test_of_two_jobs_at_once_one_uses_an_approval(bench: Bench, same: bool) -> None:
    """The other writes between the look of the one and its push."""
    release = bench.release()
    mine = bench.offer(release)
    other = mine if same else bench.offer(release, content_sha256="d" * 64)
    for offer in (mine, other):
        propose(bench.services, offer, "ci")
    mine = bench.offer(release)
    other = mine if same else bench.offer(release, content_sha256="d" * 64)
    services, written = bench.services, []

    class Slow:
        """A ledger whose writer is slow."""

        def __getattr__(self, name: str) -> Any:
            if name.startswith("append") and not written:
                written.append(approve_from(services, other, YES, "ci"))
            return getattr(services.ledger, name)

    slow = replace(services, ledger=Slow())
    if same:
        assert approve_from(slow, mine, YES, "ci") == written[0]
    else:
        with pytest.raises(RefusedError, match="b1 was given for"):
            approve_from(slow, mine, YES, "ci")
    assert list(bench.ledger.entries("approval")) == written


def test_a_stage_without_an_approval_check_is_refused_and_nothing_is_written(bench: Bench) -> None:
    release = bench.release()
    with pytest.raises(RefusedError, match="no approval check") as caught:
        approve_from(bench.services, bench.offer(release), record(), "ci")
    assert "environment of stage rollout" in caught.value.fix
    assert list(bench.ledger.entries("approval")) == []
