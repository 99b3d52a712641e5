"""Whatever a project's files hold, what is wrong with them is found, not raised."""

from __future__ import annotations

import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeferry.adapters.project import ProjectFolder
from tests.faults import CHECKS, CONDA, MODEL, PIPELINE, PREPARE, TRAIN, VALID, write_project

Path_ = tuple[Any, ...]
ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 5),
        st.floats(allow_nan=True),
        st.dates(),
        st.sampled_from(
            ["", "x", "..", "/", "${{parent.inputs.raw}}", "${{", "$[[", "azureml:a", "../src", "\0"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["type", "path", "inputs", "a-b", "", 1, None]), inner, max_size=2),
    ),
    max_leaves=4,
)


def places(content: Any, at: Path_ = ()) -> list[Path_]:
    """The path of every value in a document."""
    children = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    return [at, *(place for key, child in children for place in places(child, (*at, key)))]


@pytest.mark.parametrize("file", [MODEL, PIPELINE, PREPARE, TRAIN, CONDA, CHECKS])
@settings(max_examples=25)
@given(data=st.data())
def test_anything_in_any_place_is_found_not_raised(file: str, data: st.DataObject) -> None:
    content = yaml.safe_load(VALID[file])
    place = data.draw(st.sampled_from(places(content)))
    value = data.draw(ANYTHING)
    if place:
        inner = content = copy.deepcopy(content)
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
    else:
        content = value
    with TemporaryDirectory() as folder:
        root = write_project(Path(folder))
        (root / file).write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
        for finding in ProjectFolder(root).find_faults("demo"):
            assert finding.line >= 1
            assert Path(finding.file).is_file()


@pytest.mark.parametrize(
    ("written", "line"),
    [
        pytest.param("2024-13-45", 2, id="a date that is none"),
        pytest.param("0x_", 2, id="a number that is none"),
        pytest.param("!!timestamp soon", 2, id="a word that is said to be a date"),
        pytest.param("&here [*here]", 1, id="a list that holds itself"),
        pytest.param("[" * 3000, 1, id="lists in lists in lists"),
    ],
)
def test_what_pyyaml_stumbles_over_is_found_too(tmp_path: Path, written: str, line: int) -> None:
    root = write_project(tmp_path)
    (root / MODEL).write_text(f"prediction_column: y\ndescription: {written}\n", "utf-8")
    (found,) = ProjectFolder(root).find_faults("demo")
    assert (found.rule, found.line) == ("not-yaml", line)
