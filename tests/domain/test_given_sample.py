"""Rows that come with a model: whether they are any, and whether the model takes them."""

from __future__ import annotations

import json

import pytest

from edgeferry.domain.given_sample import Takes, find_fit, read_sample, takes_of_signature
from edgeferry.errors import UsageError

NAMED = Takes(("flow", "head"), ("flow", "head"), 2, numbers=True)
COUNTED = Takes(count=2, numbers=True)
ANY = Takes(("flow", "site"), ("flow", "site"), 2)


@pytest.mark.parametrize(
    ("takes", "text", "notes", "missing"),
    [
        pytest.param(NAMED, "flow,head\n1,2\n", (), False, id="just its columns"),
        pytest.param(NAMED, "head,flow\n1,2\n", (), False, id="in another order"),
        pytest.param(NAMED, "head,kind,flow\n1,a,2\n", ("passed over: kind",), False, id="with another"),
        pytest.param(NAMED, "flow,head\n1,\n", ("head: values are missing",), True, id="a number is missing"),
        pytest.param(
            COUNTED, "flow,head\n1,True\n", ("in this order: flow, head",), False, id="without names"
        ),
        pytest.param(ANY, "flow,site\n1,NA\n2,north\n", (), False, id="a text that others write for none"),
        pytest.param(
            Takes(), "flow,site\n1,\n2,3\n", ("site: values",), True, id="a model that says nothing"
        ),
    ],
)
def test_rows_that_fit_are_taken_and_what_is_worth_knowing_is_said(
    takes: Takes, text: str, notes: tuple[str, ...], missing: bool
) -> None:
    fit = find_fit("r.csv", read_sample("r.csv", text), "m.pkl", takes)
    assert (fit.misfits, fit.missing, len(fit.notes)) == ((), missing, len(notes))
    assert all(words in said for words, said in zip(notes, fit.notes, strict=True))


@pytest.mark.parametrize(
    ("takes", "text", "target", "problem", "fix"),
    [
        pytest.param(
            NAMED, "flow\n1\n", "", "r.csv lacks head, which m.pkl takes", "add to r.csv: head", id="lacks"
        ),
        pytest.param(NAMED, "flow,Head\n1,2\n", "", "lacks head", "does Head stand for head?", id="misspelt"),
        pytest.param(
            COUNTED,
            "flow,head,kind\n1,2,a\n",
            "",
            "m.pkl takes 2 columns and does not name them; r.csv has 3: flow, head, kind",
            "add --target kind",
            id="the truth among them",
        ),
        pytest.param(COUNTED, "flow\n1\n", "", "takes 2 columns", "leave only those in r.csv", id="too few"),
        pytest.param(
            COUNTED, "a,b\n1,2\n", "y", "r.csv has no column y", "--target one of: a, b", id="no truth"
        ),
        pytest.param(
            NAMED, "flow,head\n1,2\n", "head", "head is a column that m.pkl takes", "leave", id="no truth"
        ),
        pytest.param(
            NAMED,
            "flow,head\n1,2\n3,x\n",
            "",
            "r.csv:3: head is 'x', and m.pkl takes numbers only",
            "in numbers",
            id="text",
        ),
        pytest.param(
            ANY,
            "flow,site\n1,a\nNA,b\n",
            "",
            "r.csv:3: flow is 'NA', which is no number",
            "empty",
            id="spelt missing",
        ),
        pytest.param(
            ANY, "flow,site\n1,a\n2,\n", "", "r.csv:3: site holds texts, and none here", "leave", id="no text"
        ),
        pytest.param(
            Takes(problem="2 inputs", fix="one"),
            "a\n1\n",
            "",
            "taken as it is: 2 inputs",
            "one",
            id="no rows do",
        ),
    ],
)
def test_rows_that_a_model_does_not_take_are_told_with_place_and_fix(
    takes: Takes, text: str, target: str, problem: str, fix: str
) -> None:
    (misfit,) = find_fit("r.csv", read_sample("r.csv", text), "m.pkl", takes, target).misfits
    assert problem in misfit.problem
    assert fix in misfit.fix


def test_a_row_of_json_is_told_by_its_number() -> None:
    columns = read_sample("r.json", '[{"flow": 1, "head": 2}, {"flow": 1, "head": "7"}]')
    (misfit,) = find_fit("r.json", columns, "m.pkl", NAMED).misfits
    assert misfit.problem == "r.json: row 2: head is '7', and m.pkl takes numbers only"


def test_a_signature_says_which_columns_must_be_there() -> None:
    inputs = [{"type": "double", "name": "flow"}, {"type": "double", "name": "site", "required": False}]
    said = takes_of_signature({"signature": {"inputs": json.dumps(inputs)}})
    assert (said.names, said.needed) == (("flow", "site"), ("flow",))
    for other in (
        None,
        {},
        {"signature": {"inputs": "["}},
        {"signature": {"inputs": '[{"type": "tensor"}]'}},
    ):
        assert takes_of_signature(other) == Takes()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param("r.csv", "a,b\n1,2\n3,x\n", id="csv"),
        pytest.param("r.csv", "\ufeffa,b\r\n1,2\r\n\r\n", id="csv of a spreadsheet"),
        pytest.param("r.json", '[{"a": 1, "b": null}, {"b": 2, "a": 3}]', id="json"),
    ],
)
def test_rows_of_named_columns_are_taken(file: str, text: str) -> None:
    read_sample(file, text)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        pytest.param("r.tsv", "a\tb\n", "r.tsv is neither .csv nor .json", id="another kind"),
        pytest.param("r.csv", "", "r.csv holds no rows", id="empty"),
        pytest.param("r.csv", "a,b\n", "r.csv holds no rows", id="names only"),
        pytest.param("r.csv", "1.5,2\n3,4\n", "r.csv:1: the first line holds numbers", id="no names"),
        pytest.param("r.csv", "a,a\n1,2\n", "r.csv:1: there is two columns a", id="a name twice"),
        pytest.param("r.csv", "a,\n1,2\n", "r.csv:1: there is a column without a name", id="no name"),
        pytest.param("r.csv", "a,b\n1,2\n1\n", "r.csv:3: 1 values for 2 columns", id="a short row"),
        pytest.param("r.json", "{", "r.json is no JSON", id="broken json"),
        pytest.param("r.json", "[[1, 2]]", "r.json is no list of objects", id="rows without names"),
        pytest.param("r.json", '[{"a": 1}, {"b": 1}]', "row 2 differs in a, b", id="other columns"),
        pytest.param("r.json", "[]", "r.json holds no rows", id="an empty list"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_line_or_row(file: str, text: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_sample(file, text)
    assert says in refused.value.problem
