"""What an agent's release has to prove on a device: that it runs, and that every model passes since."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeferry.domain.hollow_smoke import ask_hollow
from edgeferry.domain.model import Tolerance
from edgeferry.domain.rollout import (
    Asked,
    DeviceFacts,
    State,
    Wanted,
    find_unasked,
    judge_at_deadline,
    judge_device,
)
from edgeferry.domain.smoke import CaseSet, EqualCase, SmokeRequest, Verdict, unjudged

NEW, MODEL = "sha256:" + "b" * 64, "sha256:" + "c" * 64
CASES = CaseSet("", "1", Tolerance(1e-6, 1e-6), 100.0, (EqualCase("one", ((1.0,),), (5.0,)),))
REQUEST = SmokeRequest("taxi", "http://taxi:8080", MODEL, "1", "cases", "long ago")
WANTED = Wanted("agent", NEW, frozenset({NEW}), "", "now")
AT = "2026-01-01T00:00:00Z"


def verdict(nonce: str, *kinds: str) -> Verdict:
    return ask_hollow(replace(REQUEST, nonce=nonce), CASES, kinds, AT)


def facts(**more: Any) -> DeviceFacts:
    """A device that runs the agent, with one model that passed before and since."""
    given: dict[str, Any] = {
        "device": "d",
        "connected": True,
        "has_base": True,
        "desired_image": f"r/agent@{NEW}",
        "brought_by": 3,
        "reported_version": 3,
        "status_code": 200,
        "status_reason": "",
        "image": f"r/agent@{NEW}",
        "image_hash": NEW,
        "runtime_status": "running",
        "runtime_reason": "",
        "verdict": None,
        "since": "2025-12-31T23:59:59.5000000Z",
        "asked": (Asked(REQUEST, verdict("long ago"), CASES),),
        "heard": {"taxi": verdict("now")},
    }
    return DeviceFacts(**{**given, **more})


STALE = replace(verdict("now"), digest="sha256:" + "d" * 64)
SILENT = unjudged(replace(REQUEST, nonce="now"), "Inconclusive", "taxi does not answer", AT)

BEFORE = (Asked(REQUEST, verdict("long ago", "wrong_predictions"), CASES),)
LATER = "2026-01-01T00:00:00.001+00:00"


@pytest.mark.parametrize(
    ("told", "state", "words", "at_the_deadline"),
    [
        pytest.param({}, State.SUCCEEDED, "1 model passed since it runs", State.SUCCEEDED, id="sound"),
        pytest.param({"asked": ()}, State.SUCCEEDED, "no models", State.SUCCEEDED, id="no models"),
        pytest.param(
            {"asked": (), "models": ("taxi",)},
            State.PENDING,
            "taxi: no companion was seen",
            State.TIMED_OUT,
            id="models, and no companion that is to ask them",
        ),
        pytest.param(
            {"models": ("bus", "taxi")},
            State.PENDING,
            "bus: no companion was seen",
            State.TIMED_OUT,
            id="a model that no companion is to ask",
        ),
        pytest.param(
            {"heard": {}}, State.PENDING, "not asked since", State.TIMED_OUT, id="only passed before"
        ),
        pytest.param(
            {"heard": {"taxi": verdict("now", "http_500")}},
            State.FAILED,
            "taxi: smoke test failed",
            State.FAILED,
            id="fails since",
        ),
        pytest.param(
            {"asked": (Asked(REQUEST, verdict("long ago", "wrong_predictions"), CASES),)},
            State.FAILED,
            "taxi: smoke test failed",
            State.FAILED,
            id="the companion has found a fault since, though it passed when it was asked",
        ),
        pytest.param(
            {"asked": BEFORE, "since": LATER},
            State.SUCCEEDED,
            "passed since",
            State.SUCCEEDED,
            id="mended since",
        ),
        pytest.param(
            {"asked": BEFORE, "since": LATER, "heard": {}},
            State.PENDING,
            "not asked since",
            State.TIMED_OUT,
            id="a fault that was found before, and not asked about since",
        ),
        pytest.param(
            {"asked": BEFORE, "since": ""},
            State.SUCCEEDED,
            "passed since",
            State.SUCCEEDED,
            id="since unknown",
        ),
        pytest.param(
            {"since": LATER, "heard": {"taxi": verdict("now", "http_500")}},
            State.FAILED,
            "taxi: smoke test failed",
            State.FAILED,
            id="fails when asked, whatever the clock says",
        ),
        pytest.param(
            {"heard": {"taxi": verdict("another")}},
            State.PENDING,
            "another question",
            State.INCONCLUSIVE,
            id="an answer to another question",
        ),
        pytest.param(
            {"heard": {"taxi": SILENT}}, State.PENDING, "does not answer", State.INCONCLUSIVE, id="silent"
        ),
        pytest.param(
            {"heard": {"taxi": STALE}},
            State.PENDING,
            "not asked since",
            State.INCONCLUSIVE,
            id="the model was changed since it was asked",
        ),
        pytest.param(
            {"layer_outcome": "RolledBack", "layer_reason": "no hands", "image": "r/agent@sha256:aa"},
            State.FAILED,
            "went back to what it had proven before: no hands",
            State.FAILED,
            id="went back by itself",
        ),
        pytest.param(
            {"image": "r/agent@sha256:aa"},
            State.PENDING,
            "it runs r/agent@sha256:aa",
            State.TIMED_OUT,
            id="has not changed yet",
        ),
        pytest.param(
            {"image": "r/agent@sha256:aa", "status_code": 500, "status_reason": "not pulled"},
            State.PENDING,
            "not pulled",
            State.FAILED,
            id="cannot pull it",
        ),
        pytest.param(
            {"image_hash": ""}, State.FAILED, "its agent is no container", State.FAILED, id="a program"
        ),
        pytest.param(
            {"image_hash": "sha256:ee"}, State.FAILED, "another content", State.FAILED, id="another content"
        ),
    ],
)
def test_an_agent_is_judged_by_itself_and_by_the_models(
    told: dict[str, Any], state: State, words: str, at_the_deadline: State
) -> None:
    outcome = judge_device(WANTED, facts(**told))
    assert (outcome.state, words in outcome.reason) == (state, True), outcome.reason
    assert judge_at_deadline(WANTED, facts(**told)).state is at_the_deadline


def test_an_image_that_nobody_here_can_read_is_known_by_its_digest() -> None:
    elsewhere = replace(WANTED, image_hashes=frozenset())
    assert judge_device(elsewhere, facts(image_hash="sha256:ee")).state is State.SUCCEEDED
    assert judge_device(elsewhere, facts(image_hash="")).state is State.FAILED


@pytest.mark.parametrize(
    ("told", "unasked"),
    [
        pytest.param({"heard": {}}, ("taxi",), id="not asked yet"),
        pytest.param({"heard": {"taxi": SILENT}}, ("taxi",), id="not settled"),
        pytest.param({}, (), id="settled"),
        pytest.param({"heard": {}, "image": "r/agent@sha256:aa"}, None, id="the agent is not there yet"),
        pytest.param({"heard": {}, "connected": False}, None, id="it is away"),
    ],
)
def test_models_are_asked_once_the_agent_is_there(
    told: dict[str, Any], unasked: tuple[str, ...] | None
) -> None:
    assert find_unasked(WANTED, facts(**told)) == unasked
    assert find_unasked(replace(WANTED, module="companion"), facts(**told)) is None
