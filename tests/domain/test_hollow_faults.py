"""Faults of hollow devices: the file's words, and whom they hit."""

from __future__ import annotations

import pytest

from edgeferry.domain.hollow import manner
from edgeferry.domain.hollow_device import Hollow, Pace
from edgeferry.domain.hollow_faults import KINDS, Fault, choose_faults, parse_faults
from edgeferry.domain.hollow_traffic import (
    OUTPUTS,
    STRAY,
    STRAY_TEXT,
    TEXTS,
    Manner,
    Traffic,
    serve,
    stray_for,
)
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.domain.sketch import TEXT_BINS, band, outside
from edgeferry.errors import UsageError


def test_a_file_says_who_what_and_when() -> None:
    said = [
        {"devices": "0.5 %", "kind": "errors", "rate": 0.05},
        {"devices": ["a", "b"], "kind": "offline", "from_s": 10, "until_s": 20},
        {"devices": "tags.site = 'north'", "kind": "dead", "module": "taxi", "digest": "sha256:4b"},
        {"kind": "slow_start", "seconds": 30},
    ]
    assert parse_faults(said) == (
        Fault("errors", share=0.005, rate=0.05),
        Fault("offline", names=frozenset({"a", "b"}), from_s=10, until_s=20),
        Fault("dead", condition="tags.site = 'north'", module="taxi", digest="sha256:4b"),
        Fault("slow_start", seconds=30),
    )
    assert parse_faults(None) == ()


@pytest.mark.parametrize(
    ("said", "problem", "fix"),
    [
        pytest.param({"kind": "dead"}, "no list", "kind", id="no list"),
        pytest.param(["dead"], "item 1: this is no mapping", "devices", id="a bare word"),
        pytest.param([{"kind": "ded"}], "kind 'ded'", "dead", id="a kind with a slip"),
        pytest.param(
            [{"kind": "dead"}, {"kind": "dead", "form_s": 1}], "item 2", "from_s", id="a key with one"
        ),
        pytest.param([{"kind": "dead", "devices": "150 %"}], "no share", "0.5 %", id="too large a share"),
        pytest.param([{"kind": "dead", "devices": "tags.a ="}], "devices:", "", id="half a condition"),
        pytest.param([{"kind": "dead", "from_s": 9, "until_s": 9}], "not after", "leave", id="no time"),
        pytest.param([{"kind": "errors", "rate": 7}], "more than 1", "0.07", id="a rate in per cent"),
        pytest.param([{"kind": "dead", "seconds": "x"}], "no number", "seconds", id="a text for a number"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_the_fix(said: object, problem: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_faults(said, "faults.yaml")
    assert problem in caught.value.problem
    assert "faults.yaml" in caught.value.problem
    assert fix in caught.value.fix


def test_a_share_is_drawn_by_the_seed() -> None:
    faults = (Fault("dead", share=0.1),)
    hit = [
        {f"d{number}" for number in range(2000) if choose_faults(faults, f"d{number}", {}, seed)}
        for seed in (1, 1, 2)
    ]
    assert hit[0] == hit[1] != hit[2]
    assert 150 < len(hit[0]) < 250


def test_a_condition_and_names_choose_devices() -> None:
    faults = (Fault("dead", condition="tags.site = 'north'"), Fault("offline", names=frozenset({"d1"})))
    kinds = [
        [fault.kind for fault in choose_faults(faults, device, {"tags": {"site": site}}, 1)]
        for device, site in (("d1", "south"), ("d2", "north"))
    ]
    assert kinds == [["offline"], ["dead"]]


def test_a_sound_version_leaves_its_band_as_seldom_as_said_and_a_bad_one_as_often() -> None:
    history = serve(Traffic(), 1, 100_000, Manner())
    within = band(history.outputs)
    good = serve(Traffic(), 2, 50_000, Manner())
    bad = serve(Traffic(), 3, 50_000, Manner(stray=stray_for(0.07)))
    assert 0.005 < outside(good.outputs, within) / 50_000 < 0.025
    share = (outside(bad.outputs, within) - bad.outputs[STRAY]) / 50_000
    assert 0.045 < bad.outputs[STRAY] / 50_000 < 0.056
    assert share < 0.025
    assert STRAY not in OUTPUTS.bins


def test_a_hollow_model_may_answer_texts() -> None:
    good = serve(Traffic(), 2, 5000, Manner(texts=True)).outputs
    bad = serve(Traffic(), 3, 5000, Manner(texts=True, stray=0.2)).outputs
    assert good.keys() == bad.keys() == set(TEXTS.bins)
    assert good.keys() <= set(TEXT_BINS)
    assert 0.08 < good[STRAY_TEXT] / 5000 < 0.12
    assert 0.24 < bad[STRAY_TEXT] / 5000 < 0.32


def test_a_version_answers_texts_where_a_fault_says_so() -> None:
    hollow = Hollow("d1", 1, 0.0, (Fault("answers_texts", module="taxi", digest="sha256:4b"),), Pace())
    specs = [ModuleSpec("taxi", f"registry.local/taxi@sha256:{digest}") for digest in ("4b", "9c")]
    assert [manner(hollow, spec, 1.0).texts for spec in specs] == [True, False]


def test_requests_are_counted_once_however_they_are_cut() -> None:
    whole = serve(Traffic(), 5, 300, Manner(errors=0.1, stray=0.1))
    parts = Traffic()
    for until in (7, 7, 100, 299, 300):
        parts = serve(parts, 5, until, Manner(errors=0.1, stray=0.1))
    assert parts == whole
    assert whole.errors + sum(whole.outputs.values()) == sum(whole.latency.values()) == whole.requests


def test_every_kind_says_what_it_does() -> None:
    assert all(text for text in KINDS.values())
