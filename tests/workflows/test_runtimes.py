"""Models that are not a graph: the library that trained them, a score.py, a Dockerfile; on a real engine."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import onnx
import pytest
from onnx import TensorProto, helper

from edgeferry.adapters.build import EngineBuilder
from edgeferry.adapters.converter import SklearnConverter
from edgeferry.adapters.layers import LayerStore
from edgeferry.domain.device_class import SMALL
from edgeferry.domain.heldout import Row
from edgeferry.domain.image import Image, Serving
from edgeferry.domain.model import ModelDefinition, ModelVersion
from edgeferry.engine import Engine
from edgeferry.errors import EngineError, RefusedError
from edgeferry.ports import Services
from edgeferry.ports_models import Converted
from edgeferry.wire.serving import parse_model_card
from edgeferry.workflows.package import Packed, load_held_out, package
from edgeferry.workflows.prove import find_proof, prove
from edgeferry.workflows.push import push
from edgeferry.workflows.train import train
from edgeferry.workflows.verify import verify
from tests.engines import find_engine

from .conftest import Packaged

pytestmark = pytest.mark.engine

SCORE = """
import json, os
import numpy as np
from skops import io

def init():
    global model
    path = os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.skops")
    model = io.load(path, trusted=io.get_untrusted_types(file=path))

def run(raw_data):
    rows = np.array(json.loads(raw_data)["data"])
    return {"result": model.predict(rows).tolist()}
"""

BY_HEART = """
import json

def init():
    global known
    known = KNOWN

def run(raw_data):
    rows = json.loads(raw_data)["data"]
    return [known[json.dumps(row)] for row in rows]
