"""Why a device has what it has: each reason once, and agreement with the merge on random sets."""

from copy import deepcopy

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.explanation import (
    Drift,
    Reason,
    explain,
    find_drift,
)
from edgeferry.domain.layering import AGENT, Deployment, merge_layers

DEVICE = {"deviceId": "d", "tags": {"site": "munich", "floor": 3, "old": None}}
EARLY, LATE = "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"


def deployment(name, modules, priority=0, created_at=EARLY, condition="*"):
    return Deployment(name, priority, created_at, parse_condition(condition), modules)


def base(name="base", priority=0, modules=None, **more):
    desired = {"schemaVersion": "1.1", "modules": modules or {}}
    return deployment(name, {AGENT: {"properties.desired": desired}}, priority, **more)


def layer(name, priority=1, path="modules.m", value=None, module=AGENT, **more):
    return deployment(name, {module: {f"properties.desired.{path}": value or {"v": name}}}, priority, **more)


def absences_of(*deployments):
    found = explain(deployments, DEVICE)
    return {each.deployment.id: (each.reason, [one.id for one in each.by]) for each in found.absences}


def share_of(module, path, *deployments):
    """Who gives it, and who lost there."""
    [share] = [one for one in explain(deployments, DEVICE).shares if (one.module, one.path) == (module, path)]
    return share.giver.id, [(loser.deployment.id, loser.reason) for loser in share.losers]


@pytest.mark.parametrize(
    ("deployments", "name", "reason", "by"),
    [
        pytest.param([base(), layer("l", condition="tags.x=1")], "l", Reason.NOT_TARGETED, []),
        pytest.param([layer("l")], "l", Reason.NO_BASE, []),
        pytest.param([base(), base("high", 1)], "base", Reason.OTHER_BASE, ["high"]),
        pytest.param([base(priority=2), layer("l")], "l", Reason.BELOW_BASE, ["base"]),
        pytest.param([base(created_at=LATE), layer("l", 0)], "l", Reason.BELOW_BASE, ["base"]),
        pytest.param([base(), layer("l"), layer("m", 2)], "l", Reason.REPLACED, ["m"]),
        pytest.param([base(), layer("l", module="other", path="a")], "l", Reason.NO_MODULE, []),
    ],
    ids=lambda value: value.value if isinstance(value, Reason) else "",
)
def test_why_a_deployment_gives_nothing(deployments, name, reason, by):
    for order in (deployments, deployments[::-1]):
        assert absences_of(*order) == {name: (reason, by)}


@pytest.mark.parametrize(
    ("deployments", "giver", "losers"),
    [
        pytest.param([base(modules={"m": {}})], "base", [], id="the base alone"),
        pytest.param(
            [base(modules={"m": {}}), layer("l")], "l", [("base", Reason.LOWER_PRIORITY)], id="lower priority"
        ),
        pytest.param(
            [base(modules={"m": {}}), layer("l", 0, created_at=LATE)],
            "l",
            [("base", Reason.OLDER)],
            id="older",
        ),
        pytest.param(
            [base(), layer("a"), layer("b")], "b", [("a", Reason.SAME_TIME)], id="same priority and time"
        ),
        pytest.param(
            [base(priority=3, modules={"m": {}}), layer("l")],
            "base",
            [("l", Reason.BELOW_BASE)],
            id="below the base",
        ),
        pytest.param(
            [base(modules={"m": {}}), base("high", 1, {"m": {}})],
            "high",
            [("base", Reason.OTHER_BASE)],
            id="another base",
        ),
        pytest.param(
            [base(), layer("l"), layer("n", 2, "modules", {"m": {}})],
            "n",
            [("l", Reason.LOWER_PRIORITY)],
            id="the whole map replaces an entry",
        ),
        pytest.param(
            [base(modules={"m": {}}), layer("l", condition="tags.site='x'")],
            "base",
            [],
            id="who does not target the device is no loser",
        ),
    ],
)
def test_who_gave_a_module_and_who_lost(deployments, giver, losers):
    assert share_of("m", "", *deployments) == (giver, losers)


def test_a_path_below_a_module_names_its_own_giver():
    stack = [base(), layer("l"), layer("env", 2, "modules.m.env.A"), layer("low", 1, "modules.m.env.A")]
    assert share_of("m", "", *stack) == ("l", [])
    assert share_of("m", "env.A", *stack) == ("env", [("low", Reason.LOWER_PRIORITY)])


def test_a_modules_own_properties_are_its_shares_too():
    stack = [base(modules={"m": {}}), layer("one", 1, "a.b", module="m"), layer("all", 2, "a", module="m")]
    assert share_of("m", "desired.a", *stack) == ("all", [("one", Reason.LOWER_PRIORITY)])


def test_a_layer_that_takes_a_module_away_is_named():
    removal = deployment("gone", {AGENT: {"properties.desired.modules.m": None}}, 2)
    [share] = [one for one in explain([base(modules={"m": {}}), removal], DEVICE).shares if one.module == "m"]
    assert (share.giver.id, share.removes) == ("gone", True)
    assert [loser.deployment.id for loser in share.losers] == ["base"]


def test_drift_is_where_a_twin_is_not_what_deployments_make_of_it():
    desired = {"m": {"a": {"x": 1, "y": 2}, "b": True}}
    twin = {"properties": {"desired": {"a": {"x": 1, "z": 3}, "b": 1, "$version": 4, "$metadata": {}}}}
    assert list(find_drift(desired, {"m": twin})) == [
        Drift("m", "a.y", 2, None),
        Drift("m", "a.z", None, 3),
        Drift("m", "b", True, 1),
    ]
    assert [each.path for each in find_drift(desired, {})] == ["a", "b"]


