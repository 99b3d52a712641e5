"""The list of files that would leave, beside the one that Azure ML's own client makes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeferry.adapters.upload import list_upload
from tests.needs import lack

pytestmark = pytest.mark.filterwarnings("ignore")

TREE = (
    ".hidden",
    "a.csv",
    "a.py",
    "ab.py",
    "b/a.py",
    "b/a/a.csv",
    "b/c/a.py",
    "c/a/b/x.txt",
    "data/a.csv",
    "data/[a].txt",
    "b/__pycache__/a.pyc",
    "__pycache__",
)
SEGMENTS = st.sampled_from(
    ["a", "b", "c", "data", "a.py", "*.py", "*", "**", "?.py", "[ab].py", "[!a]*", "x.txt"]
)
LINES = st.builds(
    lambda bang, slash, parts, end, pad: f"{bang}{slash}{'/'.join(parts)}{end}{pad}",
    st.sampled_from(["", "", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(SEGMENTS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
    st.sampled_from(["", "", "  "]),
)
TEXTS = st.lists(st.one_of(LINES, st.sampled_from(["", "# a.py", "/", r"\[a\].txt"])), max_size=4).map(
    "\n".join
)


def sent_by_azure(folder: Path) -> list[str]:
    """The files that azure-ai-ml would send of a component whose code is `folder`."""
    try:
        from azure.ai.ml._utils._asset_utils import get_upload_files_from_folder
        from azure.ai.ml.entities._component.code import ComponentIgnoreFile
    except ImportError:
        lack("azure-ai-ml")

    sent = get_upload_files_from_folder(folder, ignore_file=ComponentIgnoreFile(folder))
    return sorted(path for _, path in sent)


@pytest.mark.parametrize("name", [".amlignore", ".gitignore"])
@settings(max_examples=150)
@example("!")
@given(TEXTS)
def test_the_same_files_leave_as_with_azure_mls_client(name: str, text: str) -> None:
    with TemporaryDirectory() as place:
        folder = Path(place)
        for path in TREE:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
        (folder / name).write_text(text)
        try:
            expected = sent_by_azure(folder)
        except ValueError:
            return  # it knows no answer: a pattern that it cannot read ends it
        assert [file.path for file in list_upload(folder).files] == expected


def test_of_two_ignore_files_the_same_one_counts(tmp_path: Path) -> None:
    for path in ("a.csv", "a.txt", "sub/a.csv"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / ".gitignore").write_text("*.txt\n")
    (tmp_path / ".amlignore").write_text("a.csv\n")
    (tmp_path / "sub" / ".amlignore").write_text("*\n")
    assert [file.path for file in list_upload(tmp_path).files] == sent_by_azure(tmp_path)


def test_that_client_sends_keys_and_we_do_not(tmp_path: Path) -> None:
    (tmp_path / "k.pem").touch()
    (tmp_path / "a.py").touch()
    assert sent_by_azure(tmp_path) == ["a.py", "k.pem"]
    assert [file.path for file in list_upload(tmp_path).files] == ["a.py"]
