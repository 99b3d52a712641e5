"""What a command that takes a while shows, on a terminal and elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeferry.adapters.text_folder import LocalTextFolder
from edgeferry.cli.progress import Progress, Task

PROGRAM = """
import sys, time
from pathlib import Path
from edgeferry.adapters.text_folder import LocalTextFolder
from edgeferry.cli import console, progress
progress.PROGRESS = console.PROGRESS = shown = progress.Progress(after_s=0.0, beat_s=0.2)
shown.remember_in(LocalTextFolder(Path(sys.argv[1])))
terminal = console.Terminal(console.Output.JSON)
with shown.work("push pump", 8e6, "bytes") as advance, shown.work("edgeferry push pump"):
    time.sleep(0.5)
    advance(4e6)
    terminal.say("halfway")
    time.sleep(0.6)
    terminal.answer({"ok": True})
"""

GIVES_OUT = """
import sys, time
from edgeferry.cli import capture_forms, progress
progress.PROGRESS = capture_forms.PROGRESS = shown = progress.Progress(after_s=0.0)
with shown.work("edgeferry captures pump"):
    time.sleep(0.6)
    with capture_forms.open_destination(None, capture_forms.Form.JSON) as to:
        for number in range(2):
            to.file.write(b"row %d" % number)
            to.file.flush()
            time.sleep(0.6)
        print("the last row")
    time.sleep(0.6)
"""


def show(
    program: str, *arguments: str, terminal: bool = True, to_stdout: bool = False, **environment: str
) -> tuple[str, str]:
    """What the program prints on stdout, and on stderr, a terminal or a pipe; `to_stdout`: both on it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    env = {**kept, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", **environment}
    command = [sys.executable, "-c", program, *arguments]
    if not terminal:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return done.stdout, done.stderr
    leader, follower = os.openpty()
    out_to = follower if to_stdout else subprocess.PIPE
    with subprocess.Popen(command, env=env, stdout=out_to, stderr=follower) as process:
        os.close(follower)
        said = b""
        try:
            while part := os.read(leader, 65536):
                said += part
        except OSError:  # as Linux says that nobody writes there any more
            pass
        out = process.stdout.read().decode() if process.stdout else ""
    os.close(leader)
    assert process.returncode == 0, said
    return out, said.decode()


def test_amid_what_a_command_writes_to_a_terminal_itself_nothing_is_shown() -> None:
    _, said = show(GIVES_OUT, to_stdout=True)
    before, _, rest = said.partition("row 0")
    amid, _, after = rest.partition("the last row")
    assert "edgeferry captures pump" in before
    assert amid == "row 1"
    assert "edgeferry captures pump" in after


def test_on_a_terminal_a_line_says_how_far_it_is_and_how_long_it_takes_yet(tmp_path: Path) -> None:
    (tmp_path / "durations.json").write_text('{"edgeferry push pump": 90}')
    out, err = show(PROGRAM, str(tmp_path), terminal=True)
    assert json.loads(out) == {"ok": True}
    assert "4.0 of 8.0 MB" in err
    assert "left" in err.partition("4.0 of 8.0 MB")[2].partition("\n")[0]
    assert "about 1 min 2" in err or "about 1 min 30 s left" in err
    assert "halfway" in err
    assert 0 < err.count("\x1b[?25l") == err.count("\x1b[?25h"), "the cursor is back"


@pytest.mark.parametrize(
    ("terminal", "more"),
    [
        pytest.param(False, {}, id="a pipe"),
        pytest.param(False, {"TTY_COMPATIBLE": "0"}, id="a pipe that says so"),
        pytest.param(True, {"CI": "true", "NO_COLOR": "1"}, id="a CI job with a terminal"),
        pytest.param(True, {"TERM": "dumb"}, id="a terminal that cannot"),
    ],
)
def test_elsewhere_a_plain_line_comes_now_and_then(
    tmp_path: Path, terminal: bool, more: dict[str, str]
) -> None:
    out, err = show(PROGRAM, str(tmp_path), terminal=terminal, **more)
    assert json.loads(out) == {"ok": True}
    assert "\x1b[?25" not in err
    assert "\x1b[2K" not in err
    assert terminal or "\x1b" not in err
    assert "· still edgeferry push pump: " in err
    assert "halfway" in err


def test_no_color_means_none_on_a_terminal_either(tmp_path: Path) -> None:
    _, err = show(PROGRAM, str(tmp_path), terminal=True, NO_COLOR="1")
    assert "4.0 of 8.0 MB" in err
    assert not any(f"\x1b[{number}" in err for number in (*range(30, 38), *range(90, 98), "38;"))


def test_how_long_it_took_is_remembered_unless_it_failed(tmp_path: Path) -> None:
    progress = Progress(after_s=0.0)
    progress.remember_in(LocalTextFolder(tmp_path))
    with progress.work("verify pump"):
        pass
    with pytest.raises(ValueError, match="no"), progress.work("push pump"):
        raise ValueError("no")
    with progress.work("sim", lasts_s=0):
        pass
    assert list(json.loads((tmp_path / "durations.json").read_text())) == ["verify pump"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"x": "long"}', '{"x": -1}', '{"x": 1e999}'])
def test_a_memory_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "durations.json").write_text(text)
    progress = Progress(after_s=0.0)
    progress.remember_in(LocalTextFolder(tmp_path))
    with progress.work("y"):
        pass
    assert "y" in json.loads((tmp_path / "durations.json").read_text())


@pytest.mark.parametrize(
    ("total", "done", "usual_s", "words"),
    [
        pytest.param(0, 0, 0, "10 s", id="nobody knows"),
        pytest.param(0, 0, 70, "10 s, about 1 min 0 s left", id="as long as last time"),
        pytest.param(0, 0, 4, "10 s, longer than the 4 s of last time", id="longer than that"),
        pytest.param(40, 10, 0, "10 of 40 rows, 10 s, about 30 s left", id="by what is done"),
        pytest.param(40, 0, 15, "0 of 40 rows, 10 s, about 5 s left", id="nothing done yet: as last time"),
        pytest.param(40, 0, 0, "0 of 40 rows, 10 s", id="nothing done yet"),
    ],
)
def test_what_is_said_of_it(
    monkeypatch: pytest.MonkeyPatch, total: float, done: float, usual_s: float, words: str
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 1010.0)
    assert Task("x", total, "rows", usual_s, 1000.0, done).words() == words
