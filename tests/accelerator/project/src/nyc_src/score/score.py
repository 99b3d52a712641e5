"""Says how good the predictions are."""

import argparse
import json
from pathlib import Path

import pandas as pd


def report(rows):
    errors = rows["actual_cost"] - rows["predicted_cost"]
    return {"mse": float((errors**2).mean()), "mae": float(errors.abs().mean())}


def main(predictions, score_report):
    rows = pd.read_csv(Path(predictions) / "predictions.csv")
    (Path(score_report) / "score.txt").write_text(json.dumps(report(rows)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("predictions", "model", "score_report"):
        parser.add_argument("--" + name)
    given = parser.parse_args()
    main(given.predictions, given.score_report)
