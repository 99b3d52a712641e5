"""Test results as JUnit XML, the shape that `PublishTestResults@2` and other CI systems read.

`<testsuites>` of one `<testsuite>` of `<testcase>`s; one that did not pass holds `<failure>` (the answer is
no) or `<error>` (there is no answer). Texts come from devices, so everything is escaped and characters that
XML 1.0 forbids are shown as `\\uXXXX`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import quoteattr

Problem = Literal["", "failure", "error"]
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Case:
    """One device's result for one model."""

    model: str
    device: str
    seconds: float = 0.0
    problem: Problem = ""
    state: str = ""
    reason: str = ""


def nobody(model: str, state: str, reason: str) -> Case:
    """The failure that stands for devices that were never asked, and why they were not."""
    return Case(model, "(nobody)", problem="failure", state=state, reason=reason)


def render_junit(suite: str, cases: Sequence[Case]) -> str:
    """The report. No case at all is itself a failure: an empty report would look green."""
    shown = cases or [nobody(suite, "Inconclusive", "nobody targeted")]
    failures = sum(case.problem == "failure" for case in shown)
    errors = sum(case.problem == "error" for case in shown)
    counts = (
        f"tests={quoteattr(str(len(shown)))} failures={quoteattr(str(failures))} "
        f"errors={quoteattr(str(errors))}"
    )
    seconds = sum(case.seconds for case in shown)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites {counts} time="{seconds:.3f}">',
        f'  <testsuite name={_attribute(suite)} {counts} time="{seconds:.3f}">',
    ]
    for case in shown:
        start = (
            f"    <testcase classname={_attribute(case.model)} name={_attribute(case.device)} "
            f'time="{case.seconds:.3f}"'
        )
        if not case.problem:
            lines.append(f"{start}/>")
            continue
        word = f"{case.state}: {case.reason}" if case.reason else case.state
        lines += [
            f"{start}>",
            f"      <{case.problem} type={_attribute(case.state)} message={_attribute(word)}/>",
            "    </testcase>",
        ]
    return "\n".join([*lines, "  </testsuite>", "</testsuites>", ""])


def _attribute(text: str) -> str:
    visible = _FORBIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return quoteattr(visible, {"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"})
