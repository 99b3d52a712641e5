"""Converts a trained model to ONNX, in a process with the libraries that trained it. Implements `Converter`.

The script that does it, `sklearn_to_onnx.py`, imports nothing of ours and runs under any interpreter that
has mlflow, scikit-learn and onnx.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from edgeferry.errors import RefusedError
from edgeferry.settings import child_environment

_SCRIPT = Path(__file__).with_name("sklearn_to_onnx.py")
_LIMIT_S = 300


class SklearnConverter:
    """Implements the `Converter` port for models saved with MLflow's scikit-learn flavor."""

    def to_onnx(self, model_folder: Path, python: Path) -> bytes:
        """The ONNX graph in doubles; RefusedError, with the reason, when the model does not convert."""
        with tempfile.TemporaryDirectory(prefix="edgeferry-") as scratch:
            graph = Path(scratch, "model.onnx")
            # -I: its folder stays out of sys.path, where our modules would pass for others' of the same name
            command = [str(python), "-I", str(_SCRIPT), str(model_folder.resolve()), str(graph)]
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
                return graph.read_bytes()
            reason, fix = _read_reason(done.stdout, done.stderr)
            raise RefusedError(f"the model in {model_folder} does not convert to ONNX: {reason}", fix=fix)


def _read_reason(stdout: str, stderr: str) -> tuple[str, str]:
    """What the script said on its last line, or else how it died."""
    try:
        said = json.loads(stdout.strip().splitlines()[-1])
        return str(said["reason"]), str(said["fix"])
    except (ValueError, KeyError, TypeError, IndexError):
        last = (stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return last, "add mlflow-skinny, scikit-learn and onnx to the registering step's environment"
