"""Predict the held-out digits."""

import argparse
from pathlib import Path

import mlflow.sklearn
import pandas as pd

from digits.columns import FEATURES, PREDICTION, TARGET


def predict(model, held_out: pd.DataFrame) -> pd.DataFrame:
    """The model's columns, its prediction and the true digit, row by row."""
    return held_out[FEATURES].assign(
        **{PREDICTION: model.predict(held_out[FEATURES]), TARGET: held_out[TARGET]}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    arguments = parser.parse_args()
    model = mlflow.sklearn.load_model(str(arguments.model))
    predictions = predict(model, pd.read_csv(arguments.held_out / "held_out.csv"))
    predictions.to_csv(arguments.predictions / "predictions.csv", index=False)
    print(f"{len(predictions)} digits predicted")


if __name__ == "__main__":
    main()
