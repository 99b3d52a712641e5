"""Registers what was trained, with its report."""

import argparse
import json
from pathlib import Path

import mlflow
from mlflow import MlflowClient


def main(model_metadata, model_name, score_report, build_reference):
    metadata = json.loads(Path(model_metadata).read_text())
    report = json.loads((Path(score_report) / "score.txt").read_text())
    version = mlflow.register_model(metadata["run_uri"], model_name).version
    client = MlflowClient()
    client.set_model_version_tag(model_name, version, "build_reference", build_reference)
    for name, value in report.items():
        client.set_model_version_tag(model_name, version, name, value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("model_metadata", "model_name", "score_report", "build_reference"):
        parser.add_argument("--" + name)
    given = parser.parse_args()
    main(given.model_metadata, given.model_name, given.score_report, given.build_reference)
