"""Fits the model, and logs it."""

import argparse
import json
import pickle
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split


def main(training_data, test_data, model_output, model_metadata):
    rows = pd.read_csv(Path(training_data) / "features.csv")
    learn, held_out = train_test_split(rows, test_size=0.3, random_state=7)
    columns = learn.drop(columns="cost")
    model = LinearRegression().fit(columns, learn["cost"])
    held_out.to_csv(Path(test_data) / "test.csv", index=False)
    (Path(model_output) / "model.sav").write_bytes(pickle.dumps(model))
    with mlflow.start_run() as run:
        mlflow.sklearn.log_model(
            model,
            "model",
            signature=infer_signature(columns, model.predict(columns)),
            pip_requirements=["scikit-learn"],
        )
    metadata = {"run_id": run.info.run_id, "run_uri": f"runs:/{run.info.run_id}/model"}
    Path(model_metadata).write_text(json.dumps(metadata))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("training_data", "test_data", "model_output", "model_metadata"):
        parser.add_argument("--" + name)
    given = parser.parse_args()
    main(given.training_data, given.test_data, given.model_output, given.model_metadata)
