"""The step that registers a model that was there: what it refuses, as its template has it, run here."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LinearRegression

from edgeferry.adapters.templates import TEMPLATES

NEWEST = max(TEMPLATES.iterdir(), key=lambda folder: int(folder.name[1:]))
ROWS = pd.DataFrame({"flow": [1.0, 2.0], "head": [3.0, 4.0]})


def step(form: str, target: str = "") -> Any:
    """The step's module as it is written for a model of that form."""
    options = yaml.safe_load((NEWEST / "copier.yml").read_text())["_envops"]
    text = (NEWEST / "given/src/(@name@)/register.py.jinja").read_text()
    answers = {
        "form": form,
        "name": "pump",
        "target": target,
        "requirements": ["scikit-learn==1.9.1", "numpy>=2", "pandas"],
    }
    written = jinja2.Environment(**options).from_string(text).render(answers)
    module = ModuleType("register")
    exec(compile(written, f"register.py of {form}", "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def pickled() -> Any:
    return step("pickle")


@pytest.mark.parametrize(
    ("names", "count", "says"),
    [
        pytest.param(["flow", "level"], 2, "the sample lacks level\nfix: add them", id="a column less"),
        pytest.param(None, 3, "takes 3 columns and does not name them; the sample has 2", id="another count"),
    ],
)
def test_a_sample_that_does_not_fit_is_told_with_the_columns(
    pickled: Any, names: list[str] | None, count: int, says: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        pickled.pick(ROWS, names, count)
    assert says in str(ended.value)


def test_a_name_that_a_library_wrote_with_another_blank_is_the_same_column(pickled: Any) -> None:
    rows = ROWS.rename(columns={"head": "head (m)"})
    assert list(pickled.pick(rows, ["head_(m)", "flow"], 2).columns) == ["head_(m)", "flow"]


def test_the_truth_is_left_out_and_texts_are_answers(tmp_path: Path) -> None:
    module = step("pickle", target="kind")
    (tmp_path / "rows.csv").write_text("flow,kind,site\n1,NA,NA\n,b,south\n")
    rows = module.read_rows(tmp_path / "rows.csv")
    assert list(rows.columns) == ["flow", "site"]
    assert (rows["site"].tolist(), rows["flow"].isna().tolist()) == (["NA", "south"], [False, True])
    said = module.answer(lambda table: np.array(["1", "fine"]), rows)
    assert said.tolist() == ["1", "fine"]
    assert [str(kind) for kind in module.sign(rows, said).outputs.input_types()] == ["DataType.string"]


def test_columns_are_put_in_the_models_order_and_others_are_left_out(pickled: Any) -> None:
    rows = ROWS.assign(power=[0, 0])
    assert list(pickled.pick(rows, ["head", "flow"], 2).columns) == ["head", "flow"]
    assert list(pickled.pick(ROWS, None, 2).columns) == ["flow", "head"]


@pytest.mark.parametrize(
    ("predict", "says"),
    [
        pytest.param(lambda _: [["warm"] * 2] * 2, "of shape (2, 2)", id="two words a row"),
        pytest.param(lambda _: [[1, 2], [3, 4]], "of shape (2, 2)", id="two numbers a row"),
        pytest.param(lambda _: [1.0, float("nan")], "one finite number or one text a row", id="no number"),
        pytest.param(lambda rows: rows["level"], "does not take the sample's rows: KeyError", id="an error"),
    ],
)
def test_answers_that_no_device_could_give_are_told_with_the_fix(
    pickled: Any, predict: Any, says: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        pickled.answer(predict, ROWS)
    assert says in str(ended.value)
    assert "\nfix: " in str(ended.value)


def test_a_pickle_of_another_scikit_learn_is_told_with_the_version_to_write(
    pickled: Any, tmp_path: Path
) -> None:
    import sklearn

    here = sklearn.__version__.encode()
    other = here[:-1] + (b"0" if here[-1:] != b"0" else b"1")
    data = pickle.dumps(LinearRegression().fit(ROWS, [1, 2]))
    (tmp_path / "pump.pkl").write_bytes(data.replace(here, other))
    with pytest.raises(SystemExit) as ended:
        pickled.load(tmp_path / "pump.pkl")
    assert f"fix: write scikit-learn=={other.decode()} in environment/conda.yml" in str(ended.value)


def test_a_library_that_the_pickle_needs_and_nobody_named_is_told(pickled: Any, tmp_path: Path) -> None:
    (tmp_path / "pump.pkl").write_bytes(b"cmy_features\nScaler\n.")
    with pytest.raises(SystemExit) as ended:
        pickled.load(tmp_path / "pump.pkl")
    assert "pump.pkl does not load: No module named 'my_features'" in str(ended.value)
    assert "fix: name the library that has my_features in environment/conda.yml" in str(ended.value)


@pytest.mark.parametrize("form", ["pickle", "skops", "onnx", "mlflow"])
def test_numbers_are_doubles_whatever_the_sample_wrote(form: str, tmp_path: Path) -> None:
    module = step(form)
    (tmp_path / "rows.csv").write_text("flow,open,site\n1,True,north\n2,False,south\n")
    (tmp_path / "rows.json").write_text('[{"flow": 1, "open": true, "site": "north"}]')
    for file in ("rows.csv", "rows.json"):
        rows = module.read_rows(tmp_path / file)
        assert [str(kind) for kind in rows.dtypes[:2]] == ["float64", "float64"]
        signature = module.sign(rows, np.ones(1))
        assert [str(kind) for kind in signature.inputs.input_types()] == [
            "DataType.double",
            "DataType.double",
            "DataType.string",
        ]
    assert np.asarray(module.answer(lambda table: table["flow"], rows)).tolist() == [1.0]
