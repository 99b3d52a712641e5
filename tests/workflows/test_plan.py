"""Plans made from a real hub: what they say of devices, and each kind of conflict seeded and found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from edgeferry.adapters.hub import HubClient
from edgeferry.domain.explanation import find_drift
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.layering import AGENT
from edgeferry.domain.plan_conflicts import Kind
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.domain.twin import size_of
from edgeferry.wire.deployment import FIRST_MODEL_PRIORITY, render_base, render_configuration
from edgeferry.wire.plan import parse_plan, plan_hash, render_plan
from edgeferry.workflows.layers import choose_layer
from edgeferry.workflows.placing import lay_ground, place_layer
from edgeferry.workflows.plan import find_group, look, make_plan
from tests.iot_edge import ADDRESS, BODY, DIGEST, RELEASE, services

FLEET = Fleet("tags.edgeferry = true")
CONDITION = "tags.model = 'taxi'"
MODEL = f"{ADDRESS}/t/nyc_taxi@{DIGEST}"
COMPANION = f"{ADDRESS}/t/companion@{BODY['companion']['digest']}"
OTHER = f"{ADDRESS}/t/other@sha256:{'12' * 32}"
BLOBS = {
    MODEL: {"base": 100, "deps": 50, "model": 7},
    COMPANION: {"base": 100, "companion": 20},
    OTHER: {"base": 100, "deps": 50, "other": 9},
}
MIB = {"Memory": 1048576}


@dataclass
class World:
    """A hub with devices of its own, and the release to be planned for it."""

    client: HubClient
    made: list[str] = field(default_factory=list)
    ports: dict[str, Any] = field(default_factory=dict)

    def device(self, name: str, **tags: Any) -> None:
        self.client.create_device(name, {"edgeferry": True, "model": "taxi", "rollout_bucket": 1, **tags})
        self.made.append(name)

    def base(self, fleet: Fleet = FLEET) -> None:
        self.client.create_configuration(render_base(fleet))

    def layer(
        self, name: str, priority: int = 10, condition: str = "*", labels: dict | None = None, **modules: Any
    ) -> None:
        """A layer that brings these modules, given as create options."""
        paths = {
            f"properties.desired.modules.{module}": entry(options) for module, options in modules.items()
        }
        self.deploy(name, {AGENT: paths}, priority, condition, labels or {})

    def deploy(
        self, name: str, content: dict, priority: int = 10, condition: str = "*", labels: dict | None = None
    ) -> None:
        self.client.create_configuration(
            render_configuration(name, content, condition, priority, labels or {})
        )

    def services(self) -> Any:
        registry = SimpleNamespace(
            host=ADDRESS, reference=lambda name, digest: f"{ADDRESS}/t/{name}@{digest}", blob_sizes=BLOBS.get
        )
        return services(**{"hub": self.client, "registry": registry, **self.ports})

    def plan(self, condition: str = CONDITION, fleet: Fleet = FLEET, **policy: str) -> RolloutPlan:
        texts = {f"rollout.{name}": text for name, text in policy.items()}
        return make_plan(self.services(), RELEASE, condition, fleet, texts)

    def carry_out(self, condition: str) -> None:
        """What a rollout of one wave puts on the hub."""
        ours = self.services()
        lay_ground(ours, RELEASE, FLEET, ["d1"])
        layer = choose_layer(ours, RELEASE, condition, FLEET, self.client.configurations())
        place_layer(ours, RELEASE, layer, condition, FLEET, still=lambda: True)


def entry(options: Any) -> dict[str, Any]:
    settings = {"image": OTHER, "createOptions": json.dumps(options)}
    return {"type": "docker", "status": "running", "restartPolicy": "always", "settings": settings}


@pytest.fixture
def world(client: HubClient) -> Iterator[World]:
    found = World(client)
    yield found
    client.delete_devices(found.made)


def foreign_base(world: World, priority: int = 5) -> None:
    content = render_base(FLEET)["content"]["modulesContent"]
    world.deploy("foreign", content, priority)


# --- the kinds of conflict: how each comes about


def seed_module(world: World) -> None:
    world.base()
    world.layer("theirs", nyc_taxi={})


def seed_covered(world: World) -> None:
    world.base()
    world.deploy("whole", {AGENT: {"properties.desired.modules": {"x": entry({})}}}, 5000)


def seed_covered_question(world: World) -> None:
    world.base()
    world.deploy("asks", {"companion": {"properties.desired.models": {}}}, 5000)


def clashing(first: Any, second: Any) -> Callable[[World], None]:
    def seed(world: World) -> None:
        world.base()
        world.layer("one", 10, cam={"HostConfig": first})
        world.layer("two", 11, mic={"HostConfig": second})

    return seed


def port(number: str, address: str = "") -> Any:
    return {"PortBindings": {"80/tcp": [{"HostPort": number, "HostIp": address}]}}


def seed_mount(world: World) -> None:
    """Another module writes among the captures of ours."""
    world.base()
    source = {"Type": "volume", "Source": "nyc_taxi-captures", "Target": "/there"}
    world.layer("reader", reader={"HostConfig": {"Mounts": [source]}})


def seed_equal_priority(world: World) -> None:
    world.base()
    world.layer("same", FIRST_MODEL_PRIORITY, other={})


def seed_missing_base(world: World) -> None:
    world.base(Fleet("tags.edgeferry = false"))


def seed_below_base(world: World) -> None:
    foreign_base(world, 100_000)


def seed_covered_base(world: World) -> None:
    """Ours, made for a device that has none, is newer than another's of the same priority."""
    content = render_base(FLEET)["content"]["modulesContent"]
    world.deploy("foreign", content, 0, "tags.own = true")
    world.device("owned", own=True)


