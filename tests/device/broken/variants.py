"""The broken variants: what is wrong with each, and how it is made.

Faults in a model are faults of packaging: the image holds the wrong graph and calls it its own, so that only
its answers can tell. All are served by a process that speaks HTTP: the real server, or `liar` where the fault
is in what it says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edgeferry.domain.model import Column
from edgeferry.domain.smoke import EqualCase, SmokeRequest
from edgeferry.wire.cases import parse_cases, render_cases
from edgeferry.wire.serving import parse_model_card, render_model_card
from tests.device.broken.models import Files, Fitted, fit_digits, fit_fares, refit_fares
from tests.device.broken.nursery import Nursery
from tests.device.conftest import DIGEST, free_port

Package = Callable[[Fitted], Files]
TIGHT_MS = 5.0
"""The latency limit of variants that are slow, so that nobody waits long for them."""


@dataclass(frozen=True)
class Variant:
    """One image that is not what it should be."""

    name: str
    package: Package = Fitted.package
    """The image as it was released: what the smoke request names."""
    serve: Callable[[Files], Files] = dict
    """The image as it is served."""
    fitted: Callable[[], Fitted] = fit_fares
    fault: str | None = None
    """Of the liar; None: the real server answers."""
    digest: str = DIGEST
    """What the server is told that it is."""


def start(nursery: Nursery, variant: Variant, folder: Path) -> tuple[int, SmokeRequest]:
    """The process of the variant's server, which may not answer yet, and what the companion is to ask."""
    released = variant.package(variant.fitted())
    for name, body in variant.serve(released).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    port = free_port()
    process = nursery.start(folder, port, variant.digest, variant.fault)
    cases = parse_cases(released["cases.json"])
    sha256 = hashlib.sha256(released["cases.json"]).hexdigest()
    url = f"http://127.0.0.1:{port}"
    return process, SmokeRequest(cases.model, url, DIGEST, cases.version, sha256, "nonce")


# the model answers wrong: the real server with a graph that is


def _number(name: str, value: float) -> str:
    return f"{name} = Constant <value = double {{{value!r}}}> ()"


def _count(name: str, *values: int) -> str:
    return f"{name} = Constant <value = int64[{len(values)}] {{{', '.join(map(str, values))}}}> ()"


def _row(name: str, values: list[float]) -> str:
    return f"{name} = Constant <value = double[{len(values)}] {{{', '.join(map(repr, values))}}}> ()"


def _graph(before: str = "x0 = Identity(x)", after: str = "y = Identity(y0)") -> Package:
    return lambda fitted: fitted.package(fitted.graph(before, after))


def _where(column: int, test: str, bound: float, factor: float) -> Package:
    """Answers are `factor` times what they should be where a column is Greater or Less than `bound`."""
    chosen = f"{_count('i', column)} d = Gather<axis = 1>(x, i) {_number('t', bound)} h = {test}(d, t)"
    return _graph(
        after=f"{chosen} {_number('k', factor)} {_number('one', 1.0)} f = Where(h, k, one) y = Mul(y0, f)"
    )


def _refitted(change: Callable[[Fitted], Fitted]) -> Package:
    """Packaged as if the training had given what `change` makes of it; held-out answers are the true ones."""
    return lambda fitted: fitted.package(change(fitted).graph())


def _swap_columns(fitted: Fitted) -> Fitted:
    weights = fitted.weights.copy()
    weights[[0, 1]] = weights[[1, 0]]
    return replace(fitted, weights=weights)


def _ignore(column: int, fitted: Fitted) -> Fitted:
    weights = fitted.weights.copy()
    weights[column] = 0
    return replace(fitted, weights=weights)


def _quantise(fitted: Fitted) -> Fitted:
    step = abs(fitted.weights).max() / 127
    return replace(fitted, weights=(fitted.weights / step).round() * step)


_MILES = [0.621371, 1.0, 1.0, 1.0, 1.0]

