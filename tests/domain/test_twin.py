import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.twin import (
    SECTION_BYTES,
    TAGS_BYTES,
    diff_for_client,
    find_fault,
    is_same,
    merge,
    new_twin,
    patch_desired,
    patch_reported,
    patch_tags,
    render_section,
    replace_desired,
    replace_tags,
    settle_desired,
    strip_hub_members,
)

T1, T2, T3 = ("2026-11-24T00:00:01Z", "2026-11-24T00:00:02Z", "2026-11-24T00:00:03Z")


def twin_with(desired):
    return replace_desired(new_twin(T1), desired, T2)


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="adds"),
        pytest.param({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}, id="merges inside"),
        pytest.param({"a": 1, "b": 2}, {"a": None}, {"b": 2}, id="null deletes"),
        pytest.param(
            {}, {"a": {"b": None, "c": {}}}, {"a": {"c": {}}}, id="null inside what is new is nothing"
        ),
        pytest.param({"a": [1, 2]}, {"a": [3]}, {"a": [3]}, id="lists are replaced whole"),
        pytest.param({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}, id="a value becomes an object"),
        pytest.param({"a": {"b": 1}}, {"a": 5}, {"a": 5}, id="an object becomes a value"),
        pytest.param(
            {"a": 1}, {"$version": 9, "b": {"$x": 1}}, {"a": 1, "b": {}}, id="the hub's members are dropped"
        ),
    ],
)
def test_a_patch_merges(before, patch, after):
    assert merge(before, patch) == after


def test_each_write_of_desired_is_one_version_and_moves_only_what_changed():
    twin = twin_with({"modules": {"a": {"image": "1"}, "b": {"image": "1"}}, "schemaVersion": "1.1"})
    assert (twin.desired.version, twin.version) == (2, 2)
    twin = patch_desired(twin, {"modules": {"a": {"image": "2"}}}, T3)
    meta = twin.desired.metadata
    assert twin.desired.version == meta["$lastUpdatedVersion"] == 3
    assert meta["modules"]["$lastUpdatedVersion"] == 3
    assert meta["modules"]["a"]["$lastUpdatedVersion"] == 3
    assert meta["modules"]["a"]["image"] == {"$lastUpdated": T3, "$lastUpdatedVersion": 3}
    assert meta["modules"]["b"]["$lastUpdatedVersion"] == 2
    assert meta["schemaVersion"] == {"$lastUpdated": T2, "$lastUpdatedVersion": 2}


def test_a_full_replace_leaves_the_metadata_of_an_equal_subtree():
    twin = twin_with({"modules": {"a": {"image": "1"}, "gone": {}}})
    twin = settle_desired(twin, {"modules": {"a": {"image": "1"}, "b": {}}}, T3)
    modules = twin.desired.metadata["modules"]
    assert modules["$lastUpdatedVersion"] == 3
    assert modules["a"]["$lastUpdatedVersion"] == 2
    assert modules["b"]["$lastUpdatedVersion"] == 3
    assert "gone" not in modules


def test_settling_on_what_is_there_is_nothing_at_all():
    twin = twin_with({"a": {"b": [1, {"c": True}]}})
    assert settle_desired(twin, {"a": {"b": [1, {"c": True}]}, "$version": 7}, T3) is twin
    assert settle_desired(twin, {"a": {"b": [1, {"c": 1}]}}, T3).desired.version == 3


def test_a_patch_that_changes_nothing_is_a_version_but_moves_no_member():
    twin = patch_desired(twin_with({"a": 1}), {"a": 1}, T3)
    assert twin.desired.version == 3
    assert twin.desired.metadata == {
        "$lastUpdated": T3,
        "$lastUpdatedVersion": 3,
        "a": {"$lastUpdated": T2, "$lastUpdatedVersion": 2},
    }


def test_reported_properties_have_times_but_no_versions_per_member():
    twin = patch_reported(new_twin(T1), {"a": {"b": 1}}, T2)
    assert render_section(twin.reported) == {
        "a": {"b": 1},
        "$version": 2,
        "$metadata": {"$lastUpdated": T2, "a": {"$lastUpdated": T2, "b": {"$lastUpdated": T2}}},
    }
    twin = patch_reported(twin, {"a": None}, T3)
    assert render_section(twin.reported) == {"$version": 3, "$metadata": {"$lastUpdated": T3}}
    assert twin.desired == new_twin(T1).desired


def test_tags_are_merged_or_replaced():
    twin = patch_tags(new_twin(T1), {"a": 1, "b": {"c": 1}})
    assert patch_tags(twin, {"b": {"c": None}}).tags == {"a": 1, "b": {}}
    assert replace_tags(twin, {"z": 1}).tags == {"z": 1}
    assert replace_tags(twin, {}).version == 3


