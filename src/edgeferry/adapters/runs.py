"""What is remembered of runs that outlive their process: `runs/ID.json` of the state folder, one a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgeferry.domain.run import RunRecord, parse_record, render_record
from edgeferry.errors import UsageError


class RunsFolder:
    """Implements the `Runs` port. `folder` need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, record: RunRecord) -> None:
        """Written whole or not at all, and before the run is submitted: no run goes unremembered."""
        self._folder.mkdir(parents=True, exist_ok=True)
        written = self._folder / f"{record.id}.json.new"
        written.write_text(json.dumps(render_record(record), indent=2) + "\n", "utf-8")
        written.rename(self._folder / f"{record.id}.json")

    def forget(self, run_id: str) -> None:
        """Removes the record of a run that never was; nothing, when there is none."""
        (self._folder / f"{run_id}.json").unlink(missing_ok=True)

    def find(self, run_id: str) -> RunRecord | None:
        """The record of the run; None when this project knows none of that id."""
        return next((record for record in self.list_all() if record.id == run_id), None)

    def list_all(self) -> Sequence[RunRecord]:
        """Oldest first."""
        records = [_read(path) for path in self._folder.glob("*.json")]
        return sorted(records, key=lambda record: (record.submitted_at, record.id))


def _read(path: Path) -> RunRecord:
    try:
        return parse_record(json.loads(path.read_text("utf-8")))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UsageError(f"{path} cannot be read as a run: {error}", fix="remove the file") from error
