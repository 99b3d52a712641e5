"""Converts a trained model to ONNX, in a process with the libraries that trained it. Implements `Converter`.

The script that does it, `sklearn_to_onnx.py`, imports nothing of ours and runs under any interpreter that
has mlflow, scikit-learn and onnx.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from edgeferry.domain.heldout import HeldOut, Row
from edgeferry.errors import RefusedError
from edgeferry.ports import Converted, Library
from edgeferry.settings import child_environment

_SCRIPT = Path(__file__).with_name("sklearn_to_onnx.py")
_LIMIT_S = 300


class SklearnConverter:
    """Implements the `Converter` port for models saved with MLflow's scikit-learn flavor."""

    def to_onnx(self, model_folder: Path, python: Path, rows: Sequence[Row]) -> Converted:
        """The ONNX graph in doubles and its edge rows; RefusedError, with the reason, when the model does
        not convert."""
        with tempfile.TemporaryDirectory(prefix="edgeferry-") as scratch:
            Path(scratch, "rows.json").write_text(json.dumps(rows), "utf-8")
            # -I: its folder stays out of sys.path, where our modules would pass for others' of the same name
            command = [str(python), "-I", str(_SCRIPT), str(model_folder.resolve()), scratch]
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
        flavor = _read_flavor(model_folder)
        if "pickled_model" not in flavor:
            raise RefusedError(
                "the model is none of MLflow's scikit-learn flavor, so no library of ours runs it",
                fix="add a score.py that does to the model's folder",
            )
        return Library(
            name=f"scikit-learn {flavor.get('sklearn_version', '')}".strip(),
            file=str(flavor["pickled_model"]),
            trusted_types=tuple(str(each) for each in flavor.get("skops_trusted_types") or ()),
        )


def _read_flavor(model_folder: Path) -> Mapping[str, Any]:
    """What the MLmodel file says of the scikit-learn flavor; {} when it has none."""
    try:
        said = yaml.safe_load((model_folder / "MLmodel").read_text("utf-8"))
        return dict(said["flavors"]["sklearn"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return {}


def _read_reason(stdout: str, stderr: str) -> tuple[str, str]:
    """What the script said on its last line, or else how it died."""
    try:
        said = json.loads(stdout.strip().splitlines()[-1])
        return str(said["reason"]), str(said["fix"])
    except (ValueError, KeyError, TypeError, IndexError):
        last = (stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return last, "add mlflow-skinny, scikit-learn and onnx to the registering step's environment"
