"""Which base an agent's rollout copies, and that nothing goes out but the copy that was approved."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from edgeferry.domain.edge_runtime import OUR_AGENT
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.errors import RefusedError, UsageError
from edgeferry.wire.deployment import (
    ModelLayer,
    hash_content,
    holds_layer,
    parse_model_layer,
    render_agent_base,
    render_base,
    render_configuration,
)
from edgeferry.workflows.agent_base import copy_approved, copy_base
from edgeferry.workflows.plan import make_plan

FLEET = Fleet("tags.edgeferry = true")
DIGEST = f"sha256:{'a' * 64}"
IMAGE = f"r/agent@{DIGEST}"
LAYER = ModelLayer("edgeferry-agent-v1", "agent", "agent-v1", DIGEST, "", "now", "tags.site = 'x'", 1)
DEVICES = [{"deviceId": name, "tags": {"edgeferry": True, "site": "x", "n": name}} for name in "ab"]


def theirs(name: str, condition: str, priority: int = 5) -> Any:
    """A base that somebody else has made, with a module."""
    base = deepcopy(render_base(FLEET))
    base |= {"id": name, "targetCondition": condition, "priority": priority, "labels": {}}
    base["content"]["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"] = {
        "gateway": {"settings": {"image": "r/gateway:1"}}
    }
    return base


def before(version: int, priority: int, condition: str = LAYER.target_condition) -> Any:
    """The base of an earlier agent's rollout."""
    layer = replace(
        LAYER, name=f"before-{version}", nonce=str(version), priority=priority, target_condition=condition
    )
    return render_agent_base(render_base(FLEET), layer, f"r/agent@sha256:{version:064x}", FLEET)


def test_the_copy_is_the_base_but_for_the_agents_image() -> None:
    copy = render_agent_base(theirs("gates", "*"), LAYER, IMAGE, FLEET)
    expected = theirs("gates", "*")["content"]
    own = expected["modulesContent"]["$edgeAgent"]["properties.desired"]["systemModules"]["edgeAgent"]
    own["settings"]["image"] = IMAGE
    own["env"] = {"EDGEFERRY_NONCE": {"value": "now"}}
    assert copy["content"] == expected
    assert parse_model_layer(copy) == LAYER
    assert holds_layer(copy, LAYER)
    assert not holds_layer(copy, replace(LAYER, nonce="another"))
    assert not holds_layer(copy, replace(LAYER, digest=f"sha256:{'b' * 64}"))


@pytest.mark.parametrize(
    ("existing", "name", "priority"),
    [
        pytest.param([], "edgeferry-base", 1, id="none: ours as it would be"),
        pytest.param([render_base(FLEET)], "edgeferry-base", 1, id="ours"),
        pytest.param([render_base(FLEET), theirs("gates", "*")], "gates", 6, id="another's above ours"),
        pytest.param([render_base(FLEET), theirs("gates", "*", -1)], "edgeferry-base", 1, id="below ours"),
        pytest.param([render_base(FLEET), before(1, 1), before(2, 2)], "before-2", 3, id="the last agent's"),
        pytest.param(
            [render_base(FLEET), before(1, 4, "tags.n = 'a'")], "before-1", 5, id="one that got half way"
        ),
    ],
)
def test_what_decides_the_devices_is_copied_and_stood_above(
    existing: list[Any], name: str, priority: int
) -> None:
    base, above = copy_base(LAYER, FLEET, existing, DEVICES)
    assert (base["id"], above.priority) == (name, priority)


def test_devices_of_different_bases_have_no_one_copy() -> None:
    existing = [render_base(FLEET), theirs("gates", "tags.n = 'b'")]
    with pytest.raises(UsageError, match="edgeferry-base and gates"):
        copy_base(LAYER, FLEET, existing, DEVICES)
    assert copy_base(LAYER, FLEET, existing, DEVICES[:1])[0]["id"] == "edgeferry-base"


