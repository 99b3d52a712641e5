"""Runs the command of a registering step, then writes down which model version it registered.

    python -m src.record_version --model-name NAME --registered FILE [--predictions FOLDER] -- COMMAND…

FILE becomes {"name", "version", "run_id"}: of the one version that was not there before the command, never of
the highest number. The run of that version is given the model's files and the folder with the pipeline's
predictions, so that an image of the model can be compared with them. Needs MLflow and nothing else.
"""

from __future__ import annotations

import argparse
import json
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MODEL, PREDICTIONS = "registered_model", "predictions"
"""Folders below the run's artifacts."""


def versions_of(client: Any, name: str) -> dict[str, str]:
    """The run of each version of the model, by its number."""
    return {str(each.version): each.run_id or "" for each in client.search_model_versions(f"name = '{name}'")}


def find_new(before: Mapping[str, str], after: Mapping[str, str], name: str) -> tuple[str, str]:
    """The version that came new, and its run; ends the step when that is not exactly one of a run."""
    new = {version: run for version, run in after.items() if version not in before}
    if len(new) != 1:
        sys.exit(f"the step registered {len(new)} versions of {name}, and one was expected")
    ((version, run_id),) = new.items()
    if not run_id:
        sys.exit(f"version {version} of {name} names no run: register it from one, as runs:/RUN_ID/model")
    return version, run_id


def run(command: list[str]) -> None:
    """The command has ended well; a module of Python runs in this process, which has imported MLflow."""
    if command[:2] == ["python", "-m"] and len(command) > 2:
        kept, sys.argv = sys.argv, command[2:]
        try:
            runpy.run_module(command[2], run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            if ended.code:
                raise
        finally:
            sys.argv = kept
    elif code := subprocess.run(command, check=False).returncode:
        sys.exit(code)


def keep(client: Any, name: str, version: str, run_id: str, predictions: Path | None) -> None:
    """The run has the model's files and the predictions among its artifacts."""
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as folder:
        files = download_artifacts(f"models:/{name}/{version}", dst_path=folder)
        client.log_artifacts(run_id, files, MODEL)
    if predictions:
        client.log_artifacts(run_id, str(predictions), PREDICTIONS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--registered", type=Path, required=True)
    parser.add_argument("--predictions", type=Path)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    from mlflow import MlflowClient

    client = MlflowClient()
    before = versions_of(client, arguments.model_name)
    run(arguments.command)
    version, run_id = find_new(before, versions_of(client, arguments.model_name), arguments.model_name)
    keep(client, arguments.model_name, version, run_id, arguments.predictions)
    registered = {"name": arguments.model_name, "version": version, "run_id": run_id}
    arguments.registered.write_text(json.dumps(registered) + "\n", "utf-8")


if __name__ == "__main__":
    main()
