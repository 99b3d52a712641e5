"""Real scikit-learn models to ONNX, in an environment of their own; answers compared through onnxruntime.

The environment stays in pytest's cache, so only the first session on a machine makes it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import uv

from edgeferry.adapters import converter
from edgeferry.adapters.converter import SklearnConverter
from edgeferry.adapters.project import ProjectFolder
from edgeferry.adapters.step_environments import StepEnvironments
from edgeferry.domain.heldout import HeldOut
from edgeferry.errors import RefusedError
from edgeferry.surroundings import child_environment
from tests.graphs import rounded_graph

# One process trains and converts all: importing scikit-learn and mlflow is what takes time.
TRAINER = """
import importlib.util, json, sys
from pathlib import Path
import numpy as np
import mlflow.sklearn
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

root, script, expressions = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
spec = importlib.util.spec_from_file_location("sklearn_to_onnx", script)
shipped = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shipped)
rng = np.random.default_rng(7)
x = np.column_stack([rng.uniform(0, 30, 900), rng.uniform(-74.09, -73.72, 900), rng.integers(0, 24, 900)])
fares = 2.5 + 2.7 * x[:, 0] + 40 * (x[:, 1] + 74) + np.where(x[:, 2] > 18, 1.0, 0.0) + rng.normal(0, 0.3, 900)
for name, expression in expressions.items():
    folder = root / name
    folder.mkdir()
    y = np.abs(fares)
    if "classes" in name:
        y = np.digitize(y, np.quantile(y, [0.3, 0.6])) * 2 + 3
    elif "yes or no" in name:
        y = (y > y.mean()).astype(int)
    elif "named" in name:
        y = np.where(y > y.mean(), "dear", "cheap")
    model = eval(expression).fit(x[:700], y[:700])
    if name in ("linear", "unknown model"):
        mlflow.sklearn.save_model(model, folder / "model", serialization_format="cloudpickle")
    if name in ("boosted trees", "scaled trees"):
        types = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
        mlflow.sklearn.save_model(model, folder / "model", skops_trusted_types=types)
    rows = x[700:]
    (folder / "rows.json").write_text(json.dumps(rows.tolist()))
    for trees in getattr(model, "_predictors", []):  # and rows at, just above and just below each split
        for node in trees[0].nodes:
            if not node["is_leaf"] and len(rows) < 5000:
                split = float(node["num_threshold"])
                beside = np.repeat(x[700:701], 3, axis=0)
                around = split, np.nextafter(split, np.inf), np.nextafter(split, -np.inf)
                beside[:, node["feature_idx"]] = around
                rows = np.vstack([rows, beside])
    np.savez(folder / "rows.npz", rows=rows, expected=model.predict(rows))
    try:
        (folder / "model.onnx").write_bytes(shipped.convert(model))
    except shipped.ConversionError as error:
        (folder / "reason").write_text(str(error))
"""

CONVERTED = {
    "linear": "LinearRegression()",
    "linear without intercept": "LinearRegression(fit_intercept=False)",
    "scaled linear": "make_pipeline(StandardScaler(), LinearRegression())",
    "half scaled ridge": "make_pipeline(StandardScaler(with_mean=False), Ridge())",
    "boosted trees": "HistGradientBoostingRegressor(max_iter=40)",
    "scaled trees": "make_pipeline(StandardScaler(), HistGradientBoostingRegressor(max_iter=5))",
    "trees of one leaf": "HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=700)",
    "three classes": "LogisticRegression(max_iter=500)",
    "scaled classes": "make_pipeline(StandardScaler(), LogisticRegression())",
    "yes or no": "LogisticRegression(max_iter=500)",
    "named labels": "LogisticRegression()",
    "one tree of two leaves": "HistGradientBoostingRegressor(max_iter=1, max_leaf_nodes=2)",
}
REFUSED = {
    "unknown model": ("RandomForestRegressor(3)", "RandomForestRegressor is not among"),
    "unknown step": ("make_pipeline(MinMaxScaler(), Ridge())", "step MinMaxScaler cannot"),
    "link function": ("PoissonRegressor()", "has a link function"),
    "wrapped": ("TransformedTargetRegressor(Ridge())", "TransformedTargetRegressor is not"),
    "another loss": ("HistGradientBoostingRegressor(loss='poisson')", "loss is 'poisson'"),
    "categories": ("HistGradientBoostingRegressor(categorical_features=[2])", "categorical features"),
}


@pytest.fixture(scope="session")
def python(pytestconfig: pytest.Config) -> Path:
    """The interpreter of the example's registering step."""
    assert pytestconfig.cache is not None
    project = ProjectFolder(Path(__file__).parents[2] / "examples" / "taxi")
    step = project.load_pipeline(project.load_model("nyc_taxi")).registering_step
    assert step is not None
    environments = StepEnvironments(pytestconfig.cache.mkdir("step-environments"), uv.find_uv_bin(), print)
    return environments.settle(step.component.environment)[0]


@pytest.fixture(scope="session")
def trained(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each model: rows, the model's own answers, and its graph or the reason why not."""
    root = tmp_path_factory.mktemp("trained")
    expressions = CONVERTED | {name: expression for name, (expression, _) in REFUSED.items()}
    script = Path(converter.__file__).with_name("sklearn_to_onnx.py")
    command = [str(python), "-I", "-c", TRAINER, str(root), str(script), json.dumps(expressions)]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), check=False)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def watched(python: Path, tmp_path: Path) -> Path:
    """The interpreter, which notes in `imported` beside it what it imports."""
    path = tmp_path / "watched"
    path.write_text(f"#!/bin/sh\nexec '{python}' -X importtime \"$@\" 2>'{tmp_path}/imported'\n")
    path.chmod(0o755)
    return path


