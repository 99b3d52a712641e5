"""Score the predictions for the held-out digits."""

import argparse
import json
from pathlib import Path

import pandas as pd

from digits.columns import PREDICTION, TARGET


def score(predictions: pd.DataFrame) -> dict[str, float]:
    """The accuracy, over all digits and for the digit that is recognised worst."""
    right = predictions[PREDICTION] == predictions[TARGET]
    each = right.groupby(predictions[TARGET]).mean()
    return {"accuracy": float(right.mean()), "worst_digit_accuracy": float(each.min())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    arguments = parser.parse_args()
    metrics = score(pd.read_csv(arguments.predictions / "predictions.csv"))
    arguments.metrics.write_text(json.dumps(metrics, indent=2) + "\n")
    print(" ".join(f"{name}={value:.12g}" for name, value in metrics.items()))


if __name__ == "__main__":
    main()