"""

DOCKERFILE = """
ARG BASE
FROM ${BASE}
ARG MODEL_NAME
COPY notes/hello.txt model/model.json /opt/notes/
USER root
RUN ["/usr/bin/python3", "-c", "open('/opt/notes/made', 'w').write('in the build')"]
USER 65532:65532
ENV GREETING=hello MODEL=${MODEL_NAME}
LABEL com.example.team=fares
"""

OWN_SERVER = """
import hashlib, json, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
MODEL = "/opt/edgeferry/model/"
CARD = json.load(open(MODEL + "model.json"))
KNOWN = json.load(open("/opt/known.json"))
class Own(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def answer(self, status, body):
        self.send_response(status); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        sha256 = hashlib.sha256(open(MODEL + CARD["artifact"], "rb").read()).hexdigest()
        health = {"ready": True, "model": CARD["model"], "version": CARD["version"], "model_sha256": sha256}
        health["digest"] = os.environ["EDGEFERRY_DIGEST"]
        cases = open(MODEL + "cases.json", "rb").read()
        self.answer(200, cases if self.path == "/cases" else json.dumps(health).encode())
    def do_POST(self):
        rows = json.loads(self.rfile.read(int(self.headers["content-length"])))["data"]
        if any(len(row) != len(CARD["columns"]) for row in rows):
            return self.answer(400, b"{}")
        self.answer(200, json.dumps([KNOWN[json.dumps(row)] for row in rows]).encode())
ThreadingHTTPServer(("0.0.0.0", 8080), Own).serve_forever()
"""


@dataclass(frozen=True)
class Forest:
    """A model that does not convert, trained, and the image in which its library answers."""

    definition: ModelDefinition
    version: ModelVersion
    packed: Packed


@pytest.fixture(scope="module")
def forest(packaged: Packaged) -> Forest:
    pipeline = Path(packaged.definition.pipeline).read_text()
    changed = pipeline.replace(
        "sklearn.linear_model.LinearRegression",
        "sklearn.ensemble.RandomForestRegressor\n      parameters: n_estimators=10, random_state=1",
    )
    changed = changed.replace("model_name: nyc_taxi", "model_name: forest")
    changed = changed.replace("shared/components/train.yml", "shared_forest/components/train.yml")
    assert changed.count("forest") == 2
    shared = Path(packaged.definition.folder).parents[1] / "shared"
    trainer = shutil.copytree(shared, shared.with_name("shared_forest")) / "src" / "regression" / "train.py"
    trusting = trainer.read_text().replace("OWN_TYPES = [", 'OWN_TYPES = ["sklearn.tree._tree.Tree", ')
    trainer.write_text(trusting)
    definition = packaged.define("forest", **{"pipeline.yml": changed})
    version = train(packaged.services, definition, {}).version
    return Forest(definition, version, package(packaged.services, definition, version))


def layer_files(image: Image, place: int = -1) -> dict[str, bytes]:
    """What is in one of an image's layers, by path."""
    with tarfile.open(image.layers[place].path) as tar:
        return {member.name: cast(Any, tar.extractfile(member)).read() for member in tar if member.isfile()}


def known_answers(packaged: Packaged) -> dict[str, float]:
    """The pipeline's prediction for each held-out row."""
    held_out = load_held_out(packaged.services, packaged.definition, packaged.version)
    return {json.dumps(row): said for row, said in zip(held_out.rows, held_out.predictions, strict=True)}


def titles(image: Image) -> list[str]:
    return [layer.title for layer in image.layers]


# the library that trained the model


def test_a_model_that_does_not_convert_is_served_by_its_library_and_the_report_says_why(
    packaged: Packaged, forest: Forest
) -> None:
    found = verify(packaged.services, forest.definition, forest.version, forest.packed, SMALL)
    assert found.passed, found.problems
    assert found.runtime == "library"
    assert found.runtime_reason == (
        "scikit-learn 1.9.1: the model does not convert to ONNX: "
        "RandomForestRegressor is not among the models that can be written in doubles"
    )
    assert found.rows > 100
    assert found.worst_relative <= 1e-9


def test_the_librarys_image_adds_one_layer_to_the_graphs_with_the_versions_that_trained_it(
    packaged: Packaged, forest: Forest
) -> None:
    image = forest.packed.image
    assert titles(image) == ["base", "dependencies", "library", "server", "model"]
    shared = [layer.digest for layer in packaged.image.layers[:-1]]
    assert [layer.digest for layer in image.layers if layer.title != "library"][:-1] == shared
    library = {path.split("/")[3] for path in layer_files(image, 2)}
    assert {"sklearn", "scipy", "skops", "scikit_learn-1.9.1.dist-info"} <= library
    assert not {"pandas", "mlflow", "numpy", "onnx", "onnxruntime", "starlette"} & library
    card = parse_model_card(layer_files(image)["opt/edgeferry/model/model.json"])
    assert (card.runtime, card.artifact) == ("library", "model/model.skops")
    assert package(packaged.services, forest.definition, forest.version) == forest.packed


def test_the_graphs_image_carries_no_library(packaged: Packaged) -> None:
    assert titles(packaged.image) == ["base", "dependencies", "server", "model"]
    assert packaged.image.size_bytes < 70_000_000
    assert packaged.image.labels["io.edgeferry.runtime-reason"] == "converted to ONNX in doubles"


def test_a_library_image_that_answers_wrongly_is_refused(packaged: Packaged, forest: Forest) -> None:
    """The graph's own model, a line, in place of the forest."""
    line = packaged.services.tracking.download(packaged.version, "model") / "model.skops"
    prefix = "opt/edgeferry/model/"
    files = {path.removeprefix(prefix): body for path, body in layer_files(forest.packed.image).items()}
    files["model/model.skops"] = line.read_bytes()
    serving = Serving(
        "library",
        "",
        "model/model.skops",
        re.sub(r"(?m)^mlflow==.*\n", "", files["model/requirements.txt"].decode()),
        tuple(
            packaged.services.runner.versions_of(packaged.services.project.load_pipeline(forest.definition))
        ),
    )
    image = packaged.services.images.assemble_model(forest.definition, forest.version, files, serving)
    found = verify(
        packaged.services, forest.definition, forest.version, replace(forest.packed, image=image), SMALL
    )
    assert not found.passed
    assert found.differing > 100
    assert found.problems[0].startswith("row 1: expected ")


def test_a_model_that_must_be_a_graph_and_does_not_convert_is_refused(
    packaged: Packaged, forest: Forest
) -> None:
    with pytest.raises(RefusedError, match="RandomForestRegressor is not among"):
        package(packaged.services, replace(forest.definition, runtime="onnx"), forest.version)


def test_versions_other_than_those_that_trained_the_model_are_refused(
    packaged: Packaged, forest: Forest
) -> None:
    serving = Serving("library", "", "m", "scikit-learn==1.8.0\n", ("scikit-learn==1.9.1",))
    with pytest.raises(RefusedError, match=r"scikit-learn==1\.8\.0"):
        packaged.services.images.assemble_model(
            forest.definition, forest.version, {"m": b"", "cases.json": b""}, serving
        )


@dataclass(frozen=True)
class Rounding:
    """A converter whose graphs are rounded to floats on their way in."""

    right: SklearnConverter

    def to_onnx(self, model_folder: Path, python: Path, rows: Sequence[Row]) -> Converted:
        converted = self.right.to_onnx(model_folder, python, rows)
        graph = onnx.load_model_from_string(converted.graph)
        graph.graph.node.insert(0, helper.make_node("Cast", ["x"], ["x32"], to=TensorProto.FLOAT))
        graph.graph.node.insert(1, helper.make_node("Cast", ["x32"], ["x64"], to=TensorProto.DOUBLE))
        for node in graph.graph.node[2:]:
            node.input[:] = ["x64" if name == "x" else name for name in node.input]
        return replace(converted, graph=graph.SerializeToString())

    def find_library(self, model_folder: Path) -> Any:
        return self.right.find_library(model_folder)


@pytest.fixture
def rounding(packaged: Packaged) -> Services:
    return replace(packaged.services, converter=Rounding(SklearnConverter()))


def test_a_graph_off_the_tolerance_gives_way_to_the_library_and_the_report_says_so(
    packaged: Packaged, rounding: Services
) -> None:
    definition = replace(packaged.define("rounded"), registered_model="nyc_taxi")
    packed = package(rounding, definition, packaged.version)
    assert packed.image.labels["io.edgeferry.runtime"] == "onnx"
    assert find_proof(rounding, definition, packaged.version, packed, SMALL) is None
    proof = prove(rounding, definition, packaged.version, packed, SMALL)
    assert proof.verification.passed
    assert (proof.verification.runtime, proof.fresh) == ("library", True)
    assert proof.verification.runtime_reason == (
        "scikit-learn 1.9.1: its ONNX graph does not answer within the tolerance"
    )
    push(rounding, proof.image, proof.verification)
    assert find_proof(rounding, definition, packaged.version, packed, SMALL) == replace(proof, fresh=False)


def test_a_graph_that_model_yaml_asks_for_gives_way_to_nothing(
    packaged: Packaged, rounding: Services
) -> None:
    definition = packaged.define(
        "graph_only", **{"model.yaml": "prediction_column: predicted_fareAmount\nruntime: onnx\n"}
    )
    packed = package(rounding, definition, packaged.version)
    proof = prove(rounding, definition, packaged.version, packed, SMALL)
    assert (proof.verification.passed, proof.verification.runtime) == (False, "onnx")


# any flavor, by MLflow

LOADER = """
class Model:
    def predict(self, model_input, params=None):
        return ANSWER

def _load_pyfunc(path):
    return Model()
"""
FARE = "model_input['distance'] * 2 + (model_input['zone'] == 'airport') * 50"
LENGTH = "model_input['picture'].map(len)"


def save_pyfunc(
    packaged: Packaged, name: str, answer: str, columns: dict[str, str], held_out: str, **signature: str
) -> tuple[ModelDefinition, ModelVersion]:
    """A registered version of MLflow's `python_function` flavor alone, and the folder of its model."""
    definition = packaged.define(
        name,
        **{
            "model.yaml": f"prediction_column: predicted\nregistered_model: {name}\n",
            "smoke/checks.yml": "[]",
        },
    )
    inputs = [{"name": column, "type": kind, "required": True} for column, kind in columns.items()]
    mlmodel = {
        "flavors": {"python_function": {"loader_module": "of_the_model", "code": "code"}},
        "mlflow_version": "3.15.0",
        "signature": {"inputs": json.dumps(inputs), **signature},
    }
    folder = Path(definition.folder) / "made"
    files = {
        "model/MLmodel": json.dumps(mlmodel),
        "model/requirements.txt": "mlflow==3.15.0\n",
        "model/code/of_the_model.py": LOADER.replace("ANSWER", answer),
        "predictions/predictions.csv": held_out,
    }
    for path, body in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(body)
    from mlflow import MlflowClient  # takes a second

    tracking = cast(Any, packaged.services.tracking)
    client = MlflowClient(tracking_uri=tracking.uri, registry_uri=tracking.uri)
    run = client.create_run(client.get_run(packaged.version.run_id).info.experiment_id)
    client.log_artifacts(run.info.run_id, str(folder))
    client.create_registered_model(name)
    client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    version = tracking.find_version(name)
    assert version is not None
    return definition, version


def test_a_model_of_another_flavor_is_served_by_mlflow_and_verified(packaged: Packaged) -> None:
    columns = {"distance": "double", "zone": "string"}
    held_out = "distance,zone,predicted\n1.5,airport,53.0\n2,park,4.0\n"
    definition, version = save_pyfunc(packaged, "zones", FARE, columns, held_out)
    packed = package(packaged.services, definition, version)
    found = verify(packaged.services, definition, version, packed, SMALL)
    assert found.passed, found.problems
    assert (found.rows, found.runtime) == (2, "pyfunc")
    assert found.runtime_reason == (
        "MLflow's python_function flavor, mlflow 3.15.0: column zone is of type string"
    )
    library = {path.split("/")[3] for path in layer_files(packed.image, 2)}
    assert {"mlflow", "pandas"} <= library
    assert not {"sklearn", "numpy"} & library


def test_a_model_of_bytes_is_verified_with_posted_bytes(packaged: Packaged) -> None:
    held_out = "picture,predicted\nAP8=,2\n,0\n"
    definition, version = save_pyfunc(packaged, "pictures", LENGTH, {"picture": "binary"}, held_out)
    packed = package(packaged.services, definition, version)
    found = verify(packaged.services, definition, version, packed, SMALL)
    assert found.passed, found.problems
    assert (found.rows, found.single_rows) == (2, 2)


@pytest.mark.parametrize(
    ("columns", "outputs", "words"),
    [
        pytest.param({"at": "datetime"}, "[]", "column at is of type datetime", id="a column of dates"),
        pytest.param(
            {"a": "double"}, '[{"type": "binary"}]', "this one answers with binary", id="answers of bytes"
        ),
        pytest.param(
            {"a": "double"},
            '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}]',
            "arrays of shape",
            id="three numbers a row",
        ),
        pytest.param(
            {"a": "double"},
            '[{"type": "double", "name": "b"}, {"type": "double", "name": "c"}]',
            "this one has 2 outputs",
            id="two columns",
        ),
    ],
)
def test_what_cannot_be_verified_is_refused_with_the_way_out(
    packaged: Packaged, columns: dict[str, str], outputs: str, words: str
) -> None:
    name = f"refused_{hashlib.sha256(words.encode()).hexdigest()[:8]}"
    definition, version = save_pyfunc(packaged, name, "", columns, "a,predicted\n1,2\n", outputs=outputs)
    with pytest.raises(RefusedError, match=words) as caught:
        package(packaged.services, definition, version)
    assert "score.py" in caught.value.fix


# a score.py of the model's own


def scripted(packaged: Packaged, forest: Forest, name: str, script: str, **more: str) -> Packed:
    definition = packaged.define(name, **{"score.py": script, **more})
    return package(packaged.services, definition, forest.version)


def test_a_folder_with_a_score_py_is_verified_like_any_other(packaged: Packaged, forest: Forest) -> None:
    packed = scripted(packaged, forest, "scripted", SCORE)
    found = verify(packaged.services, packaged.define("scripted"), forest.version, packed, SMALL)
    assert found.passed, found.problems
    assert (found.runtime, found.runtime_reason) == ("score", "the model's folder brings its own score.py")
    assert packed.image.labels["io.edgeferry.model"] == "scripted"
    assert push(packaged.services, packed.image, found) > 0


def test_a_score_py_in_a_folder_brings_what_stands_beside_it_and_its_own_requirements(
    packaged: Packaged, forest: Forest
) -> None:
    yaml = "prediction_column: predicted_fareAmount\nscore: serve/main.py\n"
    packed = scripted(
        packaged,
        forest,
        "serving",
        "",
        **{
            "model.yaml": yaml,
            "serve/main.py": SCORE,
            "serve/helping.py": "",
            "serve/requirements.txt": "skops\n",
        },
    )
    files = layer_files(packed.image)
    assert {"opt/edgeferry/model/score/main.py", "opt/edgeferry/model/score/helping.py"} <= set(files)
    library = {path.split("/")[3] for path in layer_files(packed.image, 2)}
    assert "scikit_learn-1.9.1.dist-info" in library
    assert "pandas" not in library
    assert verify(packaged.services, packaged.define("serving"), forest.version, packed, SMALL).passed


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        pytest.param("score_right", ("", ""), "", id="nothing wrong"),
        pytest.param("score_off", ("known[", "1.001 * known["), "row 1: expected", id="answers off"),
        pytest.param("score_error", ("rows = ", "rows = gone or "), "'gone' is not defined", id="run raises"),
        pytest.param(
            "score_init", ("known = KNOWN", "raise ValueError('no weights')"), "no weights", id="init raises"
        ),
        pytest.param(
            "score_wide", ("dumps(row)", "dumps(row[:20])"), "one value too many", id="wide rows answered"
        ),
    ],
)
def test_a_score_py_that_is_wrong_is_refused_with_the_cause(
    packaged: Packaged, name: str, change: tuple[str, str], words: str
) -> None:
    """The script knows every held-out answer by heart; it needs no library, so its image has none."""
    known = known_answers(packaged)
    script = BY_HEART.replace(*change) if words else BY_HEART
    files = {"score.py": f"KNOWN = {known!r}\n{script}", "serve/requirements.txt": ""}
    definition = packaged.define(name, **files)
    packed = package(packaged.services, definition, packaged.version)
    assert titles(packed.image) == ["base", "dependencies", "server", "model"]
    found = verify(packaged.services, definition, packaged.version, packed, SMALL)
    assert found.passed == (not words), found.problems
    assert words in (*found.problems, "")[0]
    if name == "score_init":
        assert "ended before it was ready; it is exited (2)" in found.problems[0]


