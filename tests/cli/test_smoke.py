"""`edgeferry smoke` with a real ledger, and no fleet."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from edgeferry.adapters.ledger import GitLedger
from edgeferry.adapters.signer import KeyFolder
from tests.typed import clean_environment, typed

PROJECT = Path(__file__).parents[2] / "examples" / "taxi"
BODY = {"model": "companion", "version": "1", "digest": f"sha256:{'c' * 64}", "cases_sha256": ""}


@pytest.mark.parametrize("word", ["run", "show"])
def test_the_companion_is_not_asked(tmp_path: Path, word: str) -> None:
    state = tmp_path / "state"
    subprocess.run(["git", "init", "--quiet", "--bare", str(state / "ledger.git")], check=True)
    keys = KeyFolder(state / "keys", state / "trust", may_trust=True)
    ledger = GitLedger(str(state / "ledger.git"), "ledger", state / "ledger", keys, time.time)
    ledger.append("release", "companion-v1-cccccccc", BODY, "ann")
    environment = clean_environment(EDGEFERRY_STATE=str(state), EDGEFERRY_REGISTRY__HOST="127.0.0.1:9")
    done = typed(
        "--project", str(PROJECT), "smoke", word, "companion", environment=environment, where=tmp_path
    )
    assert done.returncode == 2
    assert "nobody asks the companion" in done.stderr
    assert f"edgeferry smoke {word} MODEL" in done.stderr
