"""What a model server says and hears: `model.json`, `POST /score`, `GET /health`. Format: ours, and
`/score` takes what Azure ML's inference server takes.

    POST /score   {"data": [[1.5, 2, …], …]} or {"data": [{"column": 1.5, …}, …]}  ->  [12.5, …]
                 where the model answers with texts                            ->  ["setosa", …]
                 an image of the card's size, Content-Type image/png           ->  [12.5]
                 bytes, where the only column is one of bytes, Content-Type application/octet-stream, image/…
    GET /health   {"ready": true, "model", "version", "digest", "model_sha256", "captures",
                                    "started_at"}
    any refusal   {"error": {"message", "fix"}}
"""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from edgeferry.domain.capture_policy import (
    DEFAULT_POLICY,
    CapturePolicy,
    parse_capture_policy,
    render_capture_policy,
)
from edgeferry.domain.column import BYTES, Value, find_reader, wants
from edgeferry.domain.model import Column, ImageInput, Tolerance
from edgeferry.errors import DefinitionError, UsageError
from edgeferry.wire.canonical import refuse_constant, render_canonical

FORMAT = "edgeferry.model/1"
PNG = "image/png"
"""Content type of a posted image."""
MOST_BODY_BYTES = 16 * 1024 * 1024
"""Of a request, and of an answer that is read."""
BYTES_TYPES = ("application/octet-stream", "image/", "audio/", "video/")
"""How content types begin whose body is a value, of a model whose only column is one of bytes; any other body
is JSON."""

_LARGEST = int(sys.float_info.max)
_ROWS = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True)
class ModelCard:
    """`model.json`: what the server must know of the model beside it."""

    model: str
    version: str
    columns: tuple[Column, ...]
    """The inputs, in the order of the graph's input."""
    tolerance: Tolerance
    output: str
    """What an answer is, e.g. `fareAmount`."""
    runtime: str = "onnx"
    """`onnx`, `library`, `pyfunc`, `score`, or `own`: what answers, see docs/serving.md."""
    artifact: str = "model.onnx"
    """The file beside the card that the runtime loads; `model_sha256` is its hash."""
    trusted_types: tuple[str, ...] = ()
    """Runtime `library`: types that the pipeline said may be loaded from a skops file."""
    image: ImageInput | None = None
    """The images the model takes besides rows; a card of a model that takes none does not mention them."""
    capture: CapturePolicy = DEFAULT_POLICY
    """What is kept of its inferences; a card says what differs from the default."""
    answers: str = "double"
    """What it answers a row with: `double`, or `string`; a card mentions only the latter."""


@dataclass(frozen=True)
class Health:
    """What a model server says of itself."""

    ready: bool
    model: str
    version: str
    digest: str
    """Of the image reference it was started from, as its environment says; "" when not told."""
    model_sha256: str
    captures: Mapping[str, int | str] = field(default_factory=dict)
    """How many requests were `written`, `dropped` and `refused` since it started; `state` and `reason` of the
    store now."""
    started_at: float = 0.0
    """Seconds since 1970 by the server's clock; 0 when it does not say."""


def render_model_card(card: ModelCard) -> bytes:
    """The exact bytes of `model.json`."""
    said = {"format": FORMAT, **asdict(card), "columns": [_render_column(column) for column in card.columns]}
    if card.image is None:
        del said["image"]
    if card.answers == "double":
        del said["answers"]
    said["capture"] = render_capture_policy(card.capture)
    if not said["capture"]:
        del said["capture"]
    return render_canonical(said)


