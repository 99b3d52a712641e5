"""The report of a run: a table for people and a document for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.running import Outcome
from tests.chaos.scenarios import Scenario

HEAD = "| scenario | fault | points | converged | mixed | orphans | other | longest gap s | to converge s |"


def summarise(scenarios: Sequence[Scenario], outcomes: Sequence[Outcome]) -> list[dict]:
    """One row a scenario that ran, in the order of the table."""
    rows = []
    for scenario in scenarios:
        mine = [one for one in outcomes if one.scenario == scenario.name]
        if not mine:
            continue
        times = sorted(one.converged_s for one in mine)
        wrong = [one for one in mine if one.wrong]
        mixed = [one for one in mine if any("mixed" in text for text in one.wrong)]
        orphans = [one for one in mine if one.has("I9")]
        rows.append(
            {
                "scenario": scenario.name,
                "fault": scenario.row,
                "points": len(mine),
                "converged": sum(not one.has("I3") and not _failed(one) for one in mine),
                "mixed": len(mixed),
                "orphans": len(orphans),
                "other": len(
                    [one for one in wrong if one not in mixed and one not in orphans and not one.has("I3")]
                ),
                "gap_s": round(max(one.gap_s for one in mine), 1),
                "mixed_s": round(max(one.mixed_s for one in mine), 1),
                "converge_p50_s": round(times[len(times) // 2], 1),
                "converge_max_s": round(times[-1], 1),
                "seconds": round(sum(one.seconds for one in mine), 1),
            }
        )
    return rows


def write(
    folder: Path,
    seed: int,
    scenarios: Sequence[Scenario],
    outcomes: Sequence[Outcome],
    skipped: Mapping[str, str],
    seconds: float,
) -> str:
    """The table, after both files are in `folder`."""
    rows = summarise(scenarios, outcomes)
    total = {
        key: sum(row[key] for row in rows) for key in ("points", "converged", "mixed", "orphans", "other")
    }
    document = {
        "seed": seed,
        "seconds": round(seconds, 1),
        "total": total,
        "scenarios": rows,
        "skipped": dict(skipped),
        "outcomes": [dataclasses.asdict(one) for one in outcomes],
    }
    text = render(seed, rows, total, skipped, outcomes, seconds)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chaos-report.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / "chaos-report.md").write_text(text)
    return text


def render(seed, rows, total, skipped, outcomes, seconds) -> str:
    """The table, and below it what was wrong and how to see it again."""
    lines = [f"# Chaos, seed {seed}", "", HEAD, "|" + "---|" * 9]
    for row in rows:
        lines.append(
            f"| {row['scenario']} | {row['fault']} | {row['points']} | {row['converged']} | {row['mixed']} "
            f"| {row['orphans']} | {row['other']} | {row['gap_s']} "
            f"| {row['converge_p50_s']} / {row['converge_max_s']} |"
        )
    lines.append(
        f"| all | | {total['points']} | {total['converged']} | {total['mixed']} | {total['orphans']} "
        f"| {total['other']} | | {seconds:.0f} s in all |"
    )
    lines += ["", *(f"Not run: {name}: this machine lacks {what}" for name, what in skipped.items())]
    for one in outcomes:
        if one.wrong:
            lines += ["", f"`{again(one, seed)}` ({one.note})", *(f"- {text}" for text in one.wrong)]
    return "\n".join(lines) + "\n"


def again(one: Outcome, seed: int) -> str:
    """The command that repeats the point."""
    return f"./run chaos --seed {seed} --only '{one.scenario}' --point {one.index}"


def _failed(one: Outcome) -> bool:
    return any(text.startswith(("the harness failed", "no device")) for text in one.wrong)