MODELS = (
    Variant("weights of another training", _refitted(lambda _: refit_fares())),
    Variant("two columns swapped", _refitted(_swap_columns)),
    Variant("no scaler", _refitted(lambda one: replace(one, mean=one.mean * 0, scale=one.scale * 0 + 1))),
    Variant("scaler of other data", _refitted(lambda one: replace(one, mean=one.mean * 1.05))),
    Variant("no bias", _refitted(lambda one: replace(one, bias=one.bias * 0))),
    Variant("ignores its weightiest column", _refitted(partial(_ignore, 0))),
    Variant("ignores its lightest column", _refitted(partial(_ignore, 3))),
    Variant("weights of eight bits", _refitted(_quantise)),
    Variant("a constant", _graph(after=f"{_number('k', 15.0)} o = Sub(y0, y0) y = Add(o, k)")),
    Variant("NaN", _graph(after="o = Sub(y0, y0) y = Div(o, o)")),
    Variant(
        "NaN for near trips",
        _graph(
            after=f"{_count('i', 0)} d = Gather<axis = 1>(x, i) {_number('t', 2.0)} e = Sub(d, t) r = Sqrt(e)"
            "o = Sub(r, r) y = Add(y0, o)"
        ),
    ),
    Variant("off by 1 %", _graph(after=f"{_number('k', 1.01)} y = Mul(y0, k)")),
    Variant("off by a millionth", _graph(after=f"{_number('k', 1.000001)} y = Mul(y0, k)")),
    Variant("negated", _graph(after="y = Neg(y0)")),
    Variant("rounded to integers", _graph(after="y = Round(y0)")),
    Variant("answers in cents", _graph(after=f"{_number('k', 100.0)} y = Mul(y0, k)")),
    Variant("takes miles for kilometres", _graph(f"{_row('k', _MILES)} x0 = Mul(x, k)")),
    Variant("computed in 32 bits", _graph("h = Cast<to = 1>(x) x0 = Cast<to = 11>(h)")),
    Variant("answers overflow 16 bits", _graph(after="h = Cast<to = 10>(y0) y = Cast<to = 11>(h)")),
    Variant("capped at 40", _graph(after=f"{_number('k', 40.0)} y = Min(y0, k)")),
    Variant("off by 5 % beyond the farthest trips but two", _where(0, "Greater", 17.0, 1.05)),
    Variant("off by 5 % for the shortest rides in time", _where(1, "Less", 3.0, 1.05)),
    Variant("off by 5 % at one hour of the day", _where(3, "Greater", 22.5, 1.05)),
    Variant("off by 5 % for six passengers", _where(2, "Greater", 5.5, 1.05)),
    Variant(
        "random noise",
        _graph(after="r = RandomNormalLike<scale = 0.001>(y0) y = Add(y0, r)"),
    ),
    Variant(
        "answers to a batch in reverse",
        _graph(
            after=f"{_count('b9', -1)} {_count('e', -1_000_000)} {_count('a9', 0)} {_count('v', -1)}"
            "y = Slice(y0, b9, e, a9, v)"
        ),
    ),
    Variant(
        "the first row's answer for all rows",
        _graph(after=f"{_count('i', 0)} f = Gather<axis = 0>(y0, i) s2 = Shape(y0) y = Expand(f, s2)"),
    ),
    Variant(
        "normalised over the batch",
        _graph(
            after=f"{_count('a', 0)} q = ReduceMean(y0, a) d = Sub(y0, q) {_number('k', 0.1)} r = Mul(d, k)"
            "y = Add(y0, r)"
        ),
    ),
    Variant("classes shifted by one", _graph(after=f"{_number('k', 1.0)} y = Add(y0, k)"), fitted=fit_digits),
    Variant(
        "two classes exchanged",
        _refitted(
            lambda one: replace(
                one,
                weights=one.weights[:, [0, 1, 2, 8, 4, 5, 6, 7, 3, 9]],
                bias=one.bias[[0, 1, 2, 8, 4, 5, 6, 7, 3, 9]],
            )
        ),
        fitted=fit_digits,
    ),
    Variant("images inverted", _graph(f"{_number('k', 16.0)} x0 = Sub(k, x)"), fitted=fit_digits),
    Variant(
        "images turned",
        _graph(
            f"{_count('p', -1, 8, 8)} q = Reshape(x, p) t = Transpose<perm = [0, 2, 1]>(q)"
            f"{_count('r', -1, 64)} x0 = Reshape(t, r)"
        ),
        fitted=fit_digits,
    ),
    Variant(
        "pixels of 0 to 1 for 0 to 16", _graph(f"{_number('k', 16.0)} x0 = Div(x, k)"), fitted=fit_digits
    ),
)


# a script of the user's own answers wrong: the real server with a score.py

SCRIPT = """
import json, os, struct, time
truth = json.load(open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "truth.json")))
state = {"asked": 0, "kept": []}

def init():
    pass

def predict(row):
    z = [(v - m) / s for v, m, s in zip(row, truth["mean"], truth["scale"], strict=True)]
    return truth["bias"][0] + sum(v * w[0] for v, w in zip(z, truth["weights"]))

def run(raw_data):
    rows = json.loads(raw_data)["data"]
    state["asked"] += 1
    answers = [predict(row) for row in rows]
    BROKEN
    return answers
"""


def _script(line: str, latency_ms: float = 250.0) -> Package:
    return lambda fitted: fitted.package(
        runtime="score", script=SCRIPT.replace("BROKEN", line), latency_ms=latency_ms
    )


