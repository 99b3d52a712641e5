"""Predict the target of the held-out rows."""

import argparse
from pathlib import Path

import mlflow.sklearn
import pandas as pd

from regression import prediction_of


def predict(model, held_out: pd.DataFrame, target: str) -> pd.DataFrame:
    """The model's columns, its prediction and the true value, row by row."""
    inputs = held_out.drop(columns=target)
    return inputs.assign(**{prediction_of(target): model.predict(inputs), target: held_out[target]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    arguments = parser.parse_args()
    model = mlflow.sklearn.load_model(str(arguments.model))
    predictions = predict(model, pd.read_csv(arguments.held_out / "held_out.csv"), arguments.target)
    predictions.to_csv(arguments.predictions / "predictions.csv", index=False)
    print(f"{len(predictions)} rows predicted")


if __name__ == "__main__":
    main()
