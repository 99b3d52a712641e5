"""JUnit reports: well formed whatever devices say, and never green for nothing."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.wire.junit import Case, nobody, render_junit


def check_shape(text: str) -> ElementTree.Element:
    """The root, after what readers of JUnit rely on was checked: nesting, attributes, counts."""
    root = ElementTree.fromstring(text)
    assert root.tag == "testsuites"
    for suite in root:
        assert suite.tag == "testsuite"
        assert suite.get("name")
        cases = list(suite)
        assert cases
        for case in cases:
            assert case.tag == "testcase"
            assert case.get("name")
            assert case.get("classname")
            assert float(case.get("time", "")) >= 0
            assert [child.tag for child in case] in ([], ["failure"], ["error"])
        assert int(suite.get("tests", "")) == len(cases)
        assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("errors", "")) == len(suite.findall("testcase/error"))
    assert [root.get(name) for name in ("tests", "failures", "errors")] == [
        root[0].get(name) for name in ("tests", "failures", "errors")
    ]
    return root


def test_each_device_is_a_case_and_what_did_not_pass_says_why() -> None:
    text = render_junit(
        "rollout of nyc_taxi-v1-aaaa",
        [
            Case("nyc_taxi", "device-1", 0.0042),
            Case("nyc_taxi", "device-2", 0.1, "failure", "Failed", "row 3: expected 5.0"),
            Case("nyc_taxi", "device-3", 0.0, "error", "TimedOut", "it runs nothing"),
        ],
    )
    root = check_shape(text)
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "1")
    failure = root.find("testsuite/testcase[@name='device-2']/failure")
    assert failure is not None
    assert failure.get("message") == "Failed: row 3: expected 5.0"
    error = root.find("testsuite/testcase[@name='device-3']/error")
    assert error is not None
    assert error.get("type") == "TimedOut"


def test_nobody_targeted_is_a_failure_and_no_empty_green_report() -> None:
    root = check_shape(render_junit("smoke", []))
    assert (root.get("tests"), root.get("failures")) == ("1", "1")
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert "nobody targeted" in (failure.get("message") or "")


def test_devices_that_were_never_asked_are_a_failure_with_the_reason() -> None:
    case = nobody("nyc_taxi", "Skipped", "it is not approved")
    failure = check_shape(render_junit("rollout", [case])).find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("message") == "Skipped: it is not approved"


@pytest.mark.parametrize(
    "hostile",
    ['"/><testcase name="x"/>', "]]><script>", "a\x00b\x1b[31m", "\ud800", "\ufffe", "&amp; < > ' \""],
)
def test_what_devices_say_cannot_break_out(hostile: str) -> None:
    text = render_junit(f"s{hostile}", [Case("m", f"d{hostile}", 0, "failure", "Failed", hostile)])
    text.encode("utf-8")
    root = check_shape(text)
    assert len(root.findall(".//testcase")) == 1


@given(st.text())
def test_any_text_gives_a_well_formed_report_with_one_case(text: str) -> None:
    report = render_junit(f"s{text}", [Case(f"m{text}", f"d{text}", 0, "error", "Unreachable", text)])
    assert len(check_shape(report).findall(".//error")) == 1
