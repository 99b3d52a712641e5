"""How each server is started and asked: ours as its image runs it, the peers as their own documents say."""

from __future__ import annotations

import json
import py_compile
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.serving.places import PLACE, SERVER, make_ours, make_peer, write_code
from bench.serving.servers import Program, Rows, ask_rows
from bench.serving.stock import LIBRARY, Model

INSIDE = Path(__file__).parent / "inside"
NOOP = "edgeferry-noop"


def our_program(
    name: str,
    model: Model,
    runtime: str,
    scratch: Path,
    *,
    capture: bool = False,
) -> Program:
    """`python -m edgeferry.device.modules.server` with the environment of its image."""
    place = make_ours(() if runtime == "onnx" else LIBRARY)
    captures = _empty(PLACE / "captures" / name) if capture else "off"
    command = (f"{place}/python", "-m", SERVER, "--host", "127.0.0.1", "--port", "{port}")
    return Program(
        name=name,
        command=(*command, "--captures-port", "{port+1}"),
        path="/score",
        ask=ask_rows,
        read=lambda reply: _numbers(_under(json.loads(reply), "result")),
        rows=model.rows,
        answers=model.answers,
        env={
            **_image_env(scratch),
            "EDGEFERRY_MODEL_DIR": str(model.packaged(runtime)),
            "EDGEFERRY_CAPTURES": str(captures),
        },
        folder=scratch,
    )


def _image_env(scratch: Path) -> dict[str, str]:
    """What an image sets, and its code, compiled as there."""
    code = scratch / "code"
    if not code.exists():
        write_code(code)
        for file in code.rglob("*.py"):
            py_compile.compile(str(file), doraise=True)
    return {"PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1", "ORT_DISABLE_TELEMETRY": "1"}


def azureml(name: str, model: Model, scratch: Path, *, capture: bool = False) -> Program:
    """Azure ML's inference server with a scoring script, one worker."""
    script = INSIDE / ("score_csv.py" if capture else "score.py")
    command = (f"{make_peer('azureml', LIBRARY)}/azmlinfsrv", "--entry_script", str(script))
    return Program(
        name=name,
        command=(*command, "--model_dir", str(model.saved), "--port", "{port}", "--worker_count", "1"),
        path="/score",
        ask=ask_rows,
        read=lambda reply: _numbers(json.loads(reply)["result"]),
        rows=model.rows,
        answers=model.answers,
        env={
            **_bin(make_peer("azureml", LIBRARY)),
            "MODEL_LOG_PATH": str(_empty(PLACE / "captures" / name)),
            "AZUREML_MODEL_DIR": str(model.saved),
        },
        folder=scratch,
    )


def mlflow(name: str, model: Model, scratch: Path) -> Program:
    """MLflow's own server of a saved model, one worker."""
    place = make_peer("mlflow", LIBRARY)
    command = (
        f"{place}/mlflow",
        "models",
        "serve",
        "--model-uri",
        str(model.saved),
        "--env-manager",
        "local",
    )
    return Program(
        name=name,
        command=(*command, "--host", "127.0.0.1", "--port", "{port}", "--workers", "1"),
        path="/invocations",
        ask=lambda rows: json.dumps({"inputs": [list(row) for row in rows]}).encode(),
        read=lambda reply: _numbers(json.loads(reply)["predictions"]),
        rows=model.rows,
        answers=model.answers,
        env={**_bin(place), "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
        folder=scratch,
    )


def mlserver(name: str, model: Model, scratch: Path) -> Program:
    """MLServer with its runtime for scikit-learn, inference in the server's own process."""
    place = make_peer("mlserver", LIBRARY)
    settings = {
        "host": "127.0.0.1",
        "http_port": "{port}",
        "grpc_port": "{port+1}",
        "metrics_port": "{port+2}",
        "parallel_workers": 0,
        "debug": False,
    }
    text = json.dumps(settings)
    for port in ("{port}", "{port+1}", "{port+2}"):
        text = text.replace(f'"{port}"', port)
    served = {
        "name": "model",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(model.pickle), "version": "1"},
    }
    return Program(
        name=name,
        command=(f"{place}/mlserver", "start", "."),
        path="/v2/models/model/infer",
        ask=_ask_v2,
        read=lambda reply: _numbers(json.loads(reply)["outputs"][0]["data"]),
        rows=model.rows,
        answers=model.answers,
        env=_bin(place),
        folder=scratch,
        files={"settings.json": text, "model-settings.json": json.dumps(served)},
    )


def bentoml(name: str, model: Model, scratch: Path) -> Program:
    """The model as a BentoML service, one worker."""
    place = make_peer("bentoml", LIBRARY)
    return Program(
        name=name,
        command=(f"{place}/bentoml", "serve", "service:Model", "--host", "127.0.0.1", "--port", "{port}"),
        path="/predict",
        ask=ask_rows,
        read=lambda reply: _numbers(json.loads(reply)),
        rows=model.rows,
        answers=model.answers,
        env={
            **_bin(place),
            "MODEL_FILE": str(model.pickle),
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(scratch / "bentoml"),
        },
        folder=scratch,
        files={"service.py": (INSIDE / "service.py").read_text("utf-8")},
    )


def noop(model: Model, scratch: Path) -> Program:
    """Our server's own HTTP, and one constant answer to whatever is asked."""
    return Program(
        name=NOOP,
        command=(f"{make_ours()}/python", str(INSIDE / "noop.py"), "{port}"),
        path="/score",
        ask=ask_rows,
        read=lambda reply: _numbers(json.loads(reply)),
        rows=model.rows,
        answers=None,
        env=_image_env(scratch),
        folder=scratch,
    )


PEERS = {"azureml": azureml, "mlflow": mlflow, "mlserver": mlserver, "bentoml": bentoml}


def _ask_v2(rows: Rows) -> bytes:
    values = [value for row in rows for value in row]
    asked = {"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": values}
    return json.dumps({"inputs": [asked]}).encode()


def _bin(place: Path) -> Mapping[str, str]:
    """Some of them start programs of their environment by name."""
    return {"PATH": f"{place}:/usr/local/bin:/usr/bin:/bin", "VIRTUAL_ENV": str(place.parent)}


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _under(said: Any, key: str) -> Any:
    return said[key] if isinstance(said, dict) else said


def _numbers(said: Any) -> list[float]:
    """One number a row, whether each stands alone or in a list of its own."""
    return [float(value[0] if isinstance(value, list) else value) for value in said]
