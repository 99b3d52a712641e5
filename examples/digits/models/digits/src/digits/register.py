"""Log model, metrics and predictions to MLflow, register a model version, and say which.

Uses only what every MLflow server of version 2 and 3 has: a folder logged as artifacts, and a version
made from it. (`log_model` needs an interface that Azure ML's server lacks.)
"""

import argparse
import json
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException


def register(name: str, model: Path, predictions: Path, metrics: dict[str, float]) -> dict[str, str]:
    """The registered version: its model's name, its number, and the run it belongs to."""
    client = MlflowClient()
    with mlflow.start_run() as run:
        mlflow.log_metrics(metrics)
        mlflow.log_artifacts(str(model), "model")
        mlflow.log_artifacts(str(predictions), "predictions")
        source = mlflow.get_artifact_uri("model")
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(name, source, run.info.run_id)
    return {"name": name, "version": str(version.version), "run_id": run.info.run_id}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--registered", type=Path, required=True)
    arguments = parser.parse_args()
    metrics = json.loads(arguments.metrics.read_text())
    registered = register(arguments.model_name, arguments.model, arguments.predictions, metrics)
    arguments.registered.write_text(json.dumps(registered) + "\n")
    print(f"{registered['name']} version {registered['version']}")


if __name__ == "__main__":
    main()
