import pytest

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.layering import (
    Deployment,
    find_assignment_fault,
    find_content_fault,
    is_base,
    merge_layers,
)

MAP_OF_B = {"$edgeAgent": {"properties.desired.modules": {"b": {}}}}
DEVICE = {"deviceId": "d", "tags": {"env": "test"}}


def deployment(name, modules, priority=0, created_at="2026-11-24T00:00:00Z", condition="*"):
    return Deployment(name, priority, created_at, parse_condition(condition), modules)


def base(name="base", priority=0, modules=None, **more):
    desired = {"schemaVersion": "1.1", "modules": modules or {}}
    return deployment(name, {"$edgeAgent": {"properties.desired": desired}}, priority, **more)


def layer(name, priority, module="m", image="i", **more):
    content = {"$edgeAgent": {f"properties.desired.modules.{module}": {"settings": {"image": image}}}}
    return deployment(name, content, priority, **more)


def modules_of(assignment):
    """What each module runs, and by whose word."""
    return {
        name: (entry.get("settings", {}).get("image"), entry["configuration"]["id"])
        for name, entry in assignment.desired["$edgeAgent"]["modules"].items()
    }


@pytest.mark.parametrize(
    ("deployments", "base_id", "modules", "statuses"),
    [
        pytest.param([], None, None, None, id="nothing targets it"),
        pytest.param([layer("l", 5)], None, None, {"l": "Targeted"}, id="a layer without a base waits"),
        pytest.param([base(condition="tags.env='x'")], None, None, None, id="a base for other devices"),
        pytest.param(
            [base(), layer("l", 1)],
            "base",
            {"m": ("i", "l")},
            {"base": "Applied", "l": "Applied"},
            id="a layer above its base",
        ),
        pytest.param(
            [base(priority=2), layer("l", 1)],
            "base",
            {},
            {"base": "Applied", "l": "Targeted"},
            id="a layer below the base waits",
        ),
        pytest.param(
            [base(), layer("l", 0, created_at="2026-11-23T00:00:00Z")],
            "base",
            {},
            {"base": "Applied", "l": "Targeted"},
            id="an older layer of the base's priority waits",
        ),
        pytest.param(
            [base(), layer("l", 0, created_at="2026-11-25T00:00:00Z")],
            "base",
            {"m": ("i", "l")},
            {"base": "Applied", "l": "Applied"},
            id="a newer layer of the base's priority applies",
        ),
        pytest.param(
            [base("low", 1, {"x": {}}), base("high", 2, {"y": {}}), layer("l", 1)],
            "high",
            {"y": (None, "high")},
            {"low": "Targeted", "high": "Applied", "l": "Targeted"},
            id="the highest base wins and takes nothing from lower ones",
        ),
        pytest.param(
            [base("new", 1, created_at="2026-11-25T00:00:00Z"), base("old", 1, {"x": {}})],
            "new",
            {},
            {"new": "Applied", "old": "Targeted"},
            id="among equal bases the newest wins",
        ),
        pytest.param(
            [base(), layer("two", 2, image="2"), layer("one", 1, image="1")],
            "base",
            {"m": ("2", "two")},
            {"base": "Applied", "one": "Targeted", "two": "Applied"},
            id="of two layers at one path the higher is live",
        ),
        pytest.param(
            [base(modules={"m": {"settings": {"image": "0"}}}), layer("l", 1)],
            "base",
            {"m": ("i", "l")},
            {"base": "Applied", "l": "Applied"},
            id="a layer replaces a base's module",
        ),
        pytest.param(
            [base(), layer("low", 1, "a"), deployment("high", MAP_OF_B, 2)],
            "base",
            {"b": (None, "high")},
            {"base": "Applied", "low": "Targeted", "high": "Applied"},
            id="a layer that sets the whole map wipes lower modules",
        ),
    ],
)
def test_what_a_device_gets(deployments, base_id, modules, statuses):
    for order in (deployments, deployments[::-1]):
        assignment = merge_layers(order, DEVICE)
        assert assignment.base == base_id
        assert assignment.statuses.get("$edgeAgent") == statuses
        if base_id is None:
            assert assignment.desired == {}
        else:
            assert modules_of(assignment) == modules


def test_layers_set_paths_of_other_modules_side_by_side():
    assignment = merge_layers(
        [
            base(modules={"companion": {}}),
            deployment("taxi", {"companion": {"properties.desired.models.taxi": {"nonce": 1}}}, 1),
            deployment("bus", {"companion": {"properties.desired.models.bus": {"nonce": 2}}}, 2),
            deployment("no", {"absent": {"properties.desired.x": 1}}, 3),
        ],
        DEVICE,
    )
    assert assignment.desired["companion"] == {"models": {"taxi": {"nonce": 1}, "bus": {"nonce": 2}}}
    assert assignment.statuses["companion"] == {"taxi": "Applied", "bus": "Applied"}
    assert assignment.statuses["$edgeAgent"] == {
        "base": "Applied",
        "taxi": "Applied",
        "bus": "Applied",
        "no": "Targeted",
    }
    assert "absent" not in assignment.desired


