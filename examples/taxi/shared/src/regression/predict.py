"""Predict the target of the held-out rows.

The model is loaded as MLflow loads it, but without MLflow, which takes longer to import than all else here.
"""

import argparse
from pathlib import Path

import pandas as pd

from regression import OWN_TYPES, prediction_of


def predict(model, held_out: pd.DataFrame, target: str) -> pd.DataFrame:
    """The model's columns, its prediction and the true value, row by row."""
    inputs = held_out.drop(columns=target)
    return inputs.assign(**{prediction_of(target): model.predict(inputs), target: held_out[target]})


def main() -> None:
    from skops import io  # here, so that the tests of the function above need no skops

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    arguments = parser.parse_args()
    model = io.load(arguments.model / "model.skops", trusted=OWN_TYPES)
    predictions = predict(model, pd.read_csv(arguments.held_out / "held_out.csv"), arguments.target)
    predictions.to_csv(arguments.predictions / "predictions.csv", index=False)
    print(f"{len(predictions)} rows predicted")


if __name__ == "__main__":
    main()
