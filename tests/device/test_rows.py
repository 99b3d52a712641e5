"""Rows read fast are the rows that the exact parser reads, and what it refuses is refused alike."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from edgeferry.device.modules.rows import make_reader
from edgeferry.domain.model import Column
from edgeferry.errors import UsageError
from edgeferry.wire.serving import parse_score_request

MIXED = (
    Column("a", "double"),
    Column("b", "float"),
    Column("c", "integer"),
    Column("d", "long"),
    Column("e", "double", missing=True),
)
DOUBLES = (Column("a", "double"), Column("b", "double"))
VALUES = (
    *(
        "0",
        "-0",
        "-0.0",
        "1",
        "2.0",
        "2.5",
        "1e2",
        "1E+2",
        "1e-400",
        "5e-324",
        "0.1",
        "-1.5",
        "1e999",
        "-1e999",
    ),
    *("1e308", "1.7976931348623157e308", "1.7976931348623159e308", "3.4028234663852886e38", "3.5e38"),
    *("2147483647", "2147483648", "-2147483648", "-2147483649", "9223372036854775807", "9223372036854775808"),
    *("-9223372036854775808", "-9223372036854775809", "9007199254740993", "18446744073709551617"),
    *(
        "1" + "0" * 308,
        "1" + "0" * 309,
        "1" + "0" * 5000,
        "0.1" + "2" * 400,
        "123456789012345678901234567890",
    ),
    *(
        "null",
        "true",
        "false",
        "NaN",
        "Infinity",
        "-Infinity",
        '"1"',
        "[]",
        "{}",
        "01",
        "1.",
        ".5",
        "+1",
        "0x1",
        "",
    ),
    *("0.30000000000000004", "2.2250738585072011e-308", "1.00000000000000011102230246251565"),
)


def outcome(read: Callable[[bytes], Any], body: bytes) -> str:
    """What comes out, to the last bit and sign."""
    try:
        return "\n".join(" ".join(float(value).hex() for value in row) for row in read(body))
    except UsageError as error:
        return f"{error.problem}: {error.fix}"


def bodies(columns: tuple[Column, ...], draw: random.Random) -> list[bytes]:
    """Bodies of mostly good numbers with something odd in most of them."""
    width = len(columns)
    found = []
    for value in VALUES:
        for place in range(width):
            row = ",".join(value if at == place else "1" for at in range(width))
            found.append(f'{{"data": [[{row}]]}}')
    for _ in range(1500):
        rows = [
            [draw.choice(VALUES) if draw.random() < 0.05 else str(draw.randint(-9, 9)) for _ in range(width)]
            for _ in range(draw.randint(1, 3))
        ]
        if draw.random() < 0.1:
            draw.choice(rows).append("1")
        space = draw.choice(("", " ", "\n\t"))
        text = (space + ",").join("[" + ("," + space).join(row) + "]" for row in rows)
        body = f'{{{space}"data"{space}:{space}[{text}]{space}}}'
        if draw.random() < 0.2:
            at = draw.randrange(len(body))
            body = body[:at] + draw.choice(("", "}", "]", '"', "1", ",", " ", "\0", "é")) + body[at + 1 :]
        found.append(body)
    names = [column.name for column in columns]
    row = "[" + ",".join("1" * width) + "]"
    found += [json.dumps({"data": [dict.fromkeys(names, 1.5)]}), json.dumps({"data": [], "x": 1})]
    found += [f'{{"d\\u0061ta": [{row}]}}', f'{{"data": [{row}], "data": [{row}]}}', f'{{"more": [{row}]}}']
    found += [f'\ufeff{{"data": [{row}]}}', "[" * 5000, '{"data":' + "[" * 5000, "{}", "null", ""]
    return [body.encode() for body in found] + [
        f'{{"data": [{row}]}}'.encode("utf-16"),
        b'{"data": [[\xff]]}',
    ]


@pytest.mark.parametrize("columns", [DOUBLES, MIXED], ids=["doubles", "mixed"])
def test_both_ways_read_the_same(columns: tuple[Column, ...]) -> None:
    read = make_reader(columns)
    good = 0
    for body in bodies(columns, random.Random(5)):
        exact = outcome(lambda body: parse_score_request(body, columns), body)
        assert outcome(read, body) == exact, body
        good += exact.startswith(("0x", "-0x"))
    assert good > 500


def test_the_usual_body_does_not_need_the_exact_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeferry.device.modules.rows.parse_score_request", lambda body, columns: "exact")
    assert make_reader(DOUBLES)(b'{"data": [[1, 2.5], [-3e2, 4]]}') == [[1.0, 2.5], [-300.0, 4.0]]
    assert make_reader(MIXED)(b'{"data": [[1, 2.5, 3, 4.0, 5]]}') == [[1.0, 2.5, 3.0, 4.0, 5.0]]


def test_texts_are_read_by_the_exact_parser() -> None:
    assert make_reader((Column("a", "string"),))(b'{"data": [["x"]]}') == [["x"]]
