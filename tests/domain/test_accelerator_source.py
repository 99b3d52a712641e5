"""What the Python of an accelerator project shows of itself."""

from __future__ import annotations

import pytest

from edgeferry.domain.accelerator_source import (
    find_pipeline_function,
    find_score_edits,
    find_step_edits,
    read_source,
)


def reading(text: str):
    found, edit = read_source(text, "src/x.py")
    assert edit is None
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        pytest.param('out["fare"] = model.predict(x)', ["fare"], id="asked in the same line"),
        pytest.param('p = model.predict(x)\nout["fare"] = p', ["fare"], id="asked before"),
        pytest.param('out["predicted_fare"] = answers', ["predicted_fare"], id="named so"),
        pytest.param(
            'out["cost"] = y\nout["predicted"] = model.predict(x)', ["predicted"], id="truth is none"
        ),
        pytest.param("out[name] = model.predict(x)", [], id="a name that does not stand there"),
    ],
)
def test_the_column_of_predictions_is_found(text: str, columns: list[str]) -> None:
    assert [name for name, _ in reading(text).columns] == columns


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ('t.to_csv(Path(folder) / "predictions.csv", index=False)', ["predictions.csv"]),
        ('t.to_csv(os.path.join(folder, "out/p.csv"))', ["p.csv"]),
        ('t.to_csv(folder + "/predictions.csv")', ["predictions.csv"]),
        ('open("x.csv")', []),
    ],
)
def test_the_csv_files_that_are_written_are_found(text: str, files: list[str]) -> None:
    assert [name for name, _ in reading(text).files] == files


@pytest.mark.parametrize(
    ("text", "registers"),
    [
        ("mlflow.register_model(uri, name)", True),
        ("client.create_model_version(name, source)", True),
        ("model.register(x)", False),
    ],
)
def test_registering_is_found(text: str, registers: bool) -> None:
    assert reading(text).registers is registers


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("both = green.append(yellow, ignore_index=True)", "gone since pandas 2"),
        ("names.append(x)", ""),
        ('mlflow.sklearn.log_model(model, "model")', "without a signature"),
        ('mlflow.sklearn.log_model(model, "model", signature=s)', ""),
        ("not python (", ""),
    ],
)
def test_lines_that_no_longer_run_are_told_of(text: str, problem: str) -> None:
    edits = list(find_step_edits(f"\n{text}\n", "src/x.py"))
    assert [(problem in edit.problem, str(edit.origin)) for edit in edits] == [(True, "src/x.py:2")] * bool(
        problem
    )


def test_saving_in_mlflows_own_format_is_found() -> None:
    text = 'mlflow.sklearn.log_model(m, "m")\nmlflow.sklearn.save_model(m, p, serialization_format="pickle")'
    assert reading(text).saves == (1,)


SCORE = "def init():\n    pass\n\n\ndef run(raw_data):\n    return []\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(SCORE, "", id="nothing"),
        pytest.param(SCORE.replace("init", "start"), "no function `init`", id="no init"),
        pytest.param(
            SCORE + 'x = os.environ["MODEL_LOG_PATH"]\n', "written to files here", id="writes requests"
        ),
        pytest.param("from azureml.core import Model\n" + SCORE, "`azureml.core`", id="Azure ML's first SDK"),
        pytest.param(
            "import inference_schema.schema_decorators\n" + SCORE, "Azure ML's own server", id="schema"
        ),
    ],
)
def test_what_a_score_py_should_not_have_is_told(text: str, problem: str) -> None:
    edits = list(find_score_edits(text, "models/m/serve/scoring/score.py"))
    assert [problem in edit.problem for edit in edits] == [True] * bool(problem)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("@pipeline()\ndef f():\n    pass\n", 2),
        ("@pipeline\ndef f():\n    pass\n", 2),
        ("@dsl.pipeline(name='x')\ndef f():\n    pass\n", 2),
        ("def pipeline():\n    pass\n", 0),
        ("broken (", 0),
    ],
)
def test_the_pipeline_function_is_found(text: str, line: int) -> None:
    assert find_pipeline_function(text) == line


def test_a_file_that_python_cannot_read_needs_an_edit() -> None:
    found, edit = read_source("print 'two'\n", "src/x.py")
    assert found is None
    assert edit is not None
    assert str(edit.origin) == "src/x.py:1"
