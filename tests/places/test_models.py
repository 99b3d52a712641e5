"""Reading a workspace's model versions: MLflow with Microsoft's plugin, in a process of its own.

The plugin's client is real; the answers are the stub's, in the shapes that client parses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.azureml_stub.workspace import API, ROOT, TENANT, Azure

SCRIPT = """
import json, pathlib, sys, tempfile
from edgeferry.adapters.tracking import MlflowTracking
folder = pathlib.Path(tempfile.mkdtemp())
tracking = MlflowTracking(sys.argv[1], folder, folder)
found = tracking.find_version("demo", "2")
newest = tracking.find_version("demo")
page = tracking.download(found, "predictions/predictions.csv").read_text()
columns = [[column.name, column.type] for column in found.columns]
print(json.dumps([found.run_id, dict(found.metrics), columns, newest.version, page]))
"""
SIGNATURE = json.dumps([{"name": "length", "type": "double", "required": True}])
MLMODEL = f"signature:\n  inputs: '{SIGNATURE}'\n".encode()


def test_a_version_with_metrics_signature_and_predictions_is_read_from_the_workspace(azure: Azure) -> None:
    azure.models.register("demo", "2", "run-two", {"mse": 0.5}, {"model/MLmodel": MLMODEL})
    azure.models.register("demo", "10", "run-ten", {"mse": 0.4}, {"model/MLmodel": MLMODEL})
    azure.models.add_artifact("run-two", "predictions/predictions.csv", b"length,total\n")
    environment = {
        **os.environ,
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": "44444444-0000-0000-0000-000000000000",
        "AZURE_CLIENT_SECRET": "SECRETCLIENT",
    }
    uri = f"azureml://{API}/mlflow/v1.0{ROOT}"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, uri], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    run, metrics, columns, newest, page = json.loads(done.stdout)
    assert (run, metrics, columns) == ("run-two", {"mse": 0.5}, [["length", "double"]])
    assert newest == "10"
    assert page == "length,total\n"
    assert "SECRET" not in done.stderr
