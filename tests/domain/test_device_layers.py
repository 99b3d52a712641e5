import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.device_layers import Aim, choose, find_units, is_same
from edgeferry.domain.manifest import ModuleSpec


def spec(name, image="a:1", layer=""):
    return ModuleSpec(name=name, image=image, layer=layer)


def specs(*given_specs):
    return {one.name: one for one in given_specs}


def hash_of(modules):
    return "+".join(f"{name}={one.image}" for name, one in sorted(modules.items()))


def groups(desired, good):
    return [sorted(unit.modules) for unit in find_units(desired, good, hash_of)]


@pytest.mark.parametrize(
    ("desired", "good", "found"),
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param([spec("a"), spec("b")], [], [["a"], ["b"]], id="no layer: each alone"),
        pytest.param([spec("a", layer="L"), spec("b", layer="L")], [], [["a", "b"]], id="one layer"),
        pytest.param([spec("a", layer="L"), spec("b", layer="M")], [], [["a"], ["b"]], id="two layers"),
        pytest.param(
            [spec("a", layer="L2")],
            [spec("a", layer="L1"), spec("b", layer="L1")],
            [["a", "b"]],
            id="what the old layer brought moves with its successor",
        ),
        pytest.param(
            [spec("a", layer="L2"), spec("b", layer="M")],
            [spec("a", layer="L1"), spec("b", layer="L1")],
            [["a", "b"]],
            id="a layer that was split goes back as one",
        ),
        pytest.param([], [spec("a", layer="L")], [["a"]], id="a layer that is gone"),
    ],
)
def test_units(desired, good, found):
    assert groups(specs(*desired), specs(*good)) == found


NAMES = st.sampled_from("abcdef")
SPECS = st.dictionaries(NAMES, st.sampled_from(["", "L", "M", "N"])).map(
    lambda layers: {name: spec(name, layer=layer) for name, layer in layers.items()}
)


@given(SPECS, SPECS)
def test_every_module_is_in_one_unit_and_no_layer_is_in_two(desired, good):
    units = find_units(desired, good, hash_of)
    named = [name for unit in units for name in unit.modules]
    assert sorted(named) == sorted({**desired, **good})
    for modules in (desired, good):
        for layer in {one.layer for one in modules.values()} - {""}:
            members = {name for name, one in modules.items() if one.layer == layer}
            assert sum(bool(members & unit.modules) for unit in units) == 1


OLD, NEW = specs(spec("a", "a:1")), specs(spec("a", "a:2"))
(UNIT,) = find_units(NEW, OLD, hash_of)
(FIRST,) = find_units(NEW, {}, hash_of)


@pytest.mark.parametrize(
    ("unit", "quarantined", "refusals", "keeps", "aim"),
    [
        pytest.param(UNIT, {}, {}, {}, Aim(UNIT, "desired", NEW), id="what is desired"),
        pytest.param(
            UNIT,
            {UNIT.hash: "crashed"},
            {},
            {},
            Aim(UNIT, "rolled back", OLD, "layer a was rolled back: crashed"),
            id="what failed is not tried again",
        ),
        pytest.param(
            FIRST, {FIRST.hash: "crashed"}, {}, {}, Aim(FIRST, "desired", NEW), id="nothing to go back to"
        ),
        pytest.param(UNIT, {"other": "x"}, {}, {}, Aim(UNIT, "desired", NEW), id="something else failed"),
        pytest.param(
            UNIT,
            {},
            {"a": ["no", "neither"]},
            {},
            Aim(UNIT, "refused", OLD, "layer a is refused: no; neither"),
            id="the owner refuses it",
        ),
        pytest.param(
            UNIT,
            {},
            {"a": ["no"]},
            {"a": ["no"]},
            Aim(UNIT, "refused", {}, "layer a is refused: no"),
            id="and what was proven",
        ),
    ],
)
def test_choice(unit, quarantined, refusals, keeps, aim):
    assert choose(unit, quarantined, refusals, keeps) == aim


def test_what_differs_in_its_layer_only_is_the_same():
    assert is_same(specs(spec("a", layer="L")), specs(spec("a", layer="M")))
    assert not is_same(specs(spec("a")), specs(spec("a", "a:2")))
    assert not is_same(specs(spec("a")), specs())
