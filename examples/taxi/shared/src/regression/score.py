"""Score the predictions for the held-out rows."""

import argparse
import json
from pathlib import Path

import pandas as pd

from regression import prediction_of


def score(predictions: pd.DataFrame, target: str) -> dict[str, float]:
    """Mean squared error, mean absolute error and R2."""
    truth = predictions[target]
    errors = truth - predictions[prediction_of(target)]
    spread = ((truth - truth.mean()) ** 2).sum()
    return {
        "mse": float((errors**2).mean()),
        "mae": float(errors.abs().mean()),
        "r2": float(1 - (errors**2).sum() / spread),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    arguments = parser.parse_args()
    metrics = score(pd.read_csv(arguments.predictions / "predictions.csv"), arguments.target)
    arguments.metrics.write_text(json.dumps(metrics, indent=2) + "\n")
    print(" ".join(f"{name}={value:.12g}" for name, value in metrics.items()))


if __name__ == "__main__":
    main()
