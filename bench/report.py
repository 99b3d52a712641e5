"""What a bench measured, told as it comes and kept as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """Rows as they were measured: what, how much, the goal, the machine's own best."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def add(
        self, what: str, value: float, unit: str, goal: float | None = None, best: float | None = None
    ) -> None:
        self.rows.append({"what": what, "value": round(value, 3), "unit": unit, "goal": goal, "best": best})
        beside = f"   {value / best:6.1f} x the limit of {best:.3g}" if best else ""
        aim = f"   goal {goal:g}" if goal is not None else ""
        print(f"{what:58} {value:10.2f} {unit:6}{aim}{beside}", flush=True)

    def tell_missed(self) -> bool:
        """Whether a goal was missed; each one is told."""
        missed = [row for row in self.rows if row["goal"] is not None and row["value"] > row["goal"]]
        for row in missed:
            print(f"missed: {row['what']}: {row['value']:g} {row['unit']}, goal {row['goal']:g}")
        return bool(missed)

    def point(self, curve: str, x: float, y: float) -> None:
        self.curves.setdefault(curve, []).append((x, y))


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