def test_a_base_that_names_its_agent_beside_the_rest_is_not_copied() -> None:
    base = theirs("gates", "*")
    paths = base["content"]["modulesContent"]["$edgeAgent"]
    paths["properties.desired.systemModules.edgeAgent"] = {"settings": {"image": "r/other:1"}}
    with pytest.raises(UsageError, match="gates cannot be copied"):
        render_agent_base(base, LAYER, IMAGE, FLEET)


def test_only_what_was_approved_is_placed() -> None:
    existing = [render_base(FLEET), theirs("gates", "*")]
    bare = replace(LAYER, nonce="")
    approved = hash_content(render_agent_base(existing[1], bare, IMAGE, FLEET))
    base, above = copy_approved(LAYER, IMAGE, FLEET, existing, approved, DEVICES)
    assert (base["id"], above.priority) == ("gates", 6)
    edited = deepcopy(existing)
    desired = edited[1]["content"]["modulesContent"]["$edgeAgent"]["properties.desired"]
    desired["modules"]["gateway"]["settings"]["image"] = "r/gateway:2"
    with pytest.raises(RefusedError, match="has changed since it was approved"):
        copy_approved(LAYER, IMAGE, FLEET, edited, approved, DEVICES)


def test_nothing_is_placed_where_another_base_decides_devices_since_it_was_approved() -> None:
    existing = [render_base(FLEET)]
    bare = replace(LAYER, nonce="")
    approved = hash_content(render_agent_base(existing[0], bare, IMAGE, FLEET))
    assert copy_approved(LAYER, IMAGE, FLEET, existing, approved, DEVICES)[0]["id"] == "edgeferry-base"
    newer = [*existing, theirs("gates", "tags.n = 'b'")]
    with pytest.raises(RefusedError, match="gates decides devices now"):
        copy_approved(LAYER, IMAGE, FLEET, newer, approved, DEVICES)
    elsewhere = [*existing, theirs("gates", "tags.n = 'c'")]
    assert copy_approved(LAYER, IMAGE, FLEET, elsewhere, approved, DEVICES)[1].priority == 1


def test_the_copy_stands_above_the_bases_of_its_devices_and_no_others() -> None:
    existing = [render_base(FLEET), before(1, 3, "tags.n = 'c'"), before(2, 5, "tags.n = 'c'")]
    assert copy_base(LAYER, FLEET, existing, DEVICES)[1].priority == 1
    approved = hash_content(render_agent_base(existing[0], replace(LAYER, nonce=""), IMAGE, FLEET))
    assert copy_approved(LAYER, IMAGE, FLEET, existing, approved, DEVICES)[1].priority == 1


def test_a_deployment_that_is_no_base_under_the_name_of_ours_is_named() -> None:
    taken = {**layered("gateway", 10), "id": "edgeferry-base"}
    with pytest.raises(UsageError, match="edgeferry-base at the hub is no base") as refused:
        copy_base(LAYER, FLEET, [taken], DEVICES)
    assert "edgeferry deployments delete edgeferry-base" in refused.value.fix


def layered(name: str, priority: int, labels: dict[str, str] | None = None) -> Any:
    module = {"settings": {"image": "r/x:1"}}
    paths = {f"properties.desired.modules.{name}": module}
    return render_configuration(name, {"$edgeAgent": paths}, "*", priority, labels or {})


def plan(existing: list[Any], reported: Any = None) -> RolloutPlan:
    """The plan of an agent's release on a hub that holds these."""
    dated = [{**one, "createdTimeUtc": "2026-01-01T00:00:00Z"} for one in existing]
    own = {"settings": {"image": "r/agent:0", "imageHash": "sha256:0"}}
    said = {"systemModules": {"edgeAgent": own}} if reported is None else reported
    twin = {"properties": {"reported": {"lastDesiredStatus": {"code": 200}, **said}}}
    hub = SimpleNamespace(
        host="hub",
        configurations=lambda: dated,
        devices=lambda: DEVICES,
        module_twin=lambda device, module: twin,
    )
    registry = SimpleNamespace(
        host="r", reference=lambda name, digest: f"r/{name}@{digest}", blob_sizes=lambda image: None
    )
    services: Any = SimpleNamespace(
        hub=hub, registry=registry, new_id=lambda: "ab" * 16, pull_login=lambda: None
    )
    body = {"model": "agent", "version": "1", "digest": DIGEST, "config_digest": DIGEST, "cases_sha256": ""}
    entry = Entry("release/agent-v1", "release", "agent-v1", "", "ann", body, "", "")
    return make_plan(services, entry, LAYER.target_condition, FLEET, {})


