"""The model server with each runtime, as a process: what answers, and what happens when it cannot."""

import concurrent.futures
import hashlib
import json
import pickle
from collections import Counter
from dataclasses import replace

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from edgeferry.domain.model import Column, Tolerance
from edgeferry.domain.sketch import NOT_A_NUMBER, bin_of, number_of_text
from edgeferry.wire.cases import render_cases
from edgeferry.wire.evidence_report import parse_metrics
from edgeferry.wire.serving import ModelCard, parse_score_response, render_model_card
from tests.device.conftest import COLUMNS, answers, case_set, end, start_server, wait_until

CARD = ModelCard("taxi", "3", tuple(Column(name, "double") for name in COLUMNS), Tolerance(1e-9, 0.0), "fare")
ROWS = np.array([[float(a), float(b)] for a in range(6) for b in range(6)])
FARES = ROWS @ [2.0, 1.0] + np.sin(ROWS[:, 0])


def write_files(folder, card, files):
    for name, body in {
        **files,
        "model.json": render_model_card(card),
        "cases.json": render_cases(case_set()),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)


def serve_library(folder, model, name="model.pkl"):
    card = replace(CARD, runtime="library", artifact=f"model/{name}")
    body = pickle.dumps(model) if not isinstance(model, bytes) else model
    write_files(folder, card, {f"model/{name}": body})
    return start_server(folder)


def serve_script(folder, script, **files):
    card = replace(CARD, runtime="score", artifact="score/score.py")
    files = {f"score/{name}.py": body.encode() for name, body in {"score": script, **files}.items()}
    write_files(folder, card, {"model/weights.txt": b"2.0 1.0", **files})
    return start_server(folder)


@pytest.fixture
def serving():
    """Starts a server and gives a client of it, once it is ready."""
    opened = []

    def open_client(started):
        client = httpx.Client(base_url=started.url, trust_env=False, timeout=60)
        opened.append((started, client))
        wait_until(lambda: answers(started.url + "/health"), what=f"{started.url} to be ready")
        return client

    yield open_client
    for started, client in opened:
        client.close()
        assert end(started.process) in (0, -15)


def last_words(started):
    """What a server that ended at once wrote, after its exit code 2."""
    _, stderr = started.process.communicate(timeout=60)
    assert started.process.returncode == 2
    return stderr.decode()


# the library that trained the model


@pytest.mark.parametrize(
    ("model", "table"),
    [
        pytest.param(RandomForestRegressor(5, random_state=1), ROWS, id="fitted on an array"),
        pytest.param(
            make_pipeline(
                make_column_transformer((StandardScaler(), ["hour"]), remainder="passthrough"),
                LinearRegression(),
            ),
            pd.DataFrame(ROWS, columns=list(COLUMNS)),
            id="needs the columns' names",
        ),
    ],
)
def test_a_model_that_is_no_graph_answers_by_its_own_library(tmp_path, serving, model, table):
    model.fit(table, FARES)
    client = serving(serve_library(tmp_path, model))
    found = client.post("/score", json={"data": ROWS.tolist()}).json()
    assert found == model.predict(table).tolist()
    health = client.get("/health").json()
    assert health["model_sha256"] == hashlib.sha256((tmp_path / "model/model.pkl").read_bytes()).hexdigest()


def test_classes_that_are_texts_are_answered_as_such(tmp_path, serving):
    labels = np.where(FARES > 6, "dear", "cheap")
    forest = RandomForestClassifier(5, random_state=1).fit(ROWS, labels)
    card = replace(CARD, runtime="library", artifact="model/model.pkl", answers="string")
    write_files(tmp_path, card, {"model/model.pkl": pickle.dumps(forest)})
    client = serving(start_server(tmp_path))
    body = client.post("/score", json={"data": ROWS[:16].tolist()}).content
    assert parse_score_response(body) == tuple(forest.predict(ROWS[:16]).tolist())
    assert client.post("/score", json={"data": [[1e300, 0.0]]}).status_code == 400
    found = parse_metrics(client.get("/metrics").text, "now")
    counts = Counter(bin_of(number_of_text(label)) for label in forest.predict(ROWS[:16]))
    assert len(counts) == 2
    assert (found.requests, found.outputs) == (2, {**counts, NOT_A_NUMBER: 1})


def test_a_script_may_answer_texts_and_they_are_counted_as_a_models_own(tmp_path, serving):
    script = 'def init(): pass\n\n\ndef run(raw): return {"result": ["cheap", "\\ud800", "cheap"]}\n'
    client = serving(serve_script(tmp_path, script))
    assert client.post("/score", json={"data": []}).status_code == 200
    found = parse_metrics(client.get("/metrics").text, "now").outputs
    assert found == Counter(bin_of(number_of_text(label)) for label in ("cheap", "\ud800", "cheap"))


