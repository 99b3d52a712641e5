"""Converts a trained model to ONNX, in a process with the libraries that trained it. Implements `Converter`.

The scripts that do it import nothing of ours. `sklearn_to_onnx.py` runs under any interpreter that has
mlflow, scikit-learn and onnx; `onnx_in_doubles.py`, for what is a graph already, under one that has onnx.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from edgeferry.adapters.saved_model import is_plain
from edgeferry.domain.heldout import HeldOut, Row
from edgeferry.domain.signature import find_other_answers
from edgeferry.errors import RefusedError
from edgeferry.ports_models import Converted, Library
from edgeferry.surroundings import child_environment

_SCRIPT = Path(__file__).with_name("sklearn_to_onnx.py")
_GRAPH_SCRIPT = Path(__file__).with_name("onnx_in_doubles.py")
_LIMIT_S = 300
_SCRIPT_INSTEAD = "add a score.py to the model's folder that answers for it"


class SklearnConverter:
    """Implements the `Converter` port for models saved with MLflow's scikit-learn or onnx flavor."""

    def to_onnx(self, model_folder: Path, python: Path, rows: Sequence[Row]) -> Converted:
        """The ONNX graph in doubles and its edge rows; RefusedError, with the reason, when the model does
        not convert."""
        with tempfile.TemporaryDirectory(prefix="edgeferry-") as scratch:
            Path(scratch, "rows.json").write_text(json.dumps(rows), "utf-8")
            # -I: its folder stays out of sys.path, where our modules would pass for others' of the same name
            script = _GRAPH_SCRIPT if "onnx" in _read_flavors(model_folder) else _SCRIPT
            command = [str(python), "-I", str(script), str(model_folder.resolve()), scratch]
            try:
                done = subprocess.run(
                    command,
                    cwd=scratch,
                    env=child_environment(),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=_LIMIT_S,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise RefusedError(
                    f"the model could not be converted: {error}", fix="train it again: edgeferry train MODEL"
                ) from error
            if done.returncode == 0:
                edges = json.loads(Path(scratch, "edges.json").read_bytes())
                asked, answers = (tuple(tuple(row) for row in edges["rows"]), tuple(edges["answers"]))
                return Converted(Path(scratch, "model.onnx").read_bytes(), HeldOut(asked, answers))
            reason, fix = _read_reason(done.stdout, done.stderr)
            raise RefusedError(f"the model does not convert to ONNX: {reason}", fix=fix)

    def find_library(self, model_folder: Path) -> Library:
        """scikit-learn, and the file that MLflow saved for it; RefusedError when the model is of no such
        flavor."""
        flavor = _read_flavors(model_folder).get("sklearn") or {}
        if "pickled_model" not in flavor:
            raise RefusedError(
                "the model is none of MLflow's scikit-learn flavor, so no library of ours runs it",
                fix="add a score.py that does to the model's folder",
            )
        return Library(
            name=f"scikit-learn {flavor.get('sklearn_version', '')}".strip(),
            file=str(flavor["pickled_model"]),
            trusted_types=tuple(str(each) for each in flavor.get("skops_trusted_types") or ()),
            plain=is_plain(model_folder / str(flavor["pickled_model"])),
        )

    def find_pyfunc(self, model_folder: Path) -> Library:
        """MLflow's `python_function`, named by the flavor it was saved with."""
        said = _read_mlmodel(model_folder)
        flavors = _read_flavors(model_folder)
        if "python_function" not in flavors:
            raise RefusedError(
                "the model has no python_function flavor, so MLflow cannot run it", fix=_SCRIPT_INSTEAD
            )
        problem = find_other_answers(said)
        if problem:
            raise RefusedError(
                f"a model must answer with one number or one text a row: {problem}", fix=_SCRIPT_INSTEAD
            )
        own = next((name for name in flavors if name != "python_function"), "python_function")
        return Library(f"MLflow's {own} flavor, mlflow {said.get('mlflow_version', '')}", "MLmodel", ())


def _read_mlmodel(model_folder: Path) -> Mapping[str, Any]:
    """What the MLmodel file says; {} when it says nothing."""
    try:
        said = yaml.safe_load((model_folder / "MLmodel").read_text("utf-8"))
    except (OSError, yaml.YAMLError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _read_flavors(model_folder: Path) -> Mapping[str, Any]:
    flavors = _read_mlmodel(model_folder).get("flavors")
    return flavors if isinstance(flavors, dict) else {}


def _read_reason(stdout: str, stderr: str) -> tuple[str, str]:
    """What the script said on its last line, or else how it died."""
    try:
        said = json.loads(stdout.strip().splitlines()[-1])
        return str(said["reason"]), str(said["fix"])
    except (ValueError, KeyError, TypeError, IndexError):
        last = (stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return last, "add mlflow-skinny, scikit-learn and onnx to the registering step's environment"
