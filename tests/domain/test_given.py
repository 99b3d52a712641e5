"""What is known of a model's file without loading it."""

from __future__ import annotations

import collections
import os
import pickle
import subprocess
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from edgeferry.domain.given import (
    Pickled,
    form_of,
    mlflow_requirements,
    pickle_requirements,
    read_pickle,
    refuse_harmful,
    unknown_modules,
)
from edgeferry.errors import RefusedError, UsageError

PICKLE = b"\x80\x04\x95"


@pytest.mark.parametrize(
    ("name", "head", "parts", "form"),
    [
        pytest.param("m.pkl", PICKLE, None, "pickle", id="pickle"),
        pytest.param("M.PICKLE", PICKLE, None, "pickle", id="in capitals"),
        pytest.param("m.joblib", b"\x78\x9c", None, "pickle", id="joblib, compressed"),
        pytest.param("m.skops", b"PK\x03\x04", None, "skops", id="skops"),
        pytest.param("m.onnx", b"\x08\x0a", None, "onnx", id="onnx"),
        pytest.param("m", b"", ["MLmodel", "model.skops"], "mlflow", id="mlflow"),
    ],
)
def test_the_form_of_a_model_is_told_by_name_and_first_bytes(
    name: str, head: bytes, parts: list[str] | None, form: str
) -> None:
    assert form_of(name, head, parts) == form


@pytest.mark.parametrize(
    ("name", "head", "parts", "says"),
    [
        pytest.param("m.h5", b"\x89HDF", None, "none of the models", id="another kind"),
        pytest.param("m.pkl", b"<!DOCTYPE html>", None, "does not hold what its name says", id="a web page"),
        pytest.param("m.pkl", b"", None, "does not hold what its name says", id="empty"),
        pytest.param("m.skops", PICKLE, None, "does not hold what its name says", id="a pickle called skops"),
        pytest.param("m", b"", ["model.pkl"], "without a file MLmodel", id="a folder of something"),
    ],
)
def test_what_is_no_such_model_is_refused(name: str, head: bytes, parts: list[str] | None, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        form_of(name, head, parts)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_says_who_wrote_it_and_what_it_imports(protocol: int) -> None:
    fitted = LinearRegression().fit(np.eye(3), [1.0, 2.0, 3.0])
    said = read_pickle(pickle.dumps(fitted, protocol))
    assert said.sklearn == __import__("sklearn").__version__
    assert ("sklearn.linear_model._base", "LinearRegression") in said.calls
    assert pickle_requirements(said)[0] == f"scikit-learn=={said.sklearn}"
    assert unknown_modules(said) == ()
    refuse_harmful("m.pkl", said)


def test_a_file_of_joblibs_says_as_much(tmp_path: Any) -> None:
    fitted = LinearRegression().fit(np.eye(3), [1.0, 2.0, 3.0])
    joblib.dump(fitted, tmp_path / "m.joblib")
    said = read_pickle((tmp_path / "m.joblib").read_bytes())
    assert said.sklearn == __import__("sklearn").__version__
    assert unknown_modules(said) == ()


class _Calls:
    """Pickles as a call of something."""

    def __init__(self, what: Any, *arguments: Any) -> None:
        self.what, self.arguments = what, arguments

    def __reduce__(self) -> Any:
        return self.what, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("what", "says"),
    [
        pytest.param(_Calls(os.system, "echo"), r"(posix|os)\.system", id="a shell"),
        pytest.param(_Calls(subprocess.run, "echo"), r"subprocess\.run", id="a process"),
        pytest.param(_Calls(eval, "1"), r"(builtins|__builtin__)\.eval", id="code as text"),
        pytest.param(_Calls(open, "f", "w"), r"(io|_io|builtins|__builtin__)\.open", id="a file"),
    ],
)
def test_a_pickle_that_would_run_something_is_refused(what: _Calls, says: str, protocol: int) -> None:
    with pytest.raises(RefusedError, match=says):
        refuse_harmful("m.pkl", read_pickle(pickle.dumps(what, protocol)))


def test_a_class_that_only_the_notebook_had_is_named() -> None:
    said = Pickled(frozenset({("__main__", "MyScaler"), ("numpy", "ndarray")}), "1.5.0")
    with pytest.raises(RefusedError, match=r"MyScaler of the script or notebook"):
        refuse_harmful("m.pkl", said)


def test_what_plain_containers_need_is_no_harm() -> None:
    said = read_pickle(pickle.dumps(collections.OrderedDict(a=1)))
    refuse_harmful("m.pkl", said)
    assert unknown_modules(said) == ()


@pytest.mark.parametrize(
    ("calls", "sklearn", "wanted"),
    [
        pytest.param(
            {("sklearn.pipeline", "Pipeline"), ("numpy._core.multiarray", "scalar")},
            "1.9.1",
            ("scikit-learn==1.9.1", "numpy>=2", "pandas", "skops"),
            id="a new one",
        ),
        pytest.param(
            {("sklearn.pipeline", "Pipeline"), ("numpy.core.multiarray", "scalar")},
            "1.3.2",
            ("scikit-learn==1.3.2", "numpy<2", "pandas", "skops"),
            id="one from before numpy 2",
        ),
        pytest.param(
            {("xgboost.sklearn", "XGBRegressor"), ("my_features", "Scaler")},
            "",
            ("scikit-learn==1.9.1", "xgboost", "numpy", "pandas", "skops"),
            id="with another library, and without a version",
        ),
    ],
)
def test_requirements_are_what_the_file_was_saved_with(
    calls: set[tuple[str, str]], sklearn: str, wanted: tuple[str, ...]
) -> None:
    assert pickle_requirements(Pickled(frozenset(calls), sklearn)) == wanted


def test_a_module_of_nobody_known_is_named() -> None:
    said = Pickled(frozenset({("my_features.scale", "Scaler"), ("numpy", "ndarray")}), "")
    assert unknown_modules(said) == ("my_features",)


def test_an_mlflow_models_requirements_go_without_mlflow() -> None:
    text = "mlflow==2.9\nmlflow-skinny\nscikit-learn==1.5.0  # why\n--extra-index-url x\nnumpy==1.26.4\n"
    assert mlflow_requirements(text) == ("scikit-learn==1.5.0", "numpy==1.26.4", "pandas")
    assert mlflow_requirements("pandas==2.2\n") == ("pandas==2.2",)
