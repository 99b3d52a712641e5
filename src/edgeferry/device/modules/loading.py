"""The model beside the server: its files, and the runtime that its card names, imported only when wanted."""

from __future__ import annotations

import hashlib
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from edgeferry.device.modules.rows import make_reader
from edgeferry.domain.column import TEXT
from edgeferry.domain.sketch import number_of_text
from edgeferry.errors import UsageError
from edgeferry.wire.serving import (
    BYTES_TYPES,
    PNG,
    ModelCard,
    parse_bytes_request,
    parse_model_card,
    parse_score_response,
    render_refusal,
    render_score_response,
    takes_bytes,
)

MODEL_FOLDER = "model"
"""Beside the card: the folder that the pipeline registered, for runtimes other than `onnx`."""

Read = Callable[[bytes], Any]
"""What the model is asked, from a request's body; UsageError for bad input."""
Score = Callable[[Any], tuple[bytes, Sequence[float]]]
"""The body to send, and the numbers in it; of a text the number that it is counted as."""
Answer = tuple[int, Any, bytes, Sequence[float]]
"""Status, what was asked (None when the body did not say), the body to send, and the numbers that the model
answered, or that its texts are counted as: not always finite ones, and none where it did not answer with
any."""
_decode_numbers = msgspec.json.Decoder(list[float]).decode
_MOST_WORDS = 200
"""Characters of a model's own complaint that a caller gets; the log has all of it."""


@dataclass(frozen=True)
class Files:
    """What is known of a model before it is loaded."""

    folder: Path
    card: ModelCard
    cases: bytes


@dataclass(frozen=True)
class Served:
    """One loaded model."""

    card: ModelCard
    model_sha256: str
    read: Read
    score: Score
    read_image: Read | None
    """For bodies that are images, or bytes; None when the model takes none."""
    quick: bool
    """Whether answers take less than handing the work to a thread."""


def read_files(folder: Path) -> Files:
    """Card and cases in `folder`; UsageError when they are not there or no such files."""
    return Files(folder, parse_model_card(_read(folder / "model.json")), _read(folder / "cases.json"))


def load_model(files: Files) -> Served:
    """The model, warmed up; UsageError when it does not load or files do not belong together."""
    card = files.card
    sha256 = hashlib.sha256(_read(files.folder / card.artifact)).hexdigest()
    read, score = _load_runtime(card, files.folder)
    return Served(card, sha256, read, score, _load_image_reader(card), quick=card.runtime == "onnx")


def choose_reader(served: Served, content_type: bytes) -> Read | None:
    """What reads a body of this content type; None for an image that the model does not take."""
    media_type = content_type.decode("latin-1").partition(";")[0].strip().lower()
    if takes_bytes(served.card):
        return served.read_image if media_type.startswith(BYTES_TYPES) else served.read
    if media_type.startswith("image/"):
        return served.read_image if media_type == PNG else None
    return served.read


def answer_body(served: Served, read: Read, body: bytes) -> Answer:
    """The model's answer, or a refusal: 400 for a bad body and for an answer that is no finite number, 500
    when the model failed. Never raises."""
    question = None
    try:
        question = read(body)
        said, numbers = served.score(question)
        return 200, question, said, numbers
    except UsageError as error:
        numbers = () if question is None else (math.nan,)
        return 400, question, render_refusal(error.problem, error.fix), numbers
    except BaseException as error:  # noqa: BLE001 - a model may raise what it likes, and its thread must go on
        sys.stderr.write("".join(traceback.format_exception(error)))
        words = " ".join(f"{type(error).__name__}: {error}".split())
        problem = f"the model failed: {words if len(words) <= _MOST_WORDS else words[:_MOST_WORDS] + '…'}"
        return 500, question, render_refusal(problem, "read the module's log"), ()


def _load_image_reader(card: ModelCard) -> Read | None:
    if takes_bytes(card):
        return parse_bytes_request
    if card.image is None:
        return None
    from edgeferry.device.modules.images import decode

    return partial(decode, wanted=card.image)


def _load_runtime(card: ModelCard, folder: Path) -> tuple[Read, Score]:
    columns = tuple(column.name for column in card.columns)
    artifact, texts = folder / card.artifact, card.answers == TEXT
    match card.runtime:
        case "onnx":
            from edgeferry.device.modules.runtime_onnx import load_graph

            predict = load_graph(artifact, len(columns))
        case "library":
            from edgeferry.device.modules.runtime_library import load_library

            predict = load_library(artifact, columns, card.trusted_types, texts)
        case "pyfunc":
            from edgeferry.device.modules.runtime_pyfunc import load_pyfunc

            predict = load_pyfunc(artifact.parent, card.columns, texts)
        case "score":
            from edgeferry.device.modules.runtime_score import check_text, load_script

            run = load_script(artifact, folder / MODEL_FOLDER, card.model, card.version)
            return check_text, lambda body: find_numbers(run(body))
        case _:
            raise UsageError(
                f"this server has no runtime {card.runtime!r}",
                fix="start the image's own program, or package the model with this version of edgeferry",
            )
    render: Callable[[Any], tuple[bytes, Sequence[float]]] = _render_texts if texts else _render
    return make_reader(card.columns), lambda rows: render(predict(rows))


def _render(answers: Sequence[float]) -> tuple[bytes, Sequence[float]]:
    """As `render_score_response`; of a list of finite doubles, Python's text of it is the JSON."""
    if type(answers) is list and all(map(math.isfinite, answers)):
        return repr(answers).encode(), answers
    return render_score_response(answers), answers


def _render_texts(answers: Sequence[str]) -> tuple[bytes, Sequence[float]]:
    return render_score_response(answers), list(map(number_of_text, answers))


def find_numbers(said: bytes) -> tuple[bytes, Sequence[float]]:
    """With the numbers that a script's answer holds, or its texts are counted as; none when it is of another
    kind."""
    try:
        return said, _decode_numbers(said)
    except (msgspec.MsgspecError, RecursionError):
        pass
    values = parse_score_response(said) or ()
    return said, [number_of_text(value) if isinstance(value, str) else value for value in values]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            fix="set EDGEFERRY_MODEL_DIR to the folder with the model, model.json and cases.json",
        ) from error