def test_what_clients_are_told_keeps_nulls_and_drops_the_hubs_members():
    assert strip_hub_members({"a": None, "$version": 1, "b": {"$metadata": {}, "c": None}}) == {
        "a": None,
        "b": {"c": None},
    }


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"a.b": 1}, "'a.b'"),
        ({"a": {"$b": 1}}, "'a.$b'"),
        ({"a": [{"b c": 1}]}, "'a.b c'"),
        ({"\n": 1}, "control"),
        ({"": 1}, "empty"),
        ({"k" * 1025: 1}, "1024"),
        ({"a": "x" * 4097}, "4096"),
        ({"a": 2**52 + 1}, "integer"),
        ({"a": [[[[[[[[[[[[1]]]]]]]]]]]]}, "deeper"),
        ({f"k{number}": "x" * 4000 for number in range(9)}, "at most 32768"),
    ],
)
def test_what_a_hub_would_refuse_is_named(values, part):
    assert part in find_fault(values, 32768)


@pytest.mark.parametrize("make", [lambda inner: {"a": inner}, lambda inner: [inner]])
def test_ten_levels_below_the_section_are_allowed_and_eleven_are_not(make):
    value = {"property": "value"}
    for _ in range(9):
        value = make(value)
    assert find_fault({"one": value}, 32768) is None
    assert "deeper than 10" in find_fault({"one": make(value)}, 32768)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("ä", 2),
        ("a\x00\n\x7f\x85b", 2),
        (True, 4),
        (1, 8),
        (0.5, 8),
        (None, 0),
        ([1, "ab"], 10),
        ({"b": 1, "cd": [True]}, 15),
        ({}, 0),
    ],
)
def test_the_size_is_that_of_names_and_values_without_control_characters(value, size):
    assert find_fault({"name": value}, 4 + size) is None
    assert f"{4 + size} bytes" in find_fault({"name": value}, 3 + size)


def test_a_section_of_just_its_limit_fits():
    for limit, keep in ((TAGS_BYTES, 8 * 1024), (SECTION_BYTES, 32 * 1024)):
        texts = {f"k{number:03}": "x" * 1020 for number in range(keep // 1024)}
        assert find_fault(texts, limit) is None
        assert find_fault({**texts, "y": None}, limit) is not None


def test_what_fits_has_no_fault():
    nested = {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {"j": 1}}}}}}}}}}
    assert find_fault({**nested, "l": [1, None, "x" * 4096, 2**52, True, 0.5]}, 32768) is None


keys = st.sampled_from(("a", "b", "c"))
scalars = st.sampled_from((0, 1, 1.0, True, False, "", "x"))
objects = st.recursive(
    st.dictionaries(keys, scalars, max_size=3),
    lambda inner: st.dictionaries(keys, scalars | inner | st.lists(scalars | inner, max_size=2), max_size=3),
    max_leaves=8,
)
patches = st.recursive(
    st.dictionaries(keys, st.none() | scalars, max_size=3),
    lambda inner: st.dictionaries(keys, st.none() | scalars | inner, max_size=3),
    max_leaves=8,
)


def oracle(target, patch):
    """RFC 7396, section 2, word for word."""
    if not isinstance(patch, dict):
        return patch
    target = copy.deepcopy(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = oracle(target.get(name), value)
    return target


def leaves(value, path=()):
    """Every leaf of an object by path; an empty object is one."""
    if isinstance(value, dict) and value:
        return {
            key: leaf for name, child in value.items() for key, leaf in leaves(child, (*path, name)).items()
        }
    return {path: value}


def version_at(metadata, path):
    for name in path:
        metadata = metadata[name]
    return metadata["$lastUpdatedVersion"]


@given(objects, patches)
def test_merging_is_rfc_7396(values, patch):
    before = copy.deepcopy(values)
    assert is_same(merge(values, patch), oracle(values, patch))
    assert is_same(values, before), "the old values are left alone"


@given(objects, objects)
def test_the_diff_for_clients_turns_the_old_into_the_new(old, new):
    assert is_same(merge(old, diff_for_client(old, new)), new)


@given(st.lists(st.tuples(st.booleans(), objects | patches), min_size=1, max_size=5))
def test_a_leafs_version_is_the_write_that_last_changed_it(writes):
    twin = new_twin(T1)
    expected: dict = {}
    for number, (whole, values) in enumerate(writes):
        old = leaves(twin.desired.values)
        twin = replace_desired(twin, values, T2) if whole else patch_desired(twin, values, T2)
        assert twin.desired.version == number + 2
        new = leaves(twin.desired.values)
        expected = {
            path: expected[path] if path in old and is_same(old[path], value) else number + 2
            for path, value in new.items()
            if path
        }
        actual = {path: version_at(twin.desired.metadata, path) for path in expected}
        assert actual == {
            path: max(version, actual[path] if new[path] == {} else 0) for path, version in expected.items()
        }
        for path, version in expected.items():
            for depth in range(1, len(path)):
                assert version_at(twin.desired.metadata, path[:depth]) >= version
