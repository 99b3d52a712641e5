"""Verify: run the image under a device's limits and compare every answer with the pipeline's own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from edgeferry.domain.column import BYTES, Value
from edgeferry.domain.device_class import DeviceClass
from edgeferry.domain.heldout import HeldOut, Row
from edgeferry.domain.image import Image
from edgeferry.domain.model import ImageInput, ModelDefinition, ModelVersion
from edgeferry.domain.verification import Verification, choose_rows, compare, shorten
from edgeferry.errors import OutsideError, UsageError
from edgeferry.ports import Services
from edgeferry.ports_models import Reply, RunningModule
from edgeferry.wire.deployment import SCORE_PORT
from edgeferry.wire.png import render_png
from edgeferry.wire.serving import BYTES_TYPES, PNG, parse_health, parse_score_response, render_score_request
from edgeferry.workflows.package import Packed, load_held_out

READY_S = 60.0
POLL_S = 0.02
BATCH_ROWS = 500
BATCH_LENGTH = 8 * 1024 * 1024
SINGLE_ROWS = 100
POSTED_IMAGES = 10
_LOG_LINES = 5


def verify(
    services: Services,
    definition: ModelDefinition,
    version: ModelVersion,
    packed: Packed,
    limits: DeviceClass,
) -> Verification:
    """What the image showed: every held-out row asked, many of them singly as well, every row beside a split
    of its trees, and a request that must be refused. OutsideError when engine or tracking do not do their
    part; a bad image is a value."""
    image, edges = packed.image, packed.edges
    held_out = load_held_out(services, definition, version)
    started_at = services.now()
    total = len(held_out.rows) + len(edges.rows)
    with (
        services.work(f"verify {definition.name}", total, "rows") as advance,
        services.stage.run(image, {"EDGEFERRY_DIGEST": image.digest}, limits, SCORE_PORT) as module,
    ):
        findings = _Findings(definition, advance)
        ready_s = 0.0
        try:
            await_ready(services, module)
            ready_s = services.now() - started_at
            _check_identity(module, definition, version, image, findings)
            _check_answers(module, held_out, findings)
            _check_edges(module, edges, findings)
            if definition.image:
                _check_images(module, definition.image, held_out, findings)
            if [column.type for column in version.columns] == [BYTES]:
                _check_bytes(module, image, held_out, findings)
            _check_refusal(module, image, held_out, findings)
        except NoAnswer as silence:
            findings.problems.append(_describe(module, str(silence)))
        image_id = module.image_id
    return Verification(
        model=definition.name,
        version=version.version,
        digest=image.digest,
        config_digest=image.config_digest,
        image_id=image_id,
        device_class=limits.name,
        memory_bytes=limits.memory_bytes,
        tolerance=definition.tolerance,
        passed=not findings.problems
        and findings.rows == len(held_out.rows)
        and findings.edge_rows == len(edges.rows)
        and bool(findings.images) == bool(definition.image),
        problems=shorten(findings.problems),
        rows=findings.rows,
        single_rows=len(findings.latencies_ms),
        worst_relative=findings.worst_relative,
        worst_absolute=findings.worst_absolute,
        ready_s=round(ready_s, 3),
        latency_ms=round(median(findings.latencies_ms), 3) if findings.latencies_ms else 0.0,
        edge_rows=findings.edge_rows,
        images=findings.images,
        differing=findings.differing,
        runtime=image.labels["io.edgeferry.runtime"],
        runtime_reason=image.labels["io.edgeferry.runtime-reason"],
    )


class NoAnswer(Exception):  # noqa: N818 - an event on the way, not an error of ours
    """The module stopped answering, or never began to."""


@dataclass
class _Findings:
    """What has been seen so far; the one mutable thing here, gone when `verify` returns."""

    definition: ModelDefinition
    advance: Callable[[float], None]
    """Hears how many rows were asked."""
    problems: list[str] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    rows: int = 0
    edge_rows: int = 0
    images: int = 0
    differing: int = 0
    worst_relative: float = 0.0
    worst_absolute: float = 0.0

    def take(self, numbers: Sequence[int], reply: Reply, expected: Sequence[Value], how: str) -> None:
        """One answer compared with what the pipeline predicted."""
        answers = parse_score_response(reply.body) if reply.status == 200 else None
        if answers is None:
            said = reply.body[:200].decode("utf-8", "replace")
            self.problems.append(
                f"rows {numbers[0]} to {numbers[-1]}: answered {reply.status}: {said} ({how})"
            )
            return
        found = compare(numbers, answers, expected, self.definition.tolerance, how)
        self.problems.extend(found.problems)
        self.differing += len(found.problems)
        self.worst_relative = max(self.worst_relative, found.worst_relative)
        self.worst_absolute = max(self.worst_absolute, found.worst_absolute)


def await_ready(services: Services, module: RunningModule) -> None:
    """Returns with the first good answer on /health; NoAnswer when the container ends or time is up."""
    deadline = services.now() + READY_S
    while True:
        try:
            reply = module.ask("GET", "/health")
        except OutsideError:
            pass
        else:
            if reply.status == 200:
                return
        if module.state() != "running":
            raise NoAnswer("ended before it was ready")
        if services.now() > deadline:
            raise NoAnswer(f"was not ready within {READY_S:g} s")
        services.sleep(POLL_S)


def _check_identity(
    module: RunningModule,
    definition: ModelDefinition,
    version: ModelVersion,
    image: Image,
    findings: _Findings,
) -> None:
    """The server is this image's: model, version, digest, graph and smoke cases."""
    try:
        health = parse_health(_ask(module, "GET", "/health").body)
    except UsageError as error:
        findings.problems.append(f"/health: {error.problem}")
        return
    cases = hashlib.sha256(_ask(module, "GET", "/cases").body).hexdigest()
    for what, said, wanted in (
        ("ready", health.ready, True),
        ("model", health.model, definition.name),
        ("version", health.version, version.version),
        ("digest", health.digest, image.digest),
        ("graph's sha256", health.model_sha256, image.labels["io.edgeferry.model-sha256"]),
        ("cases' sha256", cases, image.labels["io.edgeferry.cases-sha256"]),
    ):
        if said != wanted:
            findings.problems.append(f"the server's {what} is {said}, expected {wanted}")


