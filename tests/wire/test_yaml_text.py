"""YAML as text: what is written is what any parser reads, and marked places keep what people put there."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.errors import DefinitionError
from edgeferry.wire.yaml_text import Block, Kept, Map, Node, Note, Place, Seq, parse_places, render_yaml


def written(document: Map, **kept: Kept) -> str:
    return render_yaml(document, {name.replace("_", " "): place for name, place in kept.items()}, "x.yml")


def test_the_text_of_a_document() -> None:
    document = Map(
        (
            Note("what this is\nand why"),
            ("trigger", "none"),
            (
                "steps",
                Seq((Map((("bash", Block("set -eu\n\n  echo hi\n")), ("name", "on"))), Place("your steps"))),
            ),
            ("numbers", Map((("minutes", 60), ("drafts", True), ("version", "3.11")))),
        )
    )
    assert (
        written(document)
        == """\
# what this is
# and why
trigger: none
steps:
  - bash: |
      set -eu

        echo hi
    name: "on"
  # >>> your steps
  # <<<
numbers:
  minutes: 60
  drafts: true
  version: "3.11"
"""
    )


scalars = st.one_of(st.text(max_size=12), st.integers(-5, 5), st.booleans())
printable = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cn")), max_size=15
)
words = st.one_of(
    printable,
    st.sampled_from(["yes", "No", "on", "null", "~", "1.0", "0x1", ".5", "a: b", "a #b", "- x", "$(x)", "="]),
)
nodes = st.recursive(
    st.one_of(words, st.integers(-5, 5), st.booleans()),
    lambda inner: st.one_of(
        st.lists(st.tuples(words, inner), min_size=1, max_size=3, unique_by=lambda pair: pair[0]).map(
            lambda pairs: Map(tuple(pairs))
        ),
        st.lists(inner.filter(lambda node: not isinstance(node, Seq)), min_size=1, max_size=3).map(
            lambda items: Seq(tuple(items))
        ),
    ),
    max_leaves=8,
)


def plain(node: Node) -> Any:
    if isinstance(node, Map):
        return {entry[0]: plain(entry[1]) for entry in node.entries if isinstance(entry, tuple)}
    return [plain(item) for item in node.items] if isinstance(node, Seq) else node


@given(nodes)
def test_any_document_is_read_back_as_it_was(node: Node) -> None:
    assert yaml.safe_load(written(Map((("top", node),)))) == {"top": plain(node)}


DOCUMENT = Map((("a", "b"), ("steps", Seq(("x", Place("mine", ("- first",)), Place("yours")))), Place("top")))


def test_what_stands_in_places_survives_writing_again_byte_for_byte() -> None:
    first = written(DOCUMENT)
    edited = first.replace("- first", "- bash: |\n      echo 'kept'\n\n    # and this").replace(
        "# >>> top\n", "# >>> top\nextra:\n  - 1\n"
    )
    assert edited != first
    assert render_yaml(DOCUMENT, parse_places(edited, "x.yml"), "x.yml") == edited


def test_an_emptied_place_stays_empty() -> None:
    emptied = written(DOCUMENT).replace("  - first\n", "")
    assert render_yaml(DOCUMENT, parse_places(emptied, "x.yml"), "x.yml") == emptied


@pytest.mark.parametrize(
    ("edit", "line", "says"),
    [
        pytest.param(("  # <<<\n  # >>> yours", "  # >>> yours"), 6, "`mine` has no", id="an end is gone"),
        pytest.param(("  # >>> mine\n", ""), 5, "ends no place", id="a start is gone"),
        pytest.param(("# >>> yours", "# >>> mine"), 7, "stands here twice", id="a name twice"),
        pytest.param(("# >>> top\n# <<<\n", "# >>> top\n"), 9, "`top` has no", id="the last end is gone"),
        pytest.param(
            ("# <<<\n  # >>> yours", "# << <\n  # >>> yours"), 7, "`mine` has no", id="a misspelt end"
        ),
    ],
)
def test_a_broken_marker_is_refused_with_its_line(edit: tuple[str, str], line: int, says: str) -> None:
    text = written(DOCUMENT)
    broken = text.replace(*edit)
    assert broken != text
    with pytest.raises(DefinitionError, match=says) as caught:
        parse_places(broken, "x.yml")
    assert (caught.value.file, caught.value.line) == ("x.yml", line)


def test_lines_in_a_place_that_is_no_longer_written_are_not_lost() -> None:
    kept = {"old": Kept(4, ("- bash: echo mine",)), "older": Kept(9, ("", "# a note"))}
    with pytest.raises(DefinitionError, match="`old`") as caught:
        render_yaml(DOCUMENT, kept, "x.yml")
    assert caught.value.line == 4
    assert "old" not in render_yaml(DOCUMENT, {"older": kept["older"]}, "x.yml")