def parse_model_card(body: bytes) -> ModelCard:
    """The card in the bytes of a `model.json`; UsageError when they are none."""
    try:
        said = json.loads(body)
        if said["format"] != FORMAT:
            raise ValueError(f"its format is {said['format']!r}")
        return ModelCard(
            model=str(said["model"]),
            version=str(said["version"]),
            columns=tuple(_parse_column(column) for column in said["columns"]),
            tolerance=Tolerance(float(said["tolerance"]["rtol"]), float(said["tolerance"]["atol"])),
            output=str(said["output"]),
            runtime=str(said["runtime"]),
            artifact=str(said["artifact"]),
            trusted_types=tuple(str(name) for name in said["trusted_types"]),
            image=_parse_image(said.get("image")),
            capture=parse_capture_policy(said.get("capture")),
            answers=str(said.get("answers", "double")),
        )
    except (ValueError, KeyError, TypeError, DefinitionError) as error:
        raise UsageError(
            f"this is no model card of format {FORMAT}: {error}",
            fix="package the model with this version of edgeferry",
        ) from error


def _render_column(column: Column) -> dict[str, Any]:
    """Without what is unknown, and without `missing` unless the column may be."""
    said = {name: value for name, value in asdict(column).items() if value is not None}
    if not column.missing:
        del said["missing"]
    return said


def _parse_column(said: Mapping[str, Any]) -> Column:
    low, high = (None if said.get(end) is None else float(said[end]) for end in ("low", "high"))
    return Column(str(said["name"]), str(said["type"]), low, high, said.get("missing") is True)


def _parse_image(said: Any) -> ImageInput | None:
    if said is None:
        return None
    return ImageInput(int(said["width"]), int(said["height"]), float(said["scale"]))


def render_score_request(rows: Iterable[Sequence[Any]]) -> bytes:
    """The body of `POST /score` for these rows, NaN as null; ValueError when a number is infinite."""
    return b'{"data": %b}' % render_rows(list(rows))


def render_rows(rows: Sequence[Sequence[Any]]) -> bytes:
    """The rows as JSON, NaN as null; ValueError when a number is infinite."""
    try:
        return _ROWS.encode(rows).encode()
    except ValueError:
        missing = [[None if value != value else value for value in row] for row in rows]
        return _ROWS.encode(missing).encode()


def parse_score_request(body: bytes, columns: Sequence[Column]) -> list[list[Any]]:
    """The rows asked about, each with one value a column, in the order of `columns`: a finite number (NaN
    where a value is missing and may be), or a text; bytes are a text in base64.

    UsageError naming row and column (counted from 1) and the fix for everything else.
    """
    try:
        said = json.loads(body, parse_constant=refuse_constant, object_pairs_hook=_Object)
    except RecursionError as error:
        raise UsageError("the body is nested too deeply", fix='send {"data": [[…]]}') from error
    except ValueError as error:
        raise UsageError(f"the body is not JSON: {error}", fix='send {"data": [[…]]}') from error
    if isinstance(said, _Object) and said.twice == "data":
        raise UsageError("the body has `data` twice", fix="send all rows in one `data`")
    data = said.get("data") if isinstance(said, _Object) else None
    if not isinstance(data, list) or not data:
        raise UsageError(
            "the body has no rows", fix='send {"data": [[…]]}, one list or one object of columns a row'
        )
    columns = tuple(columns)
    return [_parse_row(number, row, columns) for number, row in enumerate(data, start=1)]


def takes_bytes(card: ModelCard) -> bool:
    """Whether a body of a content type in BYTES_TYPES is the value of the model's only column."""
    return card.runtime == "pyfunc" and [column.type for column in card.columns] == [BYTES]


def parse_bytes_request(body: bytes) -> list[list[Any]]:
    """The one row that a body of bytes is."""
    return [[base64.b64encode(body).decode()]]


def render_score_response(values: Iterable[Value]) -> bytes:
    """The answers as a JSON list; UsageError naming the row whose answer is not a finite number, nor a
    text."""
    answers = list(values)
    for number, value in enumerate(answers, start=1):
        if not isinstance(value, str) and not math.isfinite(value):
            raise UsageError(
                f"row {number}: the model's answer is not a finite number",
                fix="send values in the range the model was trained on",
            )
    return json.dumps(answers).encode()