def _check_answers(module: RunningModule, held_out: HeldOut, findings: _Findings) -> None:
    """Every row in batches, then some one by one: a batch may hide what a single row shows."""
    for numbers in _batches(held_out.rows):
        rows = [held_out.rows[number - 1] for number in numbers]
        expected = [held_out.predictions[number - 1] for number in numbers]
        findings.take(
            numbers, _ask(module, "POST", "/score", render_score_request(rows)), expected, "in a batch"
        )
        findings.rows += len(numbers)
        findings.advance(findings.rows)
    for index in choose_rows(len(held_out.rows), SINGLE_ROWS):
        reply = _ask(module, "POST", "/score", render_score_request([held_out.rows[index]]))
        findings.take([index + 1], reply, [held_out.predictions[index]], "asked singly")
        findings.latencies_ms.append(reply.latency_ms)


def _check_edges(module: RunningModule, edges: HeldOut, findings: _Findings) -> None:
    """Every row beside a split: a value that lost its last bits takes another branch there."""
    for numbers in _batches(edges.rows):
        rows = [edges.rows[number - 1] for number in numbers]
        expected = [edges.predictions[number - 1] for number in numbers]
        reply = _ask(module, "POST", "/score", render_score_request(rows))
        findings.take(numbers, reply, expected, "beside a split")
        findings.edge_rows += len(numbers)
        findings.advance(findings.rows + findings.edge_rows)


def _check_images(module: RunningModule, wanted: ImageInput, held_out: HeldOut, findings: _Findings) -> None:
    """Some held-out rows as posted images: the answers are those to the same pixels as numbers, and an image
    of another size is refused."""
    for index in choose_rows(len(held_out.rows), POSTED_IMAGES):
        pixels = [wanted.gray(value) for value in held_out.rows[index]]
        rows = [[wanted.value(gray) for gray in pixels]]
        told = parse_score_response(_ask(module, "POST", "/score", render_score_request(rows)).body)
        shown = _ask(module, "POST", "/score", render_png(pixels, wanted.width), PNG)
        findings.take([index + 1], shown, told or (), "as an image")
        findings.images += 1
    wide = _ask(module, "POST", "/score", render_png([0] * (wanted.width + 1), wanted.width + 1), PNG)
    if not 400 <= wide.status < 500:
        findings.problems.append(f"an image of another size was answered with {wide.status}, not refused")


def _check_bytes(module: RunningModule, image: Image, held_out: HeldOut, findings: _Findings) -> None:
    """Some held-out rows of one value, posted as the bytes that they are; a `score.py` reads JSON only."""
    if image.labels["io.edgeferry.runtime"] != "pyfunc":
        return
    for index in choose_rows(len(held_out.rows), POSTED_IMAGES):
        body = base64.b64decode(held_out.rows[index][0])
        if not body:  # a request without a body has no content type
            continue
        reply = _ask(module, "POST", "/score", body, BYTES_TYPES[0])
        findings.take([index + 1], reply, [held_out.predictions[index]], "as bytes")


def _check_refusal(module: RunningModule, image: Image, held_out: HeldOut, findings: _Findings) -> None:
    """A row of the wrong width must be refused; a `score.py`, which has no 4xx, must not answer it."""
    wide = render_score_request([[*held_out.rows[0], 1.0]])
    reply = _ask(module, "POST", "/score", wide)
    if image.labels["io.edgeferry.runtime"] == "score":
        refused = reply.status != 200 or parse_score_response(reply.body) is None
    else:
        refused = 400 <= reply.status < 500
    if not refused:
        findings.problems.append(
            f"a row with one value too many was answered with {reply.status}, not refused"
        )


def _batches(rows: Sequence[Row]) -> Iterator[range]:
    """The rows' numbers, from 1, in pieces of at most BATCH_ROWS rows and about BATCH_LENGTH of texts."""
    first, length = 1, 0
    for number, row in enumerate(rows, start=1):
        more = sum(len(value) for value in row if isinstance(value, str))
        if number - first == BATCH_ROWS or (length and length + more > BATCH_LENGTH):
            yield range(first, number)
            first, length = number, 0
        length += more
    if rows:
        yield range(first, len(rows) + 1)


def _ask(
    module: RunningModule, method: str, path: str, body: bytes = b"", media_type: str = "application/json"
) -> Reply:
    try:
        return module.ask(method, path, body, media_type)
    except OutsideError as error:
        raise NoAnswer(f"stopped answering at {path}: {error.problem}") from error


def _describe(module: RunningModule, what: str) -> str:
    """What happened, the container's state and its last words, in one line."""
    last = " | ".join(line.strip() for line in module.logs().splitlines()[-_LOG_LINES:] if line.strip())
    return f"the container {what}; it is {module.state()}; its last lines: {last or 'none'}"
