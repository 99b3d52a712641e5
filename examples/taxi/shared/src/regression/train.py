"""Fit an estimator of scikit-learn; keep the held-out rows and the model, as MLflow saves it."""

import argparse
import ast
import importlib
from importlib.metadata import version
from pathlib import Path

import mlflow.sklearn
import pandas as pd
from mlflow.models import infer_signature
from sklearn.base import RegressorMixin
from sklearn.model_selection import train_test_split

from regression import prediction_of

LIBRARIES = ("scikit-learn", "numpy", "pandas", "skops")
OWN_TYPES = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
"""Loaded from a saved model without a question; MLflow trusts all other types of scikit-learn by itself."""


def make_estimator(path: str, parameters: str = "") -> RegressorMixin:
    """The regressor at `path`, such as sklearn.linear_model.Ridge, made with `alpha=0.5, positive=True`."""
    module, _, name = path.rpartition(".")
    if not module.startswith("sklearn."):
        raise SystemExit(
            f"estimator is {path}, expected a class of scikit-learn such as sklearn.linear_model.Ridge"
        )
    try:
        kind = getattr(importlib.import_module(module), name)
        call = ast.parse(f"made({parameters})", mode="eval").body
        if call.args:
            raise ValueError("each needs a name")
        return kind(**{word.arg: ast.literal_eval(word.value) for word in call.keywords})
    except (ImportError, AttributeError, TypeError, ValueError, SyntaxError) as error:
        raise SystemExit(
            f"estimator {path} with parameters {parameters!r} cannot be made: {error}"
        ) from error


def split(features: pd.DataFrame, test_share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to learn from and the rows held out."""
    learn, held_out = train_test_split(features, test_size=test_share, random_state=seed)
    return learn, held_out


def fit(estimator: RegressorMixin, learn: pd.DataFrame, target: str) -> RegressorMixin:
    """The estimator, fitted on every column but the target."""
    return estimator.fit(learn.drop(columns=target), learn[target])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--estimator", required=True)
    parser.add_argument("--parameters", default="")
    parser.add_argument("--test-share", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    arguments = parser.parse_args()
    target = arguments.target
    features = pd.read_csv(arguments.features / "features.csv")
    learn, held_out = split(features, arguments.test_share, arguments.seed)
    model = fit(make_estimator(arguments.estimator, arguments.parameters), learn, target)
    held_out.to_csv(arguments.held_out / "held_out.csv", index=False)
    inputs = learn.drop(columns=target)
    mlflow.sklearn.save_model(
        model,
        arguments.model,
        signature=infer_signature(inputs, pd.DataFrame({prediction_of(target): model.predict(inputs)})),
        skops_trusted_types=OWN_TYPES,
        pip_requirements=[f"{name}=={version(name)}" for name in LIBRARIES],
    )
    print(f"{type(model).__name__} fitted on {len(learn)} rows, {len(held_out)} held out")


if __name__ == "__main__":
    main()