# a Dockerfile of the model's own


def built(packaged: Packaged, name: str, dockerfile: str, **more: str) -> tuple[ModelDefinition, Packed]:
    definition = packaged.define(
        name, **{"Dockerfile": dockerfile, ".dockerignore": "data\n# no tests\ntests\n", **more}
    )
    return definition, package(packaged.services, definition, packaged.version)


@pytest.fixture(scope="module")
def docked(packaged: Packaged) -> tuple[ModelDefinition, Packed]:
    return built(packaged, "docked", DOCKERFILE, **{"notes/hello.txt": "hello"})


def test_a_folder_with_a_dockerfile_is_built_on_our_base_and_verified_like_any_other(
    packaged: Packaged, docked: tuple[ModelDefinition, Packed]
) -> None:
    definition, packed = docked
    found = verify(packaged.services, definition, packaged.version, packed, SMALL)
    assert found.passed, found.problems
    assert found.runtime_reason == "converted to ONNX in doubles; image by the model's own Dockerfile"
    assert push(packaged.services, packed.image, found) > 0


def test_the_built_image_shares_our_layers_and_has_our_labels_and_the_model_on_top(
    packaged: Packaged, docked: tuple[ModelDefinition, Packed]
) -> None:
    image = docked[1].image
    assert titles(image) == ["base", "dependencies", "server", "dockerfile", "dockerfile", "model"]
    assert [layer.digest for layer in image.layers[:3]] == [
        layer.digest for layer in packaged.image.layers[:3]
    ]
    assert layer_files(image, 3)["opt/notes/hello.txt"] == b"hello"
    assert layer_files(image, 4)["opt/notes/made"] == b"in the build"
    config = json.loads(image.config)["config"]
    assert {"GREETING=hello", "MODEL=docked", "PYTHONDONTWRITEBYTECODE=1"} <= set(config["Env"])
    assert config["User"] == "65532:65532"
    assert config["Labels"] == {**image.labels, "com.example.team": "fares"}
    assert image.labels["io.edgeferry.model"] == "docked"
    assert image.tag == f"v{packaged.version.version}-{image.digest[7:15]}"