def seed_nobody(world: World) -> None:
    world.base()
    world.client.patch_tags("d1", {"model": None})


def seed_everybody(world: World) -> None:
    world.base()
    world.client.patch_tags("device-1", {"model": "taxi"})


def seed_untagged(world: World) -> None:
    world.base()
    world.device("d2", rollout_bucket=None)
    world.device("d3")


def seed_unread(world: World) -> None:
    world.base()
    strange = render_configuration("strange", {AGENT: {}}, "tags.a LIKE 'b'", 7, {})
    world.ports = {"hub": Also(world.client, [strange])}


class Also:
    """A hub that has more deployments than it was given: such as no hub of ours would take."""

    def __init__(self, hub: HubClient, more: list[dict]) -> None:
        self._hub, self._more = hub, more

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub, name)

    def configurations(self) -> list[dict]:
        return [*self._hub.configurations(), *self._more]


def seed_deployments(world: World) -> None:
    world.base()
    content = {"x": {"properties.desired.y": 1}}
    old = [render_configuration(f"old-{n}", content, "tags.none = 1", 100 + n, {}) for n in range(98)]
    world.ports = {"hub": Also(world.client, old)}


def seed_modules(world: World) -> None:
    world.base()
    world.layer("many", **{f"m{number}": MIB for number in range(47)})


def seed_desired(world: World) -> None:
    world.base()
    for number in range(9):
        world.layer(f"big-{number}", 10 + number, **{f"big{number}": {"Env": ["x" * 3400]}})


CASES = [
    pytest.param(seed_module, Kind.MODULE, "blocks", id="another deployment sets the same module"),
    pytest.param(seed_covered, Kind.COVERED, "blocks", id="a higher layer replaces all modules"),
    pytest.param(seed_covered_question, Kind.COVERED, "blocks", id="a higher layer replaces the smoke test"),
    pytest.param(
        clashing(port("31311"), port("31310-31312")), Kind.HOST_PORT, "warns", id="the same host port"
    ),
    pytest.param(seed_mount, Kind.MOUNT, "blocks", id="another module writes to the release's volume"),
    pytest.param(
        clashing({"Binds": ["/data:/a"]}, {"Binds": ["/data/:/b:ro"]}), Kind.MOUNT, "warns", id="one folder"
    ),
    pytest.param(
        clashing(*[{"Devices": [{"PathOnHost": "/dev/video0", "PathInContainer": "/dev/v"}]}] * 2),
        Kind.DEVICE_PATH,
        "warns",
        id="the same device file",
    ),
    pytest.param(seed_equal_priority, Kind.EQUAL_PRIORITY, "warns", id="equal priorities"),
    pytest.param(seed_missing_base, Kind.MISSING_BASE, "blocks", id="no base"),
    pytest.param(seed_below_base, Kind.BELOW_BASE, "blocks", id="a base above the layer"),
    pytest.param(foreign_base, Kind.FOREIGN_BASE, "warns", id="a base that is not ours"),
    pytest.param(seed_covered_base, Kind.COVERED_BASE, "blocks", id="our base would cover another's"),
    pytest.param(seed_nobody, Kind.NOBODY, "blocks", id="nobody"),
    pytest.param(seed_everybody, Kind.EVERYBODY, "warns", id="everybody"),
    pytest.param(seed_untagged, Kind.UNTAGGED, "warns", id="a device without bucket"),
    pytest.param(seed_unread, Kind.UNREAD, "warns", id="a deployment that we cannot read"),
    pytest.param(seed_deployments, Kind.QUOTA, "blocks", id="too many deployments"),
    pytest.param(seed_modules, Kind.QUOTA, "blocks", id="too many modules"),
    pytest.param(seed_desired, Kind.QUOTA, "blocks", id="desired properties too large"),
]


