"""Writes an MLflow scikit-learn model as an ONNX graph in doubles: python sklearn_to_onnx.py FOLDER SCRATCH.

A script of its own, run by the interpreter of the environment that trained the model. It knows linear
models and classifiers, pipelines that scale before them, and histogram gradient boosting. The graph computes
in doubles throughout: rounded to floats, an input beside a split of a tree takes another branch, and the
answer is off by a whole leaf. When the model is none of these it exits with 1 and {"reason", "fix"} on
standard output.

It reads SCRATCH/rows.json, rows the model was not trained on, and writes SCRATCH/model.onnx and
SCRATCH/edges.json: {"rows", "answers"}, rows made from those at, just above and just below splits of the
trees, with the library's own answers.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

OPSETS = (("", 21), ("ai.onnx.ml", 5))
IR_VERSION = 10
RUNS = "use a linear model or HistGradientBoostingRegressor, with StandardScaler before it or not"
MOST_EDGES = 160
"""How many splits get rows beside them, three each."""


class ConversionError(Exception):
    """Why the model cannot be written as a graph in doubles."""

    def __init__(self, reason: str, fix: str = RUNS) -> None:
        super().__init__(reason)
        self.fix = fix


class Graph:
    """Nodes and constants that grow from the input `x` on."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: Any, dtype: Any = np.float64) -> str:
        """The name of a constant tensor, of doubles unless told otherwise."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=dtype), name))
        return name

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        """The name of the new node's output."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name


def convert(model: Any) -> bytes:
    """The graph of a fitted model: one row of doubles in, one double out, or one text where its classes are
    texts; ConversionError with the reason."""
    graph = Graph()
    answer = write_model(graph, "x", model)
    graph.nodes.append(helper.make_node("Identity", [answer], ["y"]))
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "edgeferry",
            [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["rows", int(model.n_features_in_)])],
            [helper.make_tensor_value_info("y", find_kind(model), ["rows", 1])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in OPSETS],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString(deterministic=True))


def find_kind(model: Any) -> int:
    """The type of its answers in ONNX."""
    texts = np.asarray(getattr(model, "classes_", 0.0)).dtype.kind in "UO"
    return int(TensorProto.STRING if texts else TensorProto.DOUBLE)


def write_model(graph: Graph, x: str, model: Any) -> str:
    """The output's name of any model this script knows, reading its input from `x`."""
    kind = type(model).__name__
    if kind == "Pipeline":
        for _, step in model.steps[:-1]:
            x = write_transformer(graph, x, step)
        return write_model(graph, x, model.steps[-1][1])
    if kind == "HistGradientBoostingRegressor":
        return write_trees(graph, x, model)
    if type(model).__module__.startswith("sklearn.linear_model.") and hasattr(model, "coef_"):
        return write_linear(graph, x, model)
    raise ConversionError(f"{kind} is not among the models that can be written in doubles")


def write_transformer(graph: Graph, x: str, step: Any) -> str:
    """The output's name of a step before the model."""
    kind = type(step).__name__
    if step in (None, "passthrough"):
        return x
    if kind != "StandardScaler":
        raise ConversionError(f"the pipeline's step {kind} cannot be written in doubles")
    if step.mean_ is not None and step.with_mean:
        x = graph.node("Sub", [x, graph.constant(step.mean_)])
    if step.scale_ is not None and step.with_std:
        x = graph.node("Div", [x, graph.constant(step.scale_)])
    return x


def write_linear(graph: Graph, x: str, model: Any) -> str:
    """x · coefficients + intercept; of a classifier, the class whose score is highest."""
    if getattr(model, "classes_", None) is not None:
        return write_linear_classes(graph, x, model)
    if type(model).__name__ in ("PoissonRegressor", "GammaRegressor", "TweedieRegressor"):
        raise ConversionError(f"{type(model).__name__} has a link function")
    coefficients = np.asarray(model.coef_, dtype=np.float64)
    if coefficients.ndim == 2 and coefficients.shape[0] != 1:
        raise ConversionError(
            f"the model has {coefficients.shape[0]} outputs", "train one model for each output"
        )
    product = graph.node("MatMul", [x, graph.constant(coefficients.reshape(-1, 1))])
    intercept = np.asarray(model.intercept_, dtype=np.float64).reshape(-1)
    return graph.node("Add", [product, graph.constant(intercept)])