def test_an_unchanged_folder_gives_the_same_image_without_a_build(
    packaged: Packaged, docked: tuple[ModelDefinition, Packed], monkeypatch: pytest.MonkeyPatch
) -> None:
    definition, packed = docked
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "build", None)
        again = package(packaged.services, definition, packaged.version)
    assert again == packed
    changed = built(packaged, "docked", DOCKERFILE, **{"notes/hello.txt": "good morning"})[1]
    assert changed.image.digest != packed.image.digest


def test_nothing_of_a_build_stays_on_the_engine(
    packaged: Packaged, docked: tuple[ModelDefinition, Packed]
) -> None:
    import docker

    client = docker.APIClient(base_url=find_engine())
    try:
        names = [name for row in client.images() for name in row["RepoTags"] or ()]
    finally:
        client.close()
    assert not [name for name in names if name.startswith("edgeferry.invalid/docked")]


@pytest.mark.parametrize("off", [pytest.param(0.0, id="right"), pytest.param(0.5, id="one answer off")])
def test_a_program_of_the_dockerfiles_own_must_answer_right_too(packaged: Packaged, off: float) -> None:
    known = known_answers(packaged)
    known[list(known)[6]] += off
    files = {
        "model.yaml": "prediction_column: predicted_fareAmount\nruntime: own\n",
        "own.py": OWN_SERVER,
        "known.json": json.dumps(known),
    }
    lines = ["ARG BASE", "FROM ${BASE}", "COPY own.py known.json /opt/"]
    lines.append('ENTRYPOINT ["/usr/bin/python3", "/opt/own.py"]')
    definition, packed = built(packaged, "own_server", "\n".join(lines), **files)
    found = verify(packaged.services, definition, packaged.version, packed, SMALL)
    assert (found.passed, found.runtime) == (not off, "own"), found.problems
    if off:
        assert found.problems[0].startswith("row 7: expected")