@pytest.mark.parametrize(("seed", "kind", "severity"), CASES)
def test_a_seeded_conflict_is_in_the_plan(
    world: World, seed: Callable[[World], None], kind: Kind, severity: str
) -> None:
    world.device("d1")
    seed(world)
    there = world.client.configurations()
    plan = world.plan(waves="1")
    found = [one for one in plan.conflicts if one.kind is kind]
    assert [one.severity for one in found] == [severity], plan.conflicts
    assert [one.kind for one in plan.conflicts if one.severity == "blocks"] == [kind] * plan.blocked
    assert found[0].problem
    assert found[0].fix
    assert world.client.configurations() == there, "a plan touches nothing"


def test_a_condition_that_azure_reads_differently_is_in_the_plan(world: World) -> None:
    world.device("d1")
    world.base()
    [one] = world.plan("tags.model != 'x'").conflicts[-1:]
    assert (one.kind, one.severity) == (Kind.NOT_AS_AZURE, "warns")
    assert "without tags.model" in one.problem


def test_a_condition_too_long_for_a_hub_is_in_the_plan(world: World) -> None:
    world.base()
    for number in range(70):
        world.device(f"d{number}", site=f"{'s' * 80}{number}", rollout_bucket=number)
    world.device("last", site="s", rollout_bucket=100)
    world.device("later", site="s", rollout_bucket=200)
    [one] = [one for one in world.plan(waves="1", stratum="tags.site").conflicts if one.kind is Kind.QUOTA]
    assert one.severity == "blocks"
    assert "target condition" in one.problem
    assert "wave 1" in one.problem


def test_a_fleet_without_anything_wrong_has_a_plan_without_conflicts(world: World) -> None:
    world.device("d1")
    world.base()
    world.layer("beside", 10, other=port("8080"), more=port("8081"))
    plan = world.plan()
    assert plan.conflicts == ()
    assert not plan.blocked


def test_a_plan_for_a_bare_hub_is_what_a_rollout_then_makes_of_the_twins(world: World) -> None:
    world.device("d1")
    scene = look(world.services(), RELEASE, CONDITION, FLEET)
    group = find_group(scene, "d1")
    plan = world.plan()
    assert [one.id for one in scene.added] == [
        "edgeferry-base",
        "edgeferry-companion-v1_0-efefefef",
        plan.layer,
    ]
    world.carry_out(CONDITION)
    names = [AGENT, "$edgeHub", "companion", "nyc_taxi"]
    twins = {name: world.client.module_twin("d1", name) or {} for name in names}
    assert group is not None
    assert not find_drift(group.after.desired, twins)
    assert plan.gained == ("d1",)
    [desired] = [one for one in plan.quotas if one.name == "desired properties"]
    assert desired.used == max(size_of(values) for values in group.after.desired.values())
    again = world.plan()
    assert (again.gained, again.lost, again.unchanged, again.changes) == ((), (), ("d1",), ())


def test_a_plan_for_fewer_devices_takes_the_release_from_nobody(world: World) -> None:
    world.device("d1")
    world.device("d2", model="none")
    world.carry_out("tags.edgeferry = true")
    plan = world.plan()
    assert {"d1", "d2"} <= set(plan.unchanged)
    assert (plan.gained, plan.lost) == ((), ())


def test_each_device_pulls_what_its_images_do_not_share(world: World) -> None:
    world.device("d1")
    world.device("d2", own=True)
    world.base()
    world.layer("beside", 10, "tags.own = true", other={})
    pulls = {name: one.pull_bytes for one in world.plan().changes for name in one.devices}
    assert pulls["d1"] == 100 + 50 + 7 + 20
    assert pulls["d2"] == 7 + 20


def test_the_same_fleet_gives_the_same_hash_and_another_policy_another(world: World) -> None:
    world.device("d1")
    world.device("d2", rollout_bucket=2)
    world.base()
    nonces = iter("abcdef")
    world.ports = {"new_id": lambda: next(nonces)}
    one, same, other = world.plan(), world.plan(), world.plan(waves="1")
    assert plan_hash(one) == plan_hash(same)
    assert plan_hash(one) != plan_hash(other)
    kept = parse_plan(json.loads(json.dumps(render_plan(other))))
    assert kept == other
    assert plan_hash(kept) == plan_hash(other)
