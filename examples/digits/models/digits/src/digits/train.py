"""Fit the logistic regression; keep the held-out rows and the model, as MLflow saves it."""

import argparse
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from digits.columns import FEATURES, PREDICTION, TARGET

LIBRARIES = ("scikit-learn", "numpy", "pandas", "skops")


def split(features: pd.DataFrame, test_share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to learn from and the rows held out, every digit in its share in both."""
    learn, held_out = train_test_split(
        features, test_size=test_share, random_state=seed, stratify=features[TARGET]
    )
    return learn, held_out


def fit(learn: pd.DataFrame) -> Pipeline:
    """The model, fitted on the sixty-four pixels."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    return model.fit(learn[FEATURES], learn[TARGET])


def main() -> None:
    # Here, so that the tests of the functions above need neither; skops first, whose import searches every
    # module that is loaded: seconds after MLflow's two thousand.
    import skops.io  # noqa: F401

    # isort: split
    import mlflow.sklearn
    from mlflow.models import infer_signature

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--test-share", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    arguments = parser.parse_args()
    features = pd.read_csv(arguments.features / "features.csv").astype(dict.fromkeys(FEATURES, "float64"))
    learn, held_out = split(features, arguments.test_share, arguments.seed)
    model = fit(learn)
    held_out.to_csv(arguments.held_out / "held_out.csv", index=False)
    answers = pd.DataFrame({PREDICTION: model.predict(learn[FEATURES])})
    mlflow.sklearn.save_model(
        model,
        arguments.model,
        signature=infer_signature(learn[FEATURES], answers),
        pip_requirements=[f"{name}=={version(name)}" for name in LIBRARIES],
    )
    print(f"fitted on {len(learn)} digits, {len(held_out)} held out")


if __name__ == "__main__":
    main()
