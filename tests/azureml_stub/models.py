"""The workspace's MLflow, as far as reading goes: model versions, their runs, their artifacts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.azureml_stub.proxy import Answer, Request


@dataclass
class Models:
    """Registered versions; `host` and `root` are the workspace's address."""

    host: str
    root: str
    storage: str
    blobs: dict[str, bytes]
    versions: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    """Paths, by run."""

    def register(
        self, name: str, version: str, run: str, metrics: dict[str, float], files: dict[str, bytes]
    ) -> None:
        source = f"{self._uri(run)}/model"
        self.versions.append({"name": name, "version": version, "run_id": run, "source": source})
        self.metrics[run] = metrics
        for path, content in files.items():
            self.add_artifact(run, path, content)

    def add_artifact(self, run: str, path: str, content: bytes) -> None:
        self.artifacts.setdefault(run, []).append(path)
        self.blobs[f"{run}/{path}"] = content

    def _uri(self, run: str) -> str:
        return f"azureml://{self.host}/mlflow/v2.0{self.root}/experiments/trials/runs/{run}/artifacts"

    def answer(self, request: Request) -> Answer | None:
        """None when the request is about something else."""
        route = request.path.rpartition("/mlflow/")[2]
        if route == "registered-models/get":
            name = request.query["name"]
            if name in {version["name"] for version in self.versions}:
                return Answer(200, {"registered_model": {"name": name}})
            return Answer(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"no model {name}"})
        if route == "model-versions/search":
            return Answer(200, {"model_versions": self.versions})
        if route == "model-versions/get-download-uri":
            wanted = request.query["name"], request.query["version"]
            found = next(v for v in self.versions if (v["name"], v["version"]) == wanted)
            return Answer(200, {"artifact_uri": found["source"]})
        if route == "runs/get":
            run = request.query["run_id"]
            values = [{"key": k, "value": v, "timestamp": 0, "step": 0} for k, v in self.metrics[run].items()]
            info = {"run_id": run, "experiment_id": "trials", "status": "FINISHED"}
            run_info = {**info, "artifact_uri": self._uri(run), "lifecycle_stage": "active"}
            return Answer(200, {"run": {"info": run_info, "data": {"metrics": values}}})
        if not request.path.startswith("/history/") or "/artifacts" not in request.path:
            return None
        run = request.path.partition("/runs/")[2].split("/")[0]
        if request.path.endswith("/contentinfo"):
            path = request.query["path"]
            uri = f"https://{self.storage}/artifacts/{run}/{quote(path)}?sv=2024&sig=SECRETSIGNATURE"
            return Answer(200, {"origin": "ExperimentRun", "container": run, "path": path, "contentUri": uri})
        found_paths = [{"path": path, "container": run} for path in self.artifacts[run]]
        return Answer(200, {"value": found_paths})