def test_the_librarys_server_refuses_what_the_graphs_refuses(tmp_path, serving):
    client = serving(serve_library(tmp_path, LinearRegression().fit(ROWS, FARES)))
    assert client.post("/score", json={"data": [[1.0]]}).status_code == 400
    assert client.post("/score", content=b" " * (16 * 1024 * 1024 + 1)).status_code == 413


def test_values_that_a_library_refuses_are_bad_input(tmp_path, serving):
    model = RandomForestRegressor(2, random_state=1).fit(ROWS, FARES)
    client = serving(serve_library(tmp_path, model))
    answer = client.post("/score", json={"data": [[1e300, 0.0]]})
    assert answer.status_code == 400
    assert "too large for dtype('float32')" in answer.json()["error"]["message"]
    assert client.post("/score", json={"data": [[1.0, 2.0]]}).status_code == 200


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param(b"no pickle", "UnpicklingError", id="no pickle"),
        pytest.param(
            b"cgone_module\nThing\n.", "No module named 'gone_module'", id="a module that is not there"
        ),
    ],
)
def test_a_library_model_that_does_not_load_says_what_it_lacks(tmp_path, model, words):
    said = last_words(serve_library(tmp_path, model))
    assert words in said
    assert "score.py" in said


# any flavor, by MLflow


PYFUNC = """
import numpy

class Model:
    def predict(self, model_input, params=None):
        ANSWER

def _load_pyfunc(path):
    return Model()
"""
FARE = """assert [str(kind) for kind in model_input.dtypes] == KINDS
        if model_input["zone"].iloc[0] == "nowhere": raise ValueError("no such zone")
        if model_input["zone"].iloc[0] == "broken": raise KeyError("zone")
        return model_input["distance"] * 2 + model_input["hour"] + (model_input["zone"] == "airport") * 50"""


def serve_pyfunc(folder, answer, *columns):
    """A model whose `predict` is `answer`, as MLflow saves those of a `loader_module`."""
    inputs = [{"name": column.name, "type": column.type, "required": True} for column in columns]
    mlmodel = {
        "flavors": {"python_function": {"loader_module": "of_the_model", "code": "code"}},
        "signature": {"inputs": json.dumps(inputs)},
    }
    code = PYFUNC.replace("ANSWER", answer).encode()
    files = {"model/MLmodel": json.dumps(mlmodel).encode(), "model/code/of_the_model.py": code}
    write_files(folder, replace(CARD, columns=columns, runtime="pyfunc", artifact="model/MLmodel"), files)
    return start_server(folder)


def test_a_model_of_any_flavor_is_asked_with_the_types_of_its_signature(tmp_path, serving):
    columns = (
        Column("distance", "double", missing=True),
        Column("hour", "long"),
        Column("zone", "string"),
    )
    answer = FARE.replace("KINDS", repr(["float64", "int64", str(pd.Series(["a"]).dtype)]))
    client = serving(serve_pyfunc(tmp_path, answer, *columns))

    def ask(*rows):
        answer = client.post("/score", json={"data": rows})
        return answer.status_code, answer.json()

    assert ask([1.5, 7, "airport"], {"zone": "park", "hour": 8, "distance": 0.25}) == (200, [60.0, 8.5])
    for row, status, words in (
        ([1.5, 7.5, "park"], 400, "column 2 (hour): 7.5 is not a whole number"),
        ([1.5, 7, 3], 400, "column 3 (zone): 3 is not a text"),
        ([None, 7, "park"], 400, "row 1: the model's answer is not a finite number"),
        ([1.5, 7, "nowhere"], 500, "the model failed: ValueError: no such zone"),
        ([1.5, 7, "broken"], 500, "KeyError: 'zone'"),
    ):
        found, said = ask(row)
        assert (found, words in said["error"]["message"]) == (status, True), said


def test_a_model_of_bytes_takes_them_as_the_body_or_in_base64(tmp_path, serving):
    client = serving(
        serve_pyfunc(
            tmp_path,
            "return numpy.array([len(value) for value in model_input['picture']])",
            Column("picture", "binary"),
        )
    )
    for kind in ("application/octet-stream", "image/jpeg"):
        answer = client.post("/score", content=b"\xff" * 5, headers={"content-type": kind})
        assert (answer.status_code, answer.json()) == (200, [5.0])
    assert client.post("/score", json={"data": [["AP8="], {"picture": ""}]}).json() == [2.0, 0.0]
    refused = client.post("/score", json={"data": [["AP8"]]})
    assert refused.status_code == 400
    assert 'column 1 (picture): "AP8" is not base64' in refused.json()["error"]["message"]


# a score.py of the model's own