def write_linear_classes(graph: Graph, x: str, model: Any) -> str:
    """The label, a number or a text, of the class with the highest score; the first of equals, as in
    numpy."""
    labels = np.asarray(model.classes_)
    if labels.dtype.kind not in "biuf" and not all(isinstance(label, str) for label in labels):
        raise ConversionError(
            "its classes are neither numbers nor texts", "train it with classes of one kind"
        )
    coefficients = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    product = graph.node("MatMul", [x, graph.constant(coefficients.T)])
    scores = graph.node("Add", [product, graph.constant(np.reshape(model.intercept_, -1))])
    if len(labels) == 2:  # one score: the second class from above zero
        scores = graph.node("Concat", [graph.node("Sub", [scores, scores]), scores], axis=1)
    best = graph.node("ArgMax", [scores], axis=1, keepdims=1)
    kind = np.float64 if labels.dtype.kind in "biuf" else np.object_
    return graph.node("Gather", [graph.constant(labels, kind), best])


def write_trees(graph: Graph, x: str, model: Any) -> str:
    """The baseline plus the sum of all trees; splits and leaves in doubles."""
    if model.loss != "squared_error":
        raise ConversionError(f"its loss is {model.loss!r}", "train with loss='squared_error'")
    if getattr(model, "is_categorical_", None) is not None:
        raise ConversionError("it has categorical features", "encode them as numbers before the model")
    splits: dict[str, list[Any]] = {name: [] for name in ("feature", "value", "missing")}
    for name in ("then", "then_leaf", "else", "else_leaf", "roots", "leaves"):
        splits[name] = []
    baseline = float(np.asarray(model._baseline_prediction).reshape(-1)[0])
    for (predictor,) in model._predictors:
        if len(predictor.nodes) == 1:  # a tree without a split: the same for every row
            baseline += float(predictor.nodes[0]["value"])
        else:
            add_tree(splits, predictor.nodes)
    if not splits["roots"]:
        width = int(model.n_features_in_)
        product = graph.node("MatMul", [x, graph.constant(np.zeros((width, 1)))])
        return graph.node("Add", [product, graph.constant([baseline])])
    total = graph.node(
        "TreeEnsemble",
        [x],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=1,  # sum
        post_transform=0,
        tree_roots=splits["roots"],
        nodes_featureids=splits["feature"],
        nodes_splits=numpy_helper.from_array(np.array(splits["value"], np.float64), "splits"),
        nodes_modes=numpy_helper.from_array(np.zeros(len(splits["feature"]), np.uint8), "modes"),  # all ≤
        nodes_missing_value_tracks_true=splits["missing"],
        nodes_truenodeids=splits["then"],
        nodes_trueleafs=splits["then_leaf"],
        nodes_falsenodeids=splits["else"],
        nodes_falseleafs=splits["else_leaf"],
        leaf_targetids=[0] * len(splits["leaves"]),
        leaf_weights=numpy_helper.from_array(np.array(splits["leaves"], np.float64), "leaves"),
    )
    return graph.node("Add", [total, graph.constant([baseline])])


def add_tree(splits: dict[str, list[Any]], nodes: Any) -> None:
    """One fitted tree's splits and leaves, numbered on from those already there."""
    place: dict[int, int] = {}
    split_count, leaf_count = len(splits["feature"]), len(splits["leaves"])
    for index, node in enumerate(nodes):
        if node["is_leaf"]:
            place[index] = leaf_count
            leaf_count += 1
            splits["leaves"].append(float(node["value"]))
        else:
            place[index] = split_count
            split_count += 1
    splits["roots"].append(place[0])
    for node in nodes:
        if node["is_leaf"]:
            continue
        left, right = int(node["left"]), int(node["right"])
        splits["feature"].append(int(node["feature_idx"]))
        splits["value"].append(float(node["num_threshold"]))
        splits["missing"].append(int(node["missing_go_to_left"]))
        splits["then"].append(place[left])
        splits["then_leaf"].append(int(nodes[left]["is_leaf"]))
        splits["else"].append(place[right])
        splits["else_leaf"].append(int(nodes[right]["is_leaf"]))


