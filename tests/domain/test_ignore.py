"""Ignore files, as Azure ML's client reads them."""

from __future__ import annotations

import pytest

from edgeferry.domain.ignore import is_ignored, parse_ignore


@pytest.mark.parametrize(
    ("text", "path", "ignored"),
    [
        pytest.param("", "a.py", False, id="no patterns"),
        pytest.param("# a.py\n\n/\n", "a.py", False, id="comments, empty lines and a bare slash say nothing"),
        pytest.param("*.csv", "deep/er/a.csv", True, id="a name fits in every folder"),
        pytest.param("/a.py", "deep/a.py", False, id="a slash in front ties it to the folder itself"),
        pytest.param("/a.py", "a.py", True, id="tied and there"),
        pytest.param("deep/a.py", "x/deep/a.py", False, id="a slash inside ties it as well"),
        pytest.param("data", "x/data/a.csv", True, id="a folder takes all below it along"),
        pytest.param("data/", "x/data", False, id="a slash at the end means folders only"),
        pytest.param("data/", "x/data/a.csv", True, id="and all below them"),
        pytest.param("**/data/*.csv", "x/y/data/a.csv", True, id="two stars for any number of folders"),
        pytest.param("a/**/b", "a/b", True, id="none of them too"),
        pytest.param("a/**", "a/b/c", True, id="everything below"),
        pytest.param("**/", "a.py", False, id="folders only, any: not what lies at the top"),
        pytest.param("**/", "x/a.py", True, id="folders only, any: what lies in one"),
        pytest.param("?.py", "ab.py", False, id="one sign"),
        pytest.param("[ab].py", "b.py", True, id="one of these"),
        pytest.param("[!ab].py", "b.py", False, id="none of these"),
        pytest.param("[]].py", "].py", True, id="a bracket in brackets"),
        pytest.param("[a.py", "[a.py", True, id="a bracket that never closes is itself"),
        pytest.param(r"\#a", "#a", True, id="a sign taken literally"),
        pytest.param("*.py\n!a.py", "a.py", False, id="brought back"),
        pytest.param("!a.py\n*.py", "a.py", True, id="the last one that fits decides"),
        pytest.param("data\n!data/a.csv", "data/a.csv", False, id="brought back from an ignored folder"),
        pytest.param("[z-a]", "z", False, id="a pattern that makes no sense fits nothing"),
        pytest.param("!", "a", False, id="a lone exclamation mark"),
    ],
)
def test_an_ignore_file_is_read_as_azure_mls_client_reads_it(text: str, path: str, ignored: bool) -> None:
    assert is_ignored(path, parse_ignore(text)) is ignored
