"""What a new project or model may be called. Pure."""

from __future__ import annotations

import keyword
import re
import sys

from edgeferry.domain.model import RESERVED
from edgeferry.errors import UsageError

FIRST_MODEL = "cold_store"
"""The model of a new project whose user named none: what the template's example is about."""
_MODEL = re.compile(r"[a-z][a-z0-9_]*")
_IMPORTED = ("alembic", "joblib", "mlflow", "numpy", "onnx", "onnxruntime", "pandas", "skl2onnx", "sklearn")
_ALSO = ("edgeferry", "pytest", "skops", "sqlalchemy", "tests", *RESERVED)


def check_model_name(name: str) -> None:
    """Nothing when a new model may be called that; UsageError. Its name is that of its Python package."""
    if not _MODEL.fullmatch(name):
        raise UsageError(
            f"`{name}` is no name for a new model", fix=f"small letters, digits and _: {suggest_model(name)}"
        )
    if keyword.iskeyword(name) or name in sys.stdlib_module_names or name in (*_IMPORTED, *_ALSO):
        raise UsageError(
            f"`{name}` is taken: Python or a step imports it, or it is a program of edgeferry's",
            fix=f"call it another way, e.g. {name}_model",
        )


def suggest_model(text: str) -> str:
    """A model's name made of a file's or any other: `Pump v2.PKL` is `pump_v2_pkl`."""
    words = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return words if _MODEL.fullmatch(words) else f"model_{words}".rstrip("_")


def suggest_project(text: str) -> str:
    """A project's name made of its folder's, good for a path in a registry."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "project"
