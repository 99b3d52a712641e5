"""Asks the model for the trips that it has not seen."""

import argparse
import pickle
from pathlib import Path

import pandas as pd


def main(model_input, test_data, predictions):
    model = pickle.loads((Path(model_input) / "model.sav").read_bytes())
    rows = pd.read_csv(Path(test_data) / "test.csv")
    columns = rows.drop(columns="cost")
    output = columns.copy()
    output["actual_cost"] = rows["cost"]
    output["predicted_cost"] = model.predict(columns)
    output.to_csv(Path(predictions) / "predictions.csv", index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("model_input", "test_data", "predictions"):
        parser.add_argument("--" + name)
    given = parser.parse_args()
    main(given.model_input, given.test_data, given.predictions)