def make_edges(model: Any, rows: Any, whole: Any) -> Any:
    """Up to three times MOST_EDGES rows beside splits, spread over all trees; none without trees.

    Each is a row of `rows` that reaches the split, with the split's feature set to the threshold, to the next
    double above or to the next below: had it lost its last bits, it would take the other branch. Of a feature
    of whole numbers (`whole`, one truth a feature) it is the next whole number either side.
    """
    trees, scales = model, []
    while type(trees).__name__ == "Pipeline":
        scales += [read_scale(step, rows.shape[1]) for _, step in trees.steps[:-1]]
        trees = trees.steps[-1][1]
    scaled = rows
    for mean, scale in scales:
        scaled = (scaled - mean) / scale
    splits = [
        (int(node["feature_idx"]), float(node["num_threshold"]), here)
        for (predictor,) in getattr(trees, "_predictors", ())
        for node, here in reach(predictor.nodes, scaled)
    ]
    chosen = np.linspace(0, len(splits) - 1, min(MOST_EDGES, len(splits))).round().astype(int)
    edges = []
    for count, (feature, value, here) in enumerate(splits[index] for index in chosen):
        for mean, scale in reversed(scales):
            value = value * scale[feature] + mean[feature]
        values = (value, np.nextafter(value, np.inf), np.nextafter(value, -np.inf))
        for beside in (np.floor(value), np.floor(value) + 1) if whole[feature] else values:
            edge = rows[here[count % len(here)]].copy()
            edge[feature] = beside
            edges.append(edge)
    return np.array(edges).reshape(-1, rows.shape[1])


def read_scale(step: Any, width: int) -> tuple[Any, Any]:
    """Mean and scale of each column that a step before the model takes away; 0 and 1 where it does not."""
    mean = step.mean_ if getattr(step, "with_mean", False) else None
    scale = getattr(step, "scale_", None)
    return np.zeros(width) if mean is None else mean, np.ones(width) if scale is None else scale


def reach(nodes: Any, rows: Any) -> Iterator[tuple[Any, Any]]:
    """Each split of one tree that any of `rows` comes to, and the numbers of those that do."""
    waiting = [(0, np.arange(len(rows)))]
    while waiting:
        index, here = waiting.pop()
        node = nodes[index]
        if node["is_leaf"] or not len(here):
            continue
        if np.isfinite(node["num_threshold"]):  # infinite where only missing values go the other way
            yield node, here
        values = rows[here, node["feature_idx"]]
        left = (values <= node["num_threshold"]) | (np.isnan(values) & bool(node["missing_go_to_left"]))
        waiting += [(int(node["right"]), here[~left]), (int(node["left"]), here[left])]


def read_mlmodel(folder: str) -> Any:
    """What MLflow wrote about the model; {} where it wrote nothing."""
    file = Path(folder, "MLmodel")
    return (yaml.safe_load(file.read_text("utf-8")) if file.is_file() else None) or {}


def load(folder: str, said: Any) -> Any:
    """The model, as MLflow loads it by what the MLmodel `said`; ConversionError when it is none of
    scikit-learn's.

    A file of skops is read without MLflow, whose import takes longer than all else that is done here.
    """
    saved = (said.get("flavors") or {}).get("sklearn") or {}
    if saved.get("serialization_format") == "skops" and not saved.get("code"):
        from skops import io

        return io.load(Path(folder, saved["pickled_model"]), trusted=saved.get("skops_trusted_types"))
    import mlflow.sklearn

    try:
        return mlflow.sklearn.load_model(folder)
    except mlflow.exceptions.MlflowException as error:
        raise ConversionError(
            f"it is no model of MLflow's scikit-learn flavor: {error}",
            "save it with mlflow.sklearn.save_model",
        ) from error


def find_whole(said: Any, width: int) -> list[bool]:
    """Which features the MLmodel's signature says are whole numbers; none without a signature of columns."""
    signature = said.get("signature") or {}
    kinds = [column["type"] for column in json.loads(signature.get("inputs") or "[]")]
    return [kind in ("integer", "long", "boolean") for kind in kinds] or [False] * width


def ask(model: Any, rows: Any) -> Any:
    """The library's own answers, under the column names it was trained with."""
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        import pandas

        rows = pandas.DataFrame(rows, columns=names)
    return np.asarray(model.predict(rows))


def main(folder: str, scratch: str) -> int:
    """Writes graph and edge rows and returns 0, or says why not and returns 1."""
    about = read_mlmodel(folder)
    try:
        model = load(folder, about)
        Path(scratch, "model.onnx").write_bytes(convert(model))
    except ConversionError as error:
        sys.stdout.write(json.dumps({"reason": str(error), "fix": error.fix}) + "\n")
        return 1
    rows = np.array(json.loads(Path(scratch, "rows.json").read_bytes()), dtype=np.float64)
    edges = make_edges(model, rows, find_whole(about, rows.shape[1]))
    answers = ask(model, edges).tolist() if len(edges) else []
    said = {"rows": edges.tolist(), "answers": answers}
    Path(scratch, "edges.json").write_text(json.dumps(said), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