SCRIPTS = (
    Variant("a script that works once", _script("assert state['asked'] < 2")),
    Variant(
        "a script that adds to the answer before",
        _script("answers = [a + state.get('last', 0) * 1e-6 for a in answers]; state['last'] = answers[-1]"),
    ),
    Variant("a script that drifts", _script("answers = [a * (1 + state['asked'] * 1e-7) for a in answers]")),
    Variant("a script that returns texts", _script("answers = [str(a) for a in answers]")),
    Variant("a script that returns its error", _script("return {'error': 'out of memory'}")),
    Variant("a script that answers the first row only", _script("answers = answers[:1]")),
    Variant(
        "a script that returns 32 bits",
        _script("answers = [struct.unpack('f', struct.pack('f', a))[0] for a in answers]"),
    ),
    Variant("a script that leaves", _script("raise SystemExit(3)")),
    Variant("a script that keeps what it was asked", _script("state['kept'].append(os.urandom(1024) * 256)")),
    Variant("a script that is slow", _script("time.sleep(0.006)", TIGHT_MS)),
)


# the image is not what it is taken for: the real server with other files


def _card(**changes: object) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        card = replace(parse_model_card(files["model.json"]), **changes)  # type: ignore[arg-type]
        return {**files, "model.json": render_model_card(card)}

    return change


def _shorten_cases(files: Files) -> Files:
    """The cases are those that always hold."""
    cases = parse_cases(files["cases.json"])
    kept = tuple(case for case in cases.cases if isinstance(case, EqualCase))[:1]
    return {**files, "cases.json": render_cases(replace(cases, cases=kept))}


def _turned_names(fitted: Fitted) -> Files:
    """The card names the columns in another order than the graph takes them."""
    files = fitted.package()
    columns = tuple(
        Column(name, "double") for name in (fitted.columns[1], fitted.columns[0], *fitted.columns[2:])
    )
    return _card(columns=columns)(files)


IMAGES = (
    Variant("names of columns in another order", _turned_names),
    Variant("a wrong version in its label", serve=_card(version="4")),
    Variant("another model's image", serve=lambda _: fit_digits().package()),
    Variant(
        "the version before, with its cases",
        partial(Fitted.package, version="4"),
        serve=lambda _: fit_fares().package(refit_fares().graph()),
    ),
    Variant(
        "the model of the version before",
        serve=lambda files: {**files, "model.onnx": refit_fares().graph()},
    ),
    Variant(
        "the cases of the version before",
        serve=lambda files: {**files, "cases.json": fit_fares().package(version="2")["cases.json"]},
    ),
    Variant("cases taken away", serve=_shorten_cases),
    Variant("cases that are none", serve=lambda files: {**files, "cases.json": b"{}"}),
    Variant("another image under this name", digest="sha256:" + "e" * 64),
    Variant("a model that does not load", serve=lambda files: {**files, "model.onnx": b"no graph"}),
)


# the server does not keep to what was agreed: the liar

FAULTS = (
    *("always_500", "sometimes_500", "an_error_with_200", "an_empty_body", "no_content", "accepted"),
    *("texts_for_numbers", "lists_for_numbers", "truths_for_numbers", "nan_literals", "one_answer_too_few"),
    *("one_answer_too_few_of_many", "one_answer_too_many", "a_page", "answers_as_text", "other_names"),
    *("half_a_body", "rubbish_in_chunks", "no_http", "hangs_up", "compressed", "busy_for_ever"),
    *("redirects_answers", "works_once", "dies", "dies_late", "leaks", "answers_the_request_before"),
    *(
        "answers_from_a_wrong_cache",
        "backwards",
        "accepts_everything",
        "refuses_with_500",
        "refuses_with_200",
    ),
    *("never_ready", "health_is_a_page", "health_503", "ready_is_a_text", "health_forgets_its_digest"),
    *("redirects_all", "knows_the_cases"),
)

_tight = partial(Fitted.package, latency_ms=TIGHT_MS)

SERVERS = (
    *(Variant(f"a server: {fault.replace('_', ' ')}", fault=fault) for fault in FAULTS),
    *(
        Variant(f"a server: {fault.replace('_', ' ')}", _tight, fault=fault)
        for fault in ("slow", "slow_sometimes")
    ),
)

VARIANTS = (*MODELS, *SCRIPTS, *IMAGES, *SERVERS)

GOOD = (
    Variant("fares"),
    Variant("digits", fitted=fit_digits),
    Variant("fares by a script", _script("pass")),
    Variant("fares by another server that keeps to what was agreed", fault="none"),
)
"""Images that are as they should be, by all programs that serve the broken ones."""

MISSED = frozenset({"a server: knows the cases"})
"""What no question whose answer lies beside it can tell."""