def test_a_module_edited_deeper_keeps_the_name_of_who_brought_it():
    edit = deployment("edit", {"$edgeAgent": {"properties.desired.modules.m.status": "stopped"}}, 2)
    assignment = merge_layers([base(), layer("l", 1), edit], DEVICE)
    entry = assignment.desired["$edgeAgent"]["modules"]["m"]
    assert entry == {"settings": {"image": "i"}, "status": "stopped", "configuration": {"id": "l"}}


@pytest.mark.parametrize("taken_away", [None, 7])
def test_a_module_made_anew_deeper_has_the_name_of_who_made_it(taken_away):
    """What went before it, a null or no module at all, supplied nothing."""
    gone = deployment("gone", {"$edgeAgent": {"properties.desired.modules.m": taken_away}}, 2)
    edit = deployment("edit", {"$edgeAgent": {"properties.desired.modules.m.settings.image": "i2"}}, 3)
    assignment = merge_layers([base(), layer("l", 1), gone, edit], DEVICE)
    assert modules_of(assignment) == {"m": ("i2", "edit")}


def test_a_module_is_taken_from_what_is_no_map_of_modules():
    scalar = deployment("scalar", {"$edgeAgent": {"properties.desired.modules": 7}}, 2)
    gone = deployment("gone", {"$edgeAgent": {"properties.desired.modules.m": None}}, 3)
    assignment = merge_layers([base(), layer("l", 1), scalar, gone], DEVICE)
    assert assignment.desired["$edgeAgent"]["modules"] == 7
    assert assignment.module_names() == frozenset()


def test_a_null_takes_a_module_away():
    gone = deployment("gone", {"$edgeAgent": {"properties.desired.modules.m": None}}, 2)
    assignment = merge_layers([base(), layer("l", 1), gone], DEVICE)
    assert modules_of(assignment) == {}
    assert assignment.module_names() == frozenset()


def test_a_whole_desired_replaces_lower_paths_and_shorter_paths_go_first():
    content = {"m": {"properties.desired.b.c": 2, "properties.desired": {"b": {"a": 1}}}}
    low = deployment("low", {"m": {"properties.desired.old": 1}}, 1)
    assignment = merge_layers([base(modules={"m": {}}), low, deployment("high", content, 2)], DEVICE)
    assert assignment.desired["m"] == {"b": {"a": 1, "c": 2}}
    assert assignment.statuses["m"] == {"low": "Targeted", "high": "Applied"}


def test_merging_leaves_the_deployments_as_they_were():
    one = base(modules={"m": {"settings": {"image": "0"}}})
    merge_layers([one, layer("l", 1, "n")], DEVICE)
    assert one.modules["$edgeAgent"]["properties.desired"] == {
        "schemaVersion": "1.1",
        "modules": {"m": {"settings": {"image": "0"}}},
    }


def test_a_base_brings_the_agents_whole_desired():
    assert is_base(base().modules)
    assert not is_base(layer("l", 1).modules)
    assert not is_base({"m": {"properties.desired": {}}})


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "at least one module"),
        ({}, "at least one module"),
        ({"m": 5}, "must be an object"),
        ({"m": {"properties.reported.x": 1}}, "'properties.reported.x'"),
        ({"m": {"properties.desired.": 1}}, "'properties.desired.'"),
        ({"m": {"properties.desired": 1}}, "must be an object"),
        ({"m": {"properties.desired.$version": 1}}, "'$version'"),
        ({"m": {"properties.desired.x": "y" * 5000}}, "4096"),
    ],
)
def test_content_that_is_none_is_named(content, part):
    assert part in find_content_fault(content)


def test_content_of_every_kind_is_taken():
    assert find_content_fault(base().modules) is None
    assert find_content_fault({"m": {"properties.desired.a.b": None}}) is None


def test_deployments_may_together_ask_too_much():
    fits = [base(), *(layer(f"l{number}", number + 1, f"m{number}") for number in range(48))]
    assert find_assignment_fault(merge_layers(fits, DEVICE)) is None
    assert "49 modules" in find_assignment_fault(merge_layers([*fits, layer("x", 99, "x")], DEVICE))
    texts = {f"properties.desired.k{number}": "x" * 4000 for number in range(9)}
    large = [base(modules={"m": {}}), deployment("large", {"m": texts}, 1)]
    assert "desired properties of m" in find_assignment_fault(merge_layers(large, DEVICE))
