"""Tables on terminals of any width: nothing is broken that a person reads or copies."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgeferry.cli.console import render_table

COLUMNS = ("device", "module", "state", "digest", "verdict", "ms", "port", "agent says")
DIGEST = "sha256:82b2027756ac8bcfcc285c0aa423f297966388488b57dab201e8f8f3e3008dbb"
REASON = "400 the image registry.example:5443/taxi/nyc_taxi cannot be pulled: no such host is known here"
ROWS = [
    ["device-1", "nyc_taxi", "unreachable, was running", "82b2027756ac", "Passed", "6.5", "32796", REASON],
    ["device-2", "companion", "running", "5c9d5d985214", "", "", "", ""],
]


def show(width: int, columns: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(render_table("", columns, rows))
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_breaks_no_cell_but_the_long_one_which_goes_below(width: int) -> None:
    lines = show(width, COLUMNS, ROWS)
    assert max(map(len, lines)) <= width
    for cell in ("device-1", "82b2027756ac", "unreachable, was running", "5c9d5d985214"):
        assert any(cell in line for line in lines), lines
    said = " ".join(" ".join(lines).split())
    assert f"agent says: {REASON}" in said
    place = next(number for number, line in enumerate(lines) if line.startswith("device-1"))
    assert lines[place + 1].startswith("    ")


def test_where_there_is_room_it_is_a_table() -> None:
    lines = show(220, COLUMNS, ROWS)
    assert lines[0].startswith("┏")
    assert sum("device-1" in line for line in lines) == 1
    assert REASON in "\n".join(lines)


def test_texts_of_words_wrap_within_their_column() -> None:
    lines = show(60, ("device", "reason"), [["device-1", "of words that all are short " * 5]])
    assert lines[0].startswith("┏")
    assert all(line[0] == line[-1] == "│" for line in lines[3:-1])


def test_digests_are_short_and_times_to_the_second() -> None:
    row = [
        f"registry:5443/taxi/nyc_taxi@{DIGEST}",
        "2026-11-28T13:50:09.082+00:00",
        "2026-11-28T13:52:28.192Z",
    ]
    said = "\n".join(show(200, ("image", "at", "until"), [row]))
    assert "taxi/nyc_taxi@sha256:82b2027756ac… " in said
    assert "2026-11-28 13:50:09 " in said
    assert "2026-11-28 13:52:28 " in said


def test_markup_in_a_cell_is_text() -> None:
    for width in (20, 200):
        said = " ".join(show(width, ("name", "reason"), [["a-long-name-to-copy", "[bold]x[/end] of words"]]))
        assert "[bold]x[/end]" in said


def test_a_word_stays_whole_where_two_long_columns_share_what_there_is() -> None:
    layer = "edgeferry-nyc_taxi-v1-82b20277"
    lines = show(64, ("given by", "reason"), [[f"{layer} (priority 1000)", "some words of a reason " * 5]])
    assert lines[0].startswith("┏")
    assert any(layer in line for line in lines), lines