def answers(graph: bytes, rows: Any) -> Any:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert given.type == "tensor(double)"
    assert given.shape[1] == 3
    return session.run(None, {given.name: rows})[0]


@pytest.mark.parametrize("name", CONVERTED)
def test_the_graph_answers_as_the_model_also_beside_every_split(name: str, trained: Path) -> None:
    kept = np.load(trained / name / "rows.npz")
    found = answers((trained / name / "model.onnx").read_bytes(), kept["rows"])
    assert found.shape == (len(kept["rows"]), 1)
    if kept["expected"].dtype.kind == "U":
        assert found[:, 0].tolist() == kept["expected"].tolist()
        assert {*found[:, 0]} == {"cheap", "dear"}
    else:
        np.testing.assert_allclose(found[:, 0], kept["expected"], rtol=1e-11, atol=1e-11)


def test_rounding_inputs_to_floats_would_be_seen_beside_the_splits(trained: Path) -> None:
    """The comparison above can fail: what a graph in floats does to these rows is far off."""
    kept = np.load(trained / "boosted trees" / "rows.npz")
    rounded = kept["rows"].astype(np.float32).astype(np.float64)
    found = answers((trained / "boosted trees" / "model.onnx").read_bytes(), rounded)[:, 0]
    assert np.max(np.abs(found - kept["expected"])) > 1e-3


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_be_written_in_doubles_has_a_reason(name: str, trained: Path) -> None:
    assert REFUSED[name][1] in (trained / name / "reason").read_text()
    assert not (trained / name / "model.onnx").exists()


def test_a_saved_model_is_converted_to_the_same_bytes_each_time(trained: Path, python: Path) -> None:
    converted = SklearnConverter().to_onnx(trained / "linear" / "model", python, [(1.0, 2.0, 3.0)])
    assert converted.graph == (trained / "linear" / "model.onnx").read_bytes()
    assert converted.edges == HeldOut((), ())


@pytest.mark.parametrize(
    ("name", "most", "least_crossings"),
    [
        pytest.param("boosted trees", 1e-11, 100, id="trees on raw columns"),
        # scaled back and forth, a value may come to lie beside its split by more than one double
        pytest.param("scaled trees", 1e-11, 20, id="trees on scaled columns"),
    ],
)
def test_edge_rows_lie_on_both_sides_of_splits_with_the_librarys_answers(
    name: str, most: float, least_crossings: int, trained: Path, python: Path
) -> None:
    rows = [tuple(row) for row in json.loads((trained / name / "rows.json").read_text())]
    converted = SklearnConverter().to_onnx(trained / name / "model", python, rows)
    edges = converted.edges
    assert len(edges.rows) == len(edges.predictions)
    assert 300 <= len(edges.rows) <= 500
    found = answers(converted.graph, np.array(edges.rows))[:, 0]
    assert np.max(np.abs(found - edges.predictions)) < most
    steps = np.abs(np.diff(np.reshape(edges.predictions, (-1, 3)))).max(axis=1)
    assert np.count_nonzero(steps > 1e-6) >= least_crossings
    assert converted == SklearnConverter().to_onnx(trained / name / "model", python, rows)


def test_a_model_in_a_file_of_skops_is_converted_without_mlflow(trained: Path, watched: Path) -> None:
    SklearnConverter().to_onnx(trained / "scaled trees" / "model", watched, [(1.0, -74.0, 3.0)])
    imported = watched.with_name("imported").read_text()
    assert "skops.io" in imported
    assert "mlflow" not in imported


def test_a_graph_in_floats_is_right_on_ordinary_rows_and_caught_by_edge_rows(
    trained: Path, python: Path
) -> None:
    rows = [tuple(row) for row in json.loads((trained / "boosted trees" / "rows.json").read_text())]
    converted = SklearnConverter().to_onnx(trained / "boosted trees" / "model", python, rows)
    graph = rounded_graph(converted.graph)
    ordinary = answers(graph, np.array(rows)) - answers(converted.graph, np.array(rows))
    assert np.max(np.abs(ordinary)) == 0
    off = np.abs(answers(graph, np.array(converted.edges.rows))[:, 0] - converted.edges.predictions)
    assert np.count_nonzero(off > 1e-3) > 20


def test_a_saved_model_that_does_not_convert_is_refused_with_the_reason(trained: Path, python: Path) -> None:
    with pytest.raises(RefusedError, match="RandomForestRegressor is not among") as caught:
        SklearnConverter().to_onnx(trained / "unknown model" / "model", python, [])
    assert "HistGradientBoostingRegressor" in caught.value.fix


def test_a_folder_that_is_no_model_is_refused(python: Path, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(json.dumps({"flavors": {"pytorch": {}}}))
    with pytest.raises(RefusedError, match="no model of MLflow's scikit-learn flavor"):
        SklearnConverter().to_onnx(tmp_path, python, [])


def test_an_environment_without_the_libraries_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    subprocess.run([uv.find_uv_bin(), "--quiet", "venv", str(tmp_path / "bare")], check=True)
    with pytest.raises(RefusedError, match="No module named") as caught:
        SklearnConverter().to_onnx(tmp_path, tmp_path / "bare" / "bin" / "python", [])
    assert "onnx" in caught.value.fix


def test_an_interpreter_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="could not be converted"):
        SklearnConverter().to_onnx(tmp_path, tmp_path / "python", [])