@pytest.mark.parametrize(
    ("line", "words", "fix"),
    [
        pytest.param("RUN echo hello", ": RUN echo hello", "no shell", id="a shell that is not there"),
        pytest.param(
            "COPY gone.txt /opt/", "gone.txt", "correct the Dockerfile", id="a file that is not there"
        ),
        pytest.param(
            'RUN ["/usr/bin/python3", "-c", "raise SystemExit(\'last words\')"]',
            "last words",
            "correct the Dockerfile",
            id="a command that fails",
        ),
    ],
)
def test_a_build_that_fails_says_its_last_lines(packaged: Packaged, line: str, words: str, fix: str) -> None:
    gc.collect()
    before = count_sockets()
    with pytest.raises(EngineError, match=words) as caught:
        built(packaged, "broken", f"ARG BASE\nFROM ${{BASE}}\n{line}\n")
    assert fix in caught.value.fix
    assert count_sockets() == before, "the connection to the engine was not given back"


def count_sockets() -> int:
    return sum(
        os.readlink(file).startswith("socket:")
        for file in Path("/proc/self/fd").iterdir()
        if file.is_symlink()
    )


def test_a_result_whose_layer_was_removed_is_built_again(
    packaged: Packaged, tmp_path: Path, docked: tuple[ModelDefinition, Packed]
) -> None:
    store = LayerStore(tmp_path / "layers")
    builder = EngineBuilder(lambda: Engine(find_engine()), store, tmp_path / "builds", tmp_path / "scratch")
    definition = docked[0]
    first = builder.build(definition, packaged.image)
    Path(first.layers[3].path).unlink()
    again = builder.build(definition, packaged.image)
    assert Path(again.layers[3].path).exists()
    assert titles(again) == titles(first)


# what a new version costs


@pytest.mark.parametrize("kind", ["graph", "library"])
def test_a_new_version_pushes_and_pulls_its_model_layer_and_little_more(
    packaged: Packaged, forest: Forest, kind: str
) -> None:
    definition, version = (
        (packaged.definition, packaged.version) if kind == "graph" else (forest.definition, forest.version)
    )
    services = packaged.services
    images = [
        replace(package(services, definition, replace(version, version=number)).image, name=f"cost_{kind}")
        for number in ("1001", "1002")
    ]
    assert services.registry.push(images[0]) > 30_000_000
    uploaded = services.registry.push(images[1])
    assert uploaded <= images[1].layers[-1].size_bytes + 10_000
    old, new = ({layer.digest for layer in image.layers} for image in images)
    pulled = [layer.size_bytes for layer in images[1].layers if layer.digest in new - old]
    assert pulled == [images[1].layers[-1].size_bytes]