def test_a_plan_says_what_changes() -> None:
    found = plan([render_base(FLEET), layered("gateway", 10)])
    assert (found.gained, found.lost, found.obstacles) == (("a", "b"), (), ())
    (change,) = found.changes
    assert (change.base, change.replaces) == (found.layer, OUR_AGENT.agent_image)
    assert {(one.path, one.before, one.after) for one in change.paths} == {
        ("", "edgeferry-base", found.layer)
    }


@pytest.mark.parametrize(
    ("existing", "reported", "kind", "deployments"),
    [
        pytest.param(
            [layered("gateway", 1)], None, "below-base", ("gateway",), id="a layer would be dropped"
        ),
        pytest.param(
            [],
            {"systemModules": {"edgeAgent": {"settings": {"image": "x"}}}},
            "fixed-agent",
            (),
            id="agents that are programs",
        ),
        pytest.param(
            [],
            {"lastDesiredStatus": {"code": 417}},
            "fixed-agent",
            (),
            id="programs to which nothing was deployed yet",
        ),
        pytest.param(
            [layered("taxi", 1000, {"edgeferry": "model", "model": "taxi"})],
            None,
            "no-companion",
            (),
            id="models that nobody could ask",
        ),
    ],
)
def test_what_is_in_the_way(existing: list[Any], reported: Any, kind: str, deployments: Any) -> None:
    (conflict,) = plan([render_base(FLEET), *existing], reported).obstacles
    assert (str(conflict.kind), conflict.devices, conflict.deployments) == (kind, 2, deployments)


def test_a_base_of_somebody_elses_is_copied_and_that_is_said() -> None:
    found = plan([render_base(FLEET), theirs("gates", "*")])
    assert found.obstacles == ()
    assert [one.used for one in found.quotas if one.name == "modules of a device"] == [3]  # theirs is kept
    (told,) = [one for one in found.conflicts if str(one.kind) == "foreign-base"]
    assert "gates is not edgeferry's: it is copied" in told.problem


UNKNOWN = {"settings": {"image": "", "imageHash": ""}, "runtimeStatus": "running"}


@pytest.mark.parametrize(
    "reported",
    [
        pytest.param({"lastDesiredStatus": {}}, id="never heard of"),
        pytest.param({"systemModules": {"edgeAgent": UNKNOWN}}, id="that does not know its image yet"),
        pytest.param({"lastDesiredStatus": {"code": 500}}, id="whose engine did not answer yet"),
        pytest.param(
            {"lastDesiredStatus": {"code": 417}, "systemModules": {"edgeAgent": UNKNOWN}},
            id="to which nothing was deployed, and that does not know its image yet",
        ),
    ],
)
def test_an_agent_is_no_program_before_that_is_sure(reported: Any) -> None:
    assert plan([render_base(FLEET)], reported).obstacles == ()


def test_a_layer_that_sets_the_agent_itself_is_in_the_way_and_a_module_of_that_name_is_not() -> None:
    own = layered("sets-agent", 10)
    paths = own["content"]["modulesContent"]["$edgeAgent"]
    paths["properties.desired.systemModules.edgeAgent.env.LEVEL"] = {"value": "debug"}
    (conflict,) = plan([render_base(FLEET), own]).obstacles
    assert (str(conflict.kind), conflict.deployments) == ("module", ("sets-agent",))
    assert plan([render_base(FLEET), layered("agent", 10)]).obstacles == ()
