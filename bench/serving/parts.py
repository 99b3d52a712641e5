"""What is compared with what, and what is aimed at."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.serving import programs
from bench.serving.judged import Aim, Row, compare
from bench.serving.places import make_ours
from bench.serving.rounds import CONNECTIONS, Alone, Loaded, Started
from bench.serving.servers import Program
from bench.serving.stock import LIBRARY, Model

BASE = "azureml"
"""The peer beside which the bars stand; ours is to be ahead of all."""
AHEAD = Aim(1.0)
BELOW = Aim(1.0, at_most=True)
NEAR = Aim(1.5, at_most=True)


@dataclass(frozen=True)
class Part:
    """One of our servers under load, the peers beside it."""

    what: str
    model: str
    runtime: str
    aims: tuple[Aim, Aim]
    """Beside the base, with 1 and with 16 connections."""
    capture: bool = False
    alone: bool = False
    """Whether it is also compared with answering without a server."""


LOADED: Mapping[str, Part] = {
    "linear": Part("linear as ONNX", "linear", "onnx", (Aim(3, 5), Aim(8, 25)), alone=True),
    "capture": Part("linear as ONNX, captured", "linear", "onnx", (Aim(6, 15), Aim(25, 80)), capture=True),
    "trees": Part("200 trees as ONNX", "trees", "onnx", (Aim(11, 20), Aim(40, 100)), alone=True),
    "script": Part("untouched score.py, linear", "linear", "score", (Aim(2.2), Aim(4)), alone=True),
    "library": Part("scikit-learn, linear", "linear", "library", (AHEAD, AHEAD)),
}
STARTED = {  # runtime: of the base's memory and of its time to the first answer, at most
    "onnx": (Aim(0.45, at_most=True), Aim(0.35, at_most=True)),
    "score": (Aim(0.75, at_most=True), Aim(0.8, at_most=True)),
    "library": (Aim(0.75, at_most=True), Aim(0.8, at_most=True)),
}


def plan_load(
    parts: Collection[str], peers: Sequence[str], models: Mapping[str, Model], scratch: Path
) -> tuple[list[Program], list[Alone]]:
    """The servers that the parts take, each once, and what answers without one."""
    wanted: dict[str, Program] = {}
    alone = []
    for name, part in LOADED.items():
        model = models[part.model]
        limited = part.alone and "limit" in parts
        if name in parts or limited:
            wanted[_ours(name)] = programs.our_program(
                _ours(name), model, part.runtime, scratch, capture=part.capture
            )
        if limited:
            alone.append(_alone(name, part, model, scratch))
        for peer in peers if name in parts else ():
            title = _title(peer, part)
            capture = {"capture": True} if title.endswith("-csv") else {}
            wanted[title] = programs.PEERS[peer](title, model, scratch, **capture)
    if "limit" in parts:
        wanted[programs.NOOP] = programs.noop(models["linear"], scratch)
    return list(wanted.values()), alone


def plan_start(peers: Sequence[str], models: Mapping[str, Model], scratch: Path) -> list[Program]:
    """The servers of the linear model, to be started one by one."""
    model = models["linear"]
    ours = [
        programs.our_program(f"edgeferry-start-{runtime}", model, runtime, scratch) for runtime in STARTED
    ]
    return [*ours, *(programs.PEERS[peer](f"{peer}-start", model, scratch) for peer in peers)]


def judge_load(parts: Collection[str], peers: Sequence[str], found: Loaded) -> Iterator[Row]:
    """Requests a second, ours beside each peer's."""
    for name, part in LOADED.items():
        for peer in peers if name in parts else ():
            for aim, connections in zip(part.aims, CONNECTIONS, strict=True):
                title = _title(peer, part)
                ours, theirs = found.slices[_ours(name), connections], found.slices[title, connections]
                yield compare(
                    name,
                    f"{part.what}, {_at(connections)}: {title}",
                    "1/s",
                    [each.rate for each in ours],
                    [each.rate for each in theirs],
                    aim if peer == BASE else AHEAD,
                )


def judge_limit(found: Loaded) -> Iterator[Row]:
    """Processor time of a request, beside a server that does nothing and an answer without a server."""
    for name, part in LOADED.items():
        if not part.alone:
            continue
        for connections in CONNECTIONS:
            ours = [each.cpu_us for each in found.slices[_ours(name), connections]]
            nothing = [each.cpu_us for each in found.slices[programs.NOOP, connections]]
            answers = found.answers_us[f"{name}-alone"]
            for what, index, aim in (("answer", 0, NEAR), ("model alone", 1, None)):
                best = [least + each[index] for least, each in zip(nothing, answers, strict=True)]
                title = f"{part.what}, {_at(connections)}: no-op + {what}"
                yield compare("limit", title, "µs", ours, best, aim)


def judge_start(peers: Sequence[str], found: Started) -> Iterator[Row]:
    """Memory and time to the first answer, ours beside each peer's."""
    series = ((found.resident_mib, "resident", "MiB"), (found.seconds, "first answer", "s"))
    for runtime, aims in STARTED.items():
        for peer in peers:
            for (figures, what, unit), aim in zip(series, aims, strict=True):
                ours, theirs = figures[f"edgeferry-start-{runtime}"], figures[f"{peer}-start"]
                aimed = aim if peer == BASE else BELOW
                yield compare("start", f"{what}, linear, {runtime}: {peer}", unit, ours, theirs, aimed)
            ours, theirs = (
                found.proportional_mib[name] for name in (f"edgeferry-start-{runtime}", f"{peer}-start")
            )
            yield compare("start", f"proportional, linear, {runtime}: {peer}", "MiB", ours, theirs, None)


def _alone(name: str, part: Part, model: Model, scratch: Path) -> Alone:
    """Answering in a process of the server's own environment."""
    onnx = part.runtime == "onnx"
    python = make_ours(() if onnx else LIBRARY) / "python"
    place = model.packaged(part.runtime)
    bodies = scratch / f"{name}-alone.txt"
    bodies.write_bytes(b"".join(programs.ask_rows([row]) + b"\n" for row in model.rows))
    kind, file = ("onnx", place / "model.onnx") if onnx else ("script", place)
    return Alone(f"{name}-alone", python, (kind, str(file), str(bodies)))


def _ours(part: str) -> str:
    return f"edgeferry-{part}"


def _title(peer: str, part: Part) -> str:
    """The peer's server for that part; only the base has a capture, so the others go without."""
    return f"{peer}-{part.model}" + ("-csv" if part.capture and peer == BASE else "")


def _at(connections: int) -> str:
    return f"{connections} connection{'s' if connections > 1 else ''}"
