"""Runtime `score`: a user's own `score.py`, as Azure ML takes it: `init()` once, then `run(raw_data)`.

`run` gets the request's body as text. What it returns is the answer: lists, dicts, numbers and whatever has a
`tolist()` (numpy, pandas) as JSON; a string that is JSON already goes out as it is.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeferry.errors import UsageError


def load_script(file: Path, model_folder: Path, model: str, version: str) -> Callable[[bytes], bytes]:
    """The script's `run` on bytes, after its `init()`; UsageError with the cause when it does not start.

    Its folder is importable; AZUREML_MODEL_DIR, MODEL_NAME and MODEL_VERSION are set for it.
    """
    os.environ["AZUREML_MODEL_DIR"] = str(model_folder)
    os.environ["MODEL_NAME"] = model
    os.environ["MODEL_VERSION"] = version
    sys.path.insert(0, str(file.parent))
    try:
        script = _import(file)
        run = script.run
        script.init()
    except (Exception, SystemExit) as error:
        sys.stderr.write("".join(traceback.format_exception(error)))
        raise UsageError(
            f"{file.name} did not start: {type(error).__name__}: {error}",
            fix="it needs init() and run(raw_data); what it imports goes into its requirements.txt",
        ) from error
    return lambda body: _render(run(body.decode()))


def check_text(body: bytes) -> bytes:
    """The body, which is what `run` is asked; UsageError when it is not text."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"the body is not text: {error}", fix='send {"data": [[…]]} in UTF-8') from error
    return body


def _import(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = script
    spec.loader.exec_module(script)
    return script


def _render(answer: Any) -> bytes:
    if isinstance(answer, str):
        try:
            json.loads(answer)
        except ValueError:
            return json.dumps(answer).encode()
        return answer.encode()
    return _encode(answer).encode()


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"run() returned a {type(value).__name__}, which is no JSON")


_encode = json.JSONEncoder(default=_plain, allow_nan=False).encode
