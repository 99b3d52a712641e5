"""The registry of models: MLflow, in a SQLite file of the state folder or behind a server.

`import mlflow` costs about a second, so it happens when it is first needed. A fresh SQLite file is migrated
under a lock: processes that open a new one together break each other's migrations.
"""

from __future__ import annotations

import gc
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import yaml

from edgeferry.adapters.lock import locked
from edgeferry.domain.model import Column, ModelVersion
from edgeferry.domain.signature import find_answers
from edgeferry.errors import RefusedError, TrackingError

# Read by MLflow when it is imported; a value that somebody already set stays.
_MLFLOW_ENVIRONMENT: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # otherwise it reports every use to its makers
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # seven, with pauses, keep a person waiting for minutes
}


class MlflowTracking:
    """Implements the `Tracking` port.

    `uri`: `sqlite:////absolute/path.db` or a server's address. `artifacts`: where a SQLite registry keeps
    files. `downloads`: where files of a server are put.
    """

    def __init__(self, uri: str, artifacts: Path, downloads: Path) -> None:
        self.uri = uri
        self._artifacts = artifacts
        self._downloads = downloads
        self._opened: Any = None

    def prepare(self, experiment: str) -> None:
        """The database migrated and the experiment there, its files below `artifacts`; safe to repeat."""
        with self._translated(), self._first_one():
            client = self._client()
            if client.get_experiment_by_name(experiment) is None:
                location = self._artifacts.resolve().as_uri() if self._database else None
                client.create_experiment(experiment, artifact_location=location)

    def step_environment(self, experiment: str) -> Mapping[str, str]:
        """The environment variables with which a step's own MLflow reaches this registry."""
        variables = {
            **_MLFLOW_ENVIRONMENT,
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_REGISTRY_URI": self.uri,
            "MLFLOW_EXPERIMENT_NAME": experiment,
        }
        if self._database:
            # For experiments a step makes itself: without it their files land in its working folder.
            variables["_MLFLOW_SERVER_ARTIFACT_ROOT"] = self._artifacts.resolve().as_uri()
        return variables

    def find_version(self, model: str, version: str | None = None) -> ModelVersion | None:
        """That version of the registered model, or the newest by number; None when there is none.

        Raises TrackingError, and RefusedError when the model was saved without a signature of columns.
        """
        if self._database and not self._database.exists():
            return None
        with self._translated(), self._first_one():
            client = self._client()
            found = list(self._versions(client, model))
            if version is not None:
                found = [each for each in found if str(each.version) == version]
            if not found:
                return None
            newest = max(found, key=lambda each: int(each.version))
            source = client.get_model_version_download_uri(model, str(newest.version))
            metrics = client.get_run(newest.run_id).data.metrics if newest.run_id else {}
            mlmodel = yaml.safe_load(self._fetch(f"{source}/MLmodel", newest.run_id).read_text("utf-8"))
            return ModelVersion(
                model=model,
                version=str(newest.version),
                run_id=newest.run_id,
                metrics=dict(metrics),
                columns=_columns(mlmodel, f"{model} version {newest.version}"),
                answers=find_answers(mlmodel),
            )

    def download(self, version: ModelVersion, artifact: str) -> Path:
        """A local path of the file or folder `artifact` of the run; TrackingError when it is not there."""
        with self._translated(), self._first_one():
            base = self._client().get_run(version.run_id).info.artifact_uri
            path = self._fetch(f"{base}/{artifact}", version.run_id)
            if not path.exists():
                raise TrackingError(
                    f"the run of {version.model} version {version.version} has no artifact {artifact}",
                    fix="let the register step log it, or correct its path in model.yaml",
                )
            return path

    @property
    def _database(self) -> Path | None:
        return Path(self.uri.removeprefix("sqlite:///")) if self.uri.startswith("sqlite:///") else None

    def _client(self) -> Any:
        if self._opened is None:
            prepare_mlflow()
            if self._database:
                self._database.parent.mkdir(parents=True, exist_ok=True)
            with _garbage_left_alone():
                from mlflow import MlflowClient, set_tracking_uri

                if self.uri.startswith("azureml:"):
                    # Azure's plugin logs in to a workspace's artifacts by way of MLflow's global client alone
                    set_tracking_uri(self.uri)
                logging.getLogger("alembic").setLevel(logging.WARNING)
                self._opened = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        return self._opened

    @contextmanager
    def _first_one(self) -> Iterator[None]:
        """Alone with the database until this process has opened it once."""
        if self._database is None or self._opened is not None:
            yield
            return
        with locked(self._database.with_suffix(".lock")):
            yield

    def _versions(self, client: Any, model: str) -> Iterator[Any]:
        token = None
        while True:
            page = client.search_model_versions(f"name = '{model}'", page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _fetch(self, uri: str, run_id: str) -> Path:
        parsed = urlparse(uri)
        if parsed.scheme in ("", "file"):
            return Path(unquote(parsed.path))
        from mlflow.artifacts import download_artifacts

        folder = self._downloads / run_id
        folder.mkdir(parents=True, exist_ok=True)
        return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=self.uri))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not _is_theirs(error):
                raise
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            fix = "check that tracking.uri is right and that it answers"
            if "out-of-date database schema" in str(error):
                fix = (
                    f"pin the same mlflow-skinny in conda.yml and here, or run: mlflow db upgrade {self.uri}"
                )
            raise TrackingError(
                f"MLflow at {self.uri}: {reason}", fix=fix, retryable=_retryable(error)
            ) from error


def prepare_mlflow() -> None:
    """Makes MLflow, when it is imported, keep to itself; for whoever imports what imports it."""
    for name, value in _MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def _garbage_left_alone() -> Iterator[None]:
    """Imports what lives to the end without searching it for garbage; halves the time (2.3 s to 1.2 s)."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _is_theirs(error: Exception) -> bool:
    """Whether MLflow, what it stands on, or the file it keeps is to blame."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in (
        "mlflow",
        "sqlalchemy",
        "alembic",
        "requests",
        "azure",
        "azureml",
    )


def _retryable(error: Exception) -> bool:
    return any(word in str(error) for word in ("database is locked", "Max retries exceeded", "timed out"))


def _columns(mlmodel: Mapping[str, Any], what: str) -> tuple[Column, ...]:
    """The signature's inputs of an MLmodel file, in order."""
    signature = mlmodel.get("signature") or {}
    columns = json.loads(signature.get("inputs") or "[]")
    if not columns or not all("name" in column for column in columns):
        raise RefusedError(
            f"{what} has no signature of named columns",
            fix="save the model with signature=infer_signature(columns, predictions)",
        )
    return tuple(Column(column["name"], column["type"]) for column in columns)
