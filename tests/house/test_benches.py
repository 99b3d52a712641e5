"""The benches, which no other test runs: each can be imported, and is asked for by the name it has."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHES = sorted(path.parent.name for path in (ROOT / "bench").glob("*/__main__.py"))


@pytest.mark.parametrize("bench", BENCHES)
def test_a_bench_tells_its_options(
    bench: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module(f"bench.{bench}.__main__").main
    monkeypatch.setattr(sys, "argv", [bench, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert f"usage: ./run bench {bench}" in capsys.readouterr().out


def test_run_and_the_readme_know_every_bench() -> None:
    run, readme = (ROOT / "run").read_text(), (ROOT / "bench" / "README.md").read_text()
    assert [bench for bench in BENCHES if f"./run bench {bench} " not in run] == []
    assert [bench for bench in BENCHES if f"`./run bench {bench}`" not in readme] == []
