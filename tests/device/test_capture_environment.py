"""A module's environment over its model's capture policy."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from edgeferry.device.modules.capture_environment import place_of, policy_of
from edgeferry.domain.capture_policy import CapturePolicy
from edgeferry.domain.model import Column, Tolerance
from edgeferry.wire.capture import CAPTURES_FOLDER
from edgeferry.wire.serving import ModelCard

CARD = ModelCard(
    model="taxi",
    version="3",
    columns=(Column("distance", "double"), Column("name", "string")),
    tolerance=Tolerance(0, 0),
    output="fare",
    capture=CapturePolicy(store_bytes=1_000_000, rate=0.5, always=("errors",), redact=("name",)),
)


def said(**words: str) -> dict[str, str]:
    return {f"EDGEFERRY_CAPTURES_{name.upper()}": word for name, word in words.items()}


def test_where_nothing_is_said_the_card_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    assert policy_of(CARD, {"PATH": "/bin"}) == CARD.capture
    assert capsys.readouterr().err == ""


def test_each_variable_replaces_one_member() -> None:
    every = said(
        bytes="2000000",
        age_s="3600",
        records="7",
        rate="1",
        always="errors,out_of_range",
        when_full="stop",
        durability="ack",
        redact="output",
    )
    wanted = CapturePolicy(
        store_bytes=2_000_000,
        max_age_s=3600,
        max_records=7,
        when_full="stop",
        durability="ack",
        redact=("name", "output"),
    )
    assert policy_of(CARD, every) == wanted
    assert {field.name for field in fields(CapturePolicy)} - {"enabled"} == {
        field.name
        for field in fields(CapturePolicy)
        if getattr(policy_of(CARD, every), field.name) != getattr(CARD.capture, field.name)
    }
    assert policy_of(CARD, said(always="none")).always == ()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (said(bytes="64 MB"), "EDGEFERRY_CAPTURES_BYTES: `store_bytes` is not a number"),
        (said(bytes="0"), "less than 65536"),
        (said(bytes="nan"), "not a number"),
        (said(rate="2"), "EDGEFERRY_CAPTURES_RATE: `rate` is more than 1"),
        (said(when_full="newest"), "known here: oldest, stop"),
        (said(durability="akc"), "did you mean `ack`?"),
        (said(always="eror"), "did you mean `errors`?"),
        (said(records="1.5"), "no whole number"),
    ],
)
def test_a_wrong_value_is_told_and_changes_nothing(
    words: dict[str, str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert policy_of(CARD, words) == CARD.capture
    assert told in capsys.readouterr().err


def test_no_environment_loosens_what_the_model_keeps_to_itself() -> None:
    for text in ("", "output", "off", "none", "distance,output"):
        policy = policy_of(CARD, said(redact=text))
        assert "name" in policy.redact or not policy.enabled
    off = replace(CARD, capture=CapturePolicy(enabled=False))
    assert not policy_of(off, said(rate="1", enabled="true")).enabled


def test_an_unknown_column_to_redact_turns_captures_off(capsys: pytest.CaptureFixture[str]) -> None:
    assert not policy_of(CARD, said(redact="distnace")).enabled
    assert "did you mean `distance`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environ", "place"),
    [({}, Path(CAPTURES_FOLDER)), ({"EDGEFERRY_CAPTURES": "/a"}, Path("/a"))]
    + [({"EDGEFERRY_CAPTURES": word}, None) for word in ("", "off")],
)
def test_the_store_has_a_folder_or_is_off(environ: dict[str, str], place: Path | None) -> None:
    assert place_of(environ) == place
