"""What a saved scikit-learn model is made of, without loading it: a pickle's opcodes, a skops schema."""

from __future__ import annotations

import json
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PLAIN = ("sklearn", "numpy", "scipy", "builtins", "collections", "copyreg", "_codecs")
_BY_NAME = ("pandas", "polars", "ColumnTransformer", "FunctionTransformer")
"""Words in a model that may want its columns by name, or answers in tables."""


def is_plain(file: Path) -> bool:
    """Whether the model takes an array as well as a table with column names: it is made of scikit-learn's own
    parts, and none of them asks for columns by name. False when that cannot be told."""
    try:
        words = set(_read_skops(file) if zipfile.is_zipfile(file) else _read_pickle(file))
    except (OSError, ValueError, LookupError, zipfile.BadZipFile):
        return False
    modules = {word.removeprefix("module:").split(".")[0] for word in words if word.startswith("module:")}
    return (
        bool(modules)
        and modules <= {*_PLAIN}
        and not any(name in word for name in _BY_NAME for word in words)
    )


def _read_pickle(file: Path) -> Iterator[str]:
    """Every text of the pickle, and `module:NAME` of each module it imports from."""
    pushed: list[str | None] = []  # what the last opcodes put on the stack, None for all but texts
    memo: dict[Any, str | None] = {}
    for opcode, argument, _ in pickletools.genops(file.read_bytes()):
        if opcode.name in ("GLOBAL", "INST"):
            yield f"module:{str(argument).partition(' ')[0]}"
        elif opcode.name == "STACK_GLOBAL":
            yield f"module:{pushed[-2]}"
        if opcode.name == "MEMOIZE":
            memo[len(memo)] = pushed[-1]
        elif opcode.name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = pushed[-1]
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            pushed.append(memo[argument])
        else:
            pushed.append(argument if isinstance(argument, str) else None)
            if isinstance(argument, str):
                yield argument


def _read_skops(file: Path) -> Iterator[str]:
    """Every text of the schema, and `module:NAME` of each module it imports from."""
    with zipfile.ZipFile(file) as parts:
        yield from _walk(json.loads(parts.read("schema.json")))


def _walk(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            if key == "__module__" and isinstance(each, str):
                yield f"module:{each}"
            yield from _walk(each)
    elif isinstance(value, list):
        for each in value:
            yield from _walk(each)
    elif isinstance(value, str):
        yield value
