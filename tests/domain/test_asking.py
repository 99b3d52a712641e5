"""How a model is asked, as a command to paste."""

from __future__ import annotations

import json
import shlex

import pytest

from edgeferry.domain.asking import Asking, choose_row, render_asking
from edgeferry.domain.model import Tolerance
from edgeferry.domain.smoke import Case, CaseSet, EqualCase, RefusedCase

ROW = EqualCase("held-out-0", ((1.5, "it's"), (2.0, "b")), (3.0, 4.0))
BY_NAME = EqualCase("by-name", ((1.5,),), (3.0,), ("flow",))
LONG = EqualCase("long", (("x" * 3000,),), (3.0,))
REFUSED = RefusedCase("refused", ((1.0,),))


def cases(*of: Case) -> CaseSet:
    return CaseSet("pump", "1", Tolerance(1e-9, 0), 250, of)


@pytest.mark.parametrize(
    ("found", "row"),
    [
        pytest.param(cases(REFUSED, ROW), [1.5, "it's"], id="the first that has an answer"),
        pytest.param(cases(BY_NAME), {"flow": 1.5}, id="by column"),
        pytest.param(cases(LONG), None, id="too long to paste"),
        pytest.param(cases(), None, id="no cases"),
    ],
)
def test_a_model_is_asked_a_row_of_its_cases(found: CaseSet, row: object) -> None:
    assert choose_row(found) == row
    what, command = render_asking(Asking("pump", "device-1", "127.0.0.1:32768", row))
    assert "each new container of it has another port" in what
    words = shlex.split(command)
    if row is None:
        assert words == ["curl", "http://127.0.0.1:32768/openapi.json"]
    else:
        assert words[:2] == ["curl", "http://127.0.0.1:32768/score"]
        assert json.loads(words[-1]) == {"data": [row]}
