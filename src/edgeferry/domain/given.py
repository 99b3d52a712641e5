"""A model that was there before any pipeline: what its file says of itself, and rows to ask it. Pure.

A pickle is read here, never loaded: loading one runs whatever it says. That the calls known to do harm are
refused makes no pickle safe; it finds the careless ones.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from edgeferry.errors import RefusedError, UsageError

FORMS = ("pickle", "skops", "onnx", "mlflow")
TESTED_SKLEARN = "1.9.1"
"""What our own example trains with; for files that do not say what they were saved with."""

_ENDINGS = {".pkl": "pickle", ".pickle": "pickle", ".joblib": "pickle", ".skops": "skops", ".onnx": "onnx"}
_HARMLESS = ("_codecs", "_operator", "abc", "array", "collections", "copyreg", "datetime", "decimal", "enum")
_HARMLESS_TOO = ("fractions", "functools", "math", "numbers", "operator", "pathlib", "random", "re", "types")
"""Of Python's own modules those that models are made of; any other does something when it is called."""
_HARMFUL_BUILTINS = ("eval", "exec", "compile", "open", "__import__", "input", "breakpoint")
_OLD_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg", "commands": "subprocess"}
"""What pickles of the old protocols call modules."""
_LIBRARIES = {
    "sklearn": "scikit-learn",
    "imblearn": "imbalanced-learn",
    **{name: name for name in ("xgboost", "lightgbm", "catboost", "pandas", "scipy", "cloudpickle", "dill")},
    **{name: name for name in ("category_encoders", "feature_engine", "polars", "statsmodels")},
}
_ALWAYS_THERE = ("numpy", "joblib")
_SERVING = ("alembic", "azureml-mlflow", "mlflow", "mlflow-skinny", "sqlalchemy")

_TEXT = rb"(?:\x8c.|X....)"
_KEPT = rb"(?:\x94|q.|r....)?"
_VERSION = re.compile(
    rb"_sklearn_version" + _KEPT + _TEXT + rb"([0-9]+\.[0-9A-Za-z.]+?)(?=\x94|q|r|u|s|[^\w.])", re.S
)
_GLOBAL = re.compile(rb"c([A-Za-z_][\w.]*)\n([A-Za-z_][\w.]*)\n(?=[pqr(\x94])")
_STACK_GLOBAL = re.compile(rb"\x8c(.)([A-Za-z_][\w.]*)\x94\x8c(.)([A-Za-z_][\w.]*)\x94\x93", re.S)


@dataclass(frozen=True)
class GivenModel:
    """What `edgeferry init --from-model` goes by."""

    name: str
    form: str
    """One of FORMS."""
    file: str
    """Its absolute path, a file or a folder."""
    sample: str
    """The path of the rows."""
    requirements: tuple[str, ...]
    """What its step environment takes besides MLflow."""
    warnings: tuple[str, ...]
    """What a person should know before it is loaded."""
    target: str = ""
    """The column of the rows that is no input of the model; "" when none was named."""
    missing: bool = False
    """Whether the rows have missing numbers."""


@dataclass(frozen=True)
class Pickled:
    """What a pickle says without being loaded."""

    calls: frozenset[tuple[str, str]]
    """Module and name of all that it imports."""
    sklearn: str
    """The version of scikit-learn that wrote it; "" when it does not say."""


def form_of(name: str, head: bytes, parts: Sequence[str] | None) -> str:
    """One of FORMS, from a file's name and first bytes, or from the names in a folder; UsageError."""
    if parts is not None:
        if "MLmodel" in parts:
            return "mlflow"
        raise UsageError(
            f"{name} is a folder without a file MLmodel", fix="name the folder that MLflow saved"
        )
    form = _ENDINGS.get(posixpath.splitext(name)[1].lower(), "")
    if not form:
        raise UsageError(
            f"{name} is none of the models that can be taken as they are",
            fix=f"a file {', '.join(_ENDINGS)}, or the folder that MLflow saved",
        )
    looks = {
        "pickle": not head.startswith((b"<", b"{", b"PK")),
        "skops": head.startswith(b"PK"),
        "onnx": True,
    }
    if not head or not looks[form]:
        raise UsageError(
            f"{name} does not hold what its name says", fix="is it whole? download or save it again"
        )
    return form


def read_pickle(data: bytes) -> Pickled:
    """What the bytes of a pickle, or of joblib's kin of it, import and were written by."""
    calls = {(module.decode(), name.decode()) for module, name in _GLOBAL.findall(data)}
    for length, module, size, name in _STACK_GLOBAL.findall(data):
        if (length[0], size[0]) == (len(module), len(name)):
            calls.add((module.decode(), name.decode()))
    version = _VERSION.search(data)
    calls = {(_OLD_NAMES.get(module, module), name) for module, name in calls}
    return Pickled(frozenset(calls), version[1].decode().rstrip(".") if version else "")


def refuse_harmful(file: str, pickled: Pickled) -> None:
    """Nothing when the pickle imports nothing that is known to do harm; RefusedError naming what it does."""
    for module, name in sorted(pickled.calls):
        top = module.split(".")[0]
        harmless = name not in _HARMFUL_BUILTINS if top == "builtins" else top in (*_HARMLESS, *_HARMLESS_TOO)
        if top in (*sys.stdlib_module_names, "posix", "nt", "pip") and top != "__main__" and not harmless:
            raise RefusedError(
                f"{file} would call {module}.{name} when it is loaded, which no model needs; it was not",
                fix="do not load it anywhere; ask who made it for a skops or ONNX file",
            )
    own = sorted(name for module, name in pickled.calls if module == "__main__")
    if own:
        raise RefusedError(
            f"{file} needs {', '.join(own)} of the script or notebook that saved it, and does not hold it",
            fix="move that code into a module, import it from there, and save the model again",
        )


def pickle_requirements(pickled: Pickled) -> tuple[str, ...]:
    """The libraries that loading takes, of the versions that wrote the file where it says so."""
    modules = {module.split(".")[0] for module, _ in pickled.calls}
    version = pickled.sklearn or TESTED_SKLEARN
    wanted = [f"scikit-learn=={version}"]
    wanted += [
        _LIBRARIES[name]
        for name in sorted(modules)
        if name in _LIBRARIES and name not in ("sklearn", "pandas", "scipy")
    ]
    new_numpy = any(module.startswith("numpy._core") for module, _ in pickled.calls)
    wanted.append("numpy>=2" if new_numpy else "numpy<2" if _is_before(version, (1, 5)) else "numpy")
    return (*wanted, "pandas", "skops")


def unknown_modules(pickled: Pickled) -> tuple[str, ...]:
    """Modules that it imports and that are of no library known here."""
    modules = {module.split(".")[0] for module, _ in pickled.calls}
    return tuple(sorted(modules - {*_LIBRARIES, *_ALWAYS_THERE, *sys.stdlib_module_names}))


def mlflow_requirements(text: str) -> tuple[str, ...]:
    """The lines of an MLflow model's requirements.txt, without MLflow and its kin: steps have them."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    named = [line for line in lines if line and not line.startswith("-")]
    kept = [line for line in named if re.split(r"[\[<>=~! ;]", line)[0].lower() not in _SERVING]
    return tuple(kept if any(re.match(r"pandas\b", line) for line in kept) else [*kept, "pandas"])


def _is_before(version: str, other: tuple[int, int]) -> bool:
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    return tuple(numbers) < other