WEIGHTS = """
import json, os
import numpy as np
from helping import add

def init():
    global weights
    path = os.path.join(os.environ["AZUREML_MODEL_DIR"], "weights.txt")
    weights = np.array([float(word) for word in open(path).read().split()])

def run(raw_data):
    rows = np.array(json.loads(raw_data)["data"])
    return ANSWER
"""
HELPING = "def add(a, b): return a + b\n"


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        pytest.param("add(rows @ weights, 1)", b"[12.0, 2.5]", id="a numpy array"),
        pytest.param(
            '{"result": add(rows @ weights, 1)}', b'{"result": [12.0, 2.5]}', id="an object around it"
        ),
        pytest.param(
            'json.dumps({"predictions": (rows @ weights + 1).tolist()})',
            b'{"predictions": [12.0, 2.5]}',
            id="JSON text",
        ),
        pytest.param("list(rows @ weights + 1)", b"[12.0, 2.5]", id="a list of numpy numbers"),
    ],
)
def test_what_run_returns_is_the_answer(tmp_path, serving, returned, expected):
    client = serving(serve_script(tmp_path, WEIGHTS.replace("ANSWER", returned), helping=HELPING))
    answer = client.post("/score", json={"data": [[2.0, 7.0], [0.5, 0.5]]})
    assert (answer.status_code, answer.content) == (200, expected)
    assert answer.headers["content-type"] == "application/json"
    assert parse_score_response(answer.content) == (12.0, 2.5)


def test_the_script_sees_the_whole_body_and_its_environment(tmp_path, serving):
    script = (
        "import os\ndef init(): pass\n"
        "def run(raw_data): return [raw_data, os.environ['MODEL_NAME'], __file__]"
    )
    client = serving(serve_script(tmp_path, script))
    assert client.post("/score", content="grüße\n".encode()).json() == [
        "grüße\n",
        "taxi",
        str(tmp_path / "score" / "score.py"),
    ]
    assert client.post("/score", content=b"\xff").status_code == 400
    assert client.post("/score", content=b" " * (16 * 1024 * 1024 + 1)).status_code == 413
    assert client.get("/cases").content == render_cases(case_set())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param("raise KeyError('distance')", "KeyError: 'distance'", id="an exception"),
        pytest.param("raise SystemExit(3)", "SystemExit: 3", id="an exit"),
        pytest.param("raise StopIteration", "StopIteration", id="one that asyncio treats specially"),
        pytest.param("return object()", "run() returned a object, which is no JSON", id="no JSON"),
        pytest.param("return [float('nan')]", "not JSON compliant", id="not a number"),
    ],
)
def test_a_script_that_fails_is_an_answer_and_not_an_end(tmp_path, serving, line, words):
    client = serving(serve_script(tmp_path, f"def init(): pass\ndef run(raw_data):\n    {line}"))
    for _ in range(2):
        answer = client.post("/score", json={"data": [[1, 2]]})
        assert answer.status_code == 500
        assert words in answer.json()["error"]["message"]
    assert client.get("/health").status_code == 200


def test_a_slow_script_does_not_keep_health_waiting_and_is_asked_one_at_a_time(tmp_path, serving):
    script = f"""
import threading, time
from pathlib import Path
busy = threading.Lock()
def init(): pass
def run(raw_data):
    assert busy.acquire(blocking=False)
    Path("{tmp_path}/begun").touch()
    while not Path("{tmp_path}/go").exists(): time.sleep(0.01)
    busy.release()
    return [1]
"""
    started = serve_script(tmp_path, script)
    client = serving(started)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(httpx.post, started.url + "/score", content=b"x", trust_env=False) for _ in range(4)
        ]
        wait_until((tmp_path / "begun").exists)
        try:
            assert client.get("/health", timeout=60).status_code == 200
        finally:
            (tmp_path / "go").touch()
        assert [each.result().status_code for each in asked] == [200] * 4


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param(
            "def init(): raise ValueError('no weights')\ndef run(raw): pass", "no weights", id="init raises"
        ),
        pytest.param(
            "import gone\ndef init(): pass\ndef run(raw): pass", "No module named 'gone'", id="import"
        ),
        pytest.param("def init(: pass", "SyntaxError", id="no Python"),
        pytest.param("def init(): pass", "no attribute 'run'", id="no run"),
        pytest.param("def init(): exit(0)\ndef run(raw): pass", "SystemExit: 0", id="init exits"),
    ],
)
def test_a_script_that_does_not_start_ends_the_server_with_the_cause(tmp_path, script, words):
    said = last_words(serve_script(tmp_path, script))
    assert words in said
    assert "score.py did not start" in said


def test_a_model_of_its_own_program_is_not_served_by_ours(tmp_path):
    write_files(tmp_path, replace(CARD, runtime="own", artifact="model/MLmodel"), {"model/MLmodel": b"{}"})
    assert "no runtime 'own'" in last_words(start_server(tmp_path))