def parse_score_response(body: bytes) -> tuple[Value, ...] | None:
    """The answers, or None when the body holds none.

    A list of finite numbers, or one of texts, or an object whose `result` or `predictions` is such a list:
    what scripts written for Azure ML return.
    """
    try:
        said = json.loads(body, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return None
    if isinstance(said, dict):
        said = said.get("result", said.get("predictions"))
    if not isinstance(said, list):
        return None
    if said and all(isinstance(value, str) for value in said):
        return tuple(said)
    return tuple(float(value) for value in said) if all(map(_is_number, said)) else None


def parse_health(body: bytes) -> Health:
    """What the server says of itself; UsageError when the body does not say it."""
    try:
        said = json.loads(body)
        return Health(
            ready=said["ready"] is True,
            model=str(said["model"]),
            version=str(said["version"]),
            digest=str(said["digest"]),
            model_sha256=str(said["model_sha256"]),
            captures={
                str(name): value if isinstance(value, int) else str(value)
                for name, value in said.get("captures", {}).items()
            },
            started_at=float(said.get("started_at", 0.0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"this is no health of a model server: {error!r}", fix="look at what answers at this address"
        ) from error


def render_refusal(problem: str, fix: str) -> bytes:
    """The body that goes with a refusing status."""
    return json.dumps({"error": {"message": problem, "fix": fix}}).encode()


def _is_number(value: Any) -> bool:
    """A JSON number that fits a finite double."""
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is int and abs(value) <= _LARGEST


class _Object(dict[str, Any]):
    """A JSON object that knows whether it names a member twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice: str | None = None
        if len(self) != len(pairs):
            names = [name for name, _ in pairs]
            self.twice = next(name for name in names if names.count(name) > 1)


@lru_cache(maxsize=4)
def _readers(columns: tuple[Column, ...]) -> tuple[Callable[[Any], Any], ...]:
    return tuple(find_reader(column) for column in columns)


def _parse_row(number: int, row: Any, columns: tuple[Column, ...]) -> list[Any]:
    if isinstance(row, _Object):
        row = _in_order(number, row, columns)
    elif not isinstance(row, list):
        raise UsageError(
            f"row {number} is neither a list nor an object", fix=f"send a list of {len(columns)} values"
        )
    elif len(row) != len(columns):
        raise UsageError(
            f"row {number} has {len(row)} values, the model has {len(columns)} columns",
            fix=f"send one value for each of: {_names(columns)}",
        )
    values = []
    try:
        for read, value in zip(_readers(columns), row, strict=True):
            values.append(read(value))
    except ValueError as error:
        place = len(values)
        column = columns[place]
        raise UsageError(
            f"row {number}, column {place + 1} ({column.name}): {_show(row[place])} is not {error}",
            fix=f"send {wants(column)}",
        ) from error
    return values


def _in_order(number: int, row: _Object, columns: tuple[Column, ...]) -> list[Any]:
    for place, column in enumerate(columns, start=1):
        if column.name not in row:
            raise UsageError(
                f"row {number}, column {place} ({column.name}) is missing",
                fix=f"send one value for each of: {_names(columns)}",
            )
        if column.name == row.twice:
            raise UsageError(
                f"row {number}, column {place} ({column.name}) is there twice", fix="send each column once"
            )
    if len(row) != len(columns) or row.twice is not None:
        known = {column.name for column in columns}
        unknown = next(name for name in row if name not in known)
        raise UsageError(
            f"row {number}: the model has no column {_show(unknown)}", fix=f"send only: {_names(columns)}"
        )
    return [row[column.name] for column in columns]


def _names(columns: tuple[Column, ...]) -> str:
    return ", ".join(column.name for column in columns)


def _show(value: Any) -> str:
    """A short JSON text of the value, for a message."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**308:
        return "a number of that size"
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:40] + "…"