NAMES = st.sampled_from(["m", "n"])
VALUES = st.recursive(
    st.one_of(st.integers(0, 3), st.none()),
    lambda inner: st.dictionaries(st.sampled_from(["x", "y"]), inner, min_size=1, max_size=2),
    max_leaves=3,
)
AGENT_PATHS = st.sampled_from(
    ["modules", "modules.m", "modules.n", "modules.m.env", "modules.m.env.x", "modules.n.env", "runtime.x"]
)


@st.composite
def layers(draw):
    content: dict = {}
    for path in draw(st.sets(AGENT_PATHS, max_size=3)):
        value = draw(VALUES)
        if path == "modules":
            value = draw(st.dictionaries(NAMES, st.dictionaries(st.just("env"), VALUES), max_size=2))
        content.setdefault(AGENT, {})[f"properties.desired.{path}"] = value
    for module in draw(st.sets(NAMES, max_size=2)):
        for path in draw(st.sets(st.sampled_from(["x", "x.y", "y"]), min_size=1, max_size=2)):
            content.setdefault(module, {})[f"properties.desired.{path}"] = draw(VALUES)
    if draw(st.integers(0, 3)) == 0:
        modules = draw(st.dictionaries(NAMES, st.dictionaries(st.just("env"), VALUES), max_size=2))
        whole = {"runtime": {"x": 1}, "modules": modules}
        content[AGENT] = {"properties.desired": whole, **draw(st.sampled_from([{}, content.get(AGENT, {})]))}
    return content


@st.composite
def fleets(draw):
    one = st.builds(
        lambda content, priority, created, condition: (content, priority, created, condition),
        layers().filter(bool),
        st.integers(0, 3),
        st.sampled_from([EARLY, LATE]),
        st.sampled_from(["*", "*", "*", "tags.site = 'munich'", "tags.site = 'berlin'", "tags.no = 1"]),
    )
    return [
        Deployment(f"d{index}", priority, created, parse_condition(condition), content)
        for index, (content, priority, created, condition) in enumerate(draw(st.lists(one, max_size=6)))
    ]


def _made_anew(name: str, paths: dict) -> Deployment:
    content = {AGENT: {f"properties.desired{path}": value for path, value in paths.items()}}
    return Deployment(name, 0, EARLY, parse_condition("*"), content)


MADE_ANEW = [
    _made_anew("d0", {"": {"runtime": {"x": 1}, "modules": {}}}),
    _made_anew("d1", {".modules": {}, ".modules.n": 0}),
    _made_anew("d2", {".modules.m": 0, ".modules.n.env": 0}),
]
"""An entry that a path below it makes where a plain value stood before."""


def value_at(deployment, place):
    """What the deployment sets at the place, by its longest setting at or around it."""
    module, path = place
    for length in range(len(path), -1, -1):
        name = ".".join(("properties", "desired", *path[:length]))
        value = deployment.modules.get(module, {}).get(name, value_at)
        if value is not value_at:
            for segment in path[length:]:
                if not isinstance(value, dict) or segment not in value:
                    return value_at
                value = value[segment]
            return value
    return value_at


def put(tree, path, value):
    for segment in path[:-1]:
        if not isinstance(tree.get(segment), dict):
            if value is None:
                return
            tree[segment] = {}
        tree = tree[segment]
    if value is None:
        tree.pop(path[-1], None)
    else:
        tree[path[-1]] = deepcopy(value)


def prune(value):
    """Without objects that hold nothing: those that a removal leaves behind are nobody's."""
    if not isinstance(value, dict):
        return value
    pruned = {name: prune(one) for name, one in value.items()}
    return {name: one for name, one in pruned.items() if one != {}}


@settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.generate])
@example(MADE_ANEW)
@given(fleets())
def test_the_explanation_agrees_with_the_merge(deployments):
    found, merged = explain(deployments, DEVICE), merge_layers(deployments, DEVICE)
    assert (found.base.id if found.base else None) == merged.base
    assert found.desired == merged.desired
    statuses = merged.statuses.get(AGENT, {})
    absent = {each.deployment.id for each in found.absences}
    assert absent == {one.id for one in deployments if statuses.get(one.id) != "Applied"}
    for each in found.absences:
        assert (each.reason is Reason.NOT_TARGETED) == (each.deployment.id not in statuses)
        assert bool(each.parts) == (each.reason is Reason.NOT_TARGETED)
    for share in found.shares:
        assert share.giver.id in statuses
        assert share.giver.id not in {loser.deployment.id for loser in share.losers}
    givers = {share.place: share.giver.id for share in found.shares if not share.removes}
    for kind in ("modules", "systemModules"):
        for name, entry in (merged.desired.get(AGENT, {}).get(kind) or {}).items():
            place = (AGENT, (kind, name))
            if isinstance(entry, dict) and place in givers:
                assert givers[place] == entry["configuration"]["id"]
            else:
                assert any(share.place[1][:2] == place[1] for share in found.shares)


@settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.generate])
@example(MADE_ANEW)
@given(fleets())
def test_the_shares_together_are_the_desired_properties(deployments):
    found = explain(deployments, DEVICE)
    rebuilt: dict = {}
    for share in sorted(found.shares, key=lambda one: len(one.place[1])):
        module, path = share.place
        value = value_at(share.giver, share.place)
        if value is value_at:
            continue  # an entry that exists by what is set below it
        if path:
            put(rebuilt.setdefault(module, {}), path, value)
        else:
            rebuilt[module] = deepcopy(value)
    expected = deepcopy(dict(found.desired))
    for kind in ("modules", "systemModules"):
        for entry in (expected.get(AGENT, {}).get(kind) or {}).values():
            if isinstance(entry, dict):
                entry.pop("configuration", None)
    assert prune(rebuilt) == prune(expected)
